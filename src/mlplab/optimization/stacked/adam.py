"""Adam and AdamW of K members by PyTorch's fused kernel, which knows one set of options in a call.

Legend: K members.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from mlplab.models.stacked import per_member
from mlplab.optimization.stacked.bundle import Bundle, Group, Values
from mlplab.optimization.stacked.moment_rules import MomentRule
from mlplab.optimization.stacked.rule import Moving

Run = tuple[int, int]
"""Members that stand side by side: the first, and the one after the last."""

WORTH_A_CALL = 1 << 18
"""Of so many numbers, a call of the kernel for themselves costs less than to pass over them once more."""


class KernelMoments(MomentRule):
    """`torch.optim.Adam` and `AdamW`.

    Neighbours with the same options are updated by one call on their rows. Many learning rates, or decays, with the
    same β and ε go together, by a learning rate of 1 into an empty tensor, which each member adds with its own. In
    any other order the options cost a call each.
    """

    def update_all(self, movings: Sequence[Moving], bundle: Bundle) -> None:
        if bundle.plan is None:
            n_numbers = sum(moving.parameter.numel() for moving in movings)
            bundle.plan = _plan(bundle, n_numbers)
        is_decoupled = bundle.groups[0]["decoupled_weight_decay"]
        for (first, last), has_one_rate in bundle.plan:
            group, step = bundle.groups[first], bundle.counters["step"][first]
            rows = movings if last - first == len(bundle.groups) else [_rows(moving, first, last) for moving in movings]
            if has_one_rate:
                parameters = [moving.parameter for moving in rows]
                _call(rows, parameters, step, group, group["lr"], group["weight_decay"], is_decoupled)
                continue
            options = {name: values[first:last] for name, values in bundle.options.items()}
            for moving in rows:
                _by_own_rates(moving, step, group, options, is_decoupled)


def _by_own_rates(moving: Moving, step: Tensor, group: Group, options: Values, is_decoupled: bool) -> None:
    parameter, gradient = moving.parameter, moving.gradient
    lr, decay = options["lr"], options["weight_decay"]
    if decay.any():
        if is_decoupled:
            parameter.mul_(per_member(1 - lr * decay, parameter))
        else:
            gradient = gradient.addcmul(parameter, per_member(decay, parameter))
    change = torch.zeros_like(parameter)
    _call([replace(moving, gradient=gradient)], [change], step, group, 1.0, 0.0, is_decoupled)
    parameter.addcmul_(change, per_member(lr, parameter))


def _call(
    movings: Sequence[Moving],
    changed: list[Tensor],
    step: Tensor,
    group: Group,
    lr: float,
    weight_decay: float,
    is_decoupled: bool,
) -> None:
    beta1, beta2 = group["betas"]
    kernel = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
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


def _rows(moving: Moving, first: int, last: int) -> Moving:
    moments = {name: moment[first:last] for name, moment in moving.moments.items()}
    return Moving(moving.parameter[first:last], moving.gradient[first:last], moments)


def _plan(bundle: Bundle, n_numbers: int) -> list[tuple[Run, bool]]:
    """The calls: for which members, and whether they have one learning rate and decay."""
    steps = bundle.counters["step"].tolist()
    means = [(group["betas"], group["eps"], step) for group, step in zip(bundle.groups, steps, strict=True)]
    rates = [(group["lr"], group["weight_decay"]) for group in bundle.groups]
    plan: list[tuple[Run, bool]] = []
    for first, last in _runs(means, 0, len(means)):
        alike = _runs(rates, first, last)
        share = n_numbers * (last - first) / len(rates)
        if len(alike) == 1 or share >= WORTH_A_CALL * len(alike):
            plan.extend((run, True) for run in alike)
        else:
            plan.append(((first, last), False))
    return plan


def _runs(values: Sequence[Hashable], first: int, last: int) -> list[Run]:
    """The stretches of equal values from the first to before the last."""
    runs = []
    for _, members in groupby(range(first, last), key=values.__getitem__):
        stretch = list(members)
        runs.append((stretch[0], stretch[-1] + 1))
    return runs
