"""Adam and AdamW of K members by PyTorch's fused kernel, which knows one set of options in a call.

Legend: K members.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from mlplab.stacked.networks.tensors import per_member
from mlplab.stacked.updates.rule import Bundle, Group, MomentRule, Moving

Run = tuple[int, int]
"""Members that stand side by side: the first, and the one after the last."""

WORTH_A_CALL = 1 << 18
"""Of so many numbers, a call of the kernel for themselves costs less than to pass over them once more."""


class AdamRule(MomentRule):
    """`torch.optim.Adam` and `AdamW`.

    Neighbours with the same options are updated by one call on their rows. Many learning rates, or decays, with the
    same β and ε go together, by a learning rate of 1 into a tensor of changes, which each member adds with its own. In
    any other order the options cost a call each.
    """

    def update_all(self, movings: Sequence[Moving], bundle: Bundle) -> None:
        if bundle.plan is None:
            bundle.plan = _plan(bundle, movings)
        for part in bundle.plan:
            rows = movings if part.is_all else [_rows(moving, part.run) for moving in movings]
            step = bundle.counters["step"][part.run[0]]
            if part.own is None:
                group = part.group
                changed = [moving.parameter for moving in rows]
                _call(rows, changed, step, group, lr=group["lr"], weight_decay=group["weight_decay"])
                continue
            _by_own_rates(rows, step, part.group, part.own)


@dataclass(frozen=True)
class _OwnRates:
    """The numbers of members that differ in learning rate or decay, shaped for each parameter; and its change."""

    rates: list[Tensor]
    decays: list[Tensor] | None
    changes: list[Tensor]

    @staticmethod
    def of(bundle: Bundle, run: Run, movings: Sequence[Moving]) -> "_OwnRates":
        first, last = run
        parameters = [moving.parameter[first:last] for moving in movings]
        rates, decays = (bundle.options[name][first:last] for name in ("lr", "weight_decay"))
        is_decoupled = bundle.groups[0]["decoupled_weight_decay"]
        factors = 1 - rates * decays if is_decoupled else decays
        return _OwnRates(
            [per_member(rates, parameter) for parameter in parameters],
            [per_member(factors, parameter) for parameter in parameters] if decays.any() else None,
            [torch.zeros_like(parameter) for parameter in parameters],
        )


@dataclass(frozen=True)
class _Part:
    """Members that are updated together. `own` is None where they have one learning rate and decay."""

    run: Run
    is_all: bool
    group: Group
    own: _OwnRates | None


def _by_own_rates(movings: Sequence[Moving], step: Tensor, group: Group, own: _OwnRates) -> None:
    parameters = [moving.parameter for moving in movings]
    if own.decays is not None and group["decoupled_weight_decay"]:
        torch._foreach_mul_(parameters, own.decays)
    elif own.decays is not None:
        decayed = torch._foreach_addcmul([moving.gradient for moving in movings], parameters, own.decays)
        movings = [replace(moving, gradient=gradient) for moving, gradient in zip(movings, decayed, strict=True)]
    # A decay of 1 leaves nothing of the change before, without one more pass over it to empty it.
    _call(movings, own.changes, step, {**group, "decoupled_weight_decay": True}, lr=1.0, weight_decay=1.0)
    torch._foreach_addcmul_(parameters, own.changes, own.rates)


def _call(
    movings: Sequence[Moving],
    changed: list[Tensor],
    step: Tensor,
    group: Group,
    *,
    lr: float,
    weight_decay: float,
) -> None:
    beta1, beta2 = group["betas"]
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        changed,
        [moving.gradient for moving in movings],
        [moving.moments["exp_avg"] for moving in movings],
        [moving.moments["exp_avg_sq"] for moving in movings],
        [],
        [step] * len(movings),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _rows(moving: Moving, run: Run) -> Moving:
    rows = slice(*run)
    moments = {name: moment[rows] for name, moment in moving.moments.items()}
    return Moving(moving.parameter[rows], moving.gradient[rows], moments)


def _plan(bundle: Bundle, movings: Sequence[Moving]) -> list[_Part]:
    """Who goes together; it holds until an option changes."""
    groups, steps = bundle.groups, bundle.counters["step"].tolist()
    n_numbers = sum(moving.parameter[0].numel() for moving in movings)
    means = [(group["betas"], group["eps"], step) for group, step in zip(groups, steps, strict=True)]
    rates = [(group["lr"], group["weight_decay"]) for group in groups]
    parts = []
    for first, last in _runs(means, 0, len(means)):
        alike = _runs(rates, first, last)
        is_by_rate = len(alike) == 1 or n_numbers * (last - first) >= WORTH_A_CALL * len(alike)
        for run in alike if is_by_rate else [(first, last)]:
            own = None if is_by_rate else _OwnRates.of(bundle, run, movings)
            parts.append(_Part(run, run == (0, len(groups)), groups[run[0]], own))
    return parts


def _runs(values: Sequence[Hashable], first: int, last: int) -> list[Run]:
    """The stretches of equal values from the first to before the last."""
    runs = []
    for _, members in groupby(range(first, last), key=values.__getitem__):
        stretch = list(members)
        runs.append((stretch[0], stretch[-1] + 1))
    return runs
