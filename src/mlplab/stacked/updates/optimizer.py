"""K optimizers as one: every member by its own options, and with the state that it would have alone.

Legend: K members.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlplab.errors import UserError
from mlplab.stacked.eligibility import optimizer_shape, why_no_stacked_optimizer
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.updates.clipping import clip_norms, clip_values
from mlplab.stacked.updates.rule import Bundle, Group, Moving
from mlplab.stacked.updates.update_rules import RULES


class StackedOptimizer(Optimizer):
    """Updates the parameters of a `StackedNetwork`.

    The members' own optimizers say with which options, at every step anew: a schedule goes on changing them there.
    Their state is brought here and back by `read_from_members` and `write_to_members`; in between theirs is old.

    `clip_norm` and `clip_value` hold for each member a limit of its gradient's norm, or of its values, or None.

    Args:
        optimizers: each over the parameters of its network.
        network: of these networks.
        networks: the members.

    Raises:
        UserError: an optimizer has no stacked form, or they differ in more than numbers.
    """

    def __init__(self, optimizers: Sequence[Optimizer], network: StackedNetwork, networks: Sequence[nn.Module]) -> None:
        for optimizer in optimizers:
            reason = why_no_stacked_optimizer(optimizer)
            if reason is not None:
                raise UserError("a stacked optimizer must be one that can be stacked", reason, "to train it alone")
        if len({optimizer_shape(optimizer) for optimizer in optimizers}) != 1:
            raise UserError("stacked optimizers must be of one kind", "several", "a stack for each")
        self.optimizers = list(optimizers)
        self.rule = RULES[type(optimizers[0])]
        self.clip_norm: list[float | None] = [None] * len(optimizers)
        self.clip_value: list[float | None] = [None] * len(optimizers)
        # Each stacked parameter, and whose rows it has.
        named = [dict(member.named_parameters()) for member in networks]
        self._owners = {
            parameter: [own[name] for own in named]
            for name, parameter in network.tensors.items()
            if isinstance(parameter, nn.Parameter) and parameter.requires_grad
        }
        self._bundles: list[Bundle] = []
        for optimizer in optimizers:
            optimizer._opt_called = True  # type: ignore[attr-defined]  # schedules ask for it: this one steps for it
        super().__init__(list(self._owners), {})
        self.read_from_members()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluates the closure, clips, and updates every member."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._clip()
            self._update()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # so that PyTorch does not wrap it in calls of hooks: it has none

    def _update(self) -> None:
        for bundle in self._bundles_with_gradient():
            group = bundle.groups[0]
            movings = [
                Moving(p, p.grad, self.state[p] or self._begin(p, group))
                for p in bundle.parameters
                if p.grad is not None
            ]
            bundle.look_at_options()
            self.rule.advance(bundle.counters, bundle.options)
            self.rule.update_all(movings, bundle)

    def _clip(self) -> None:
        for clip, limits in ((clip_norms, self.clip_norm), (clip_values, self.clip_value)):
            if limits.count(None) < len(limits):
                gradients = [p.grad for p in self._owners if p.grad is not None]
                if gradients:
                    clip(gradients, limits)

    def _bundles_with_gradient(self) -> list[Bundle]:
        """Those to be updated. Parameters without a gradient take no step, and part from those that have one."""
        found, bundles = [], []
        for bundle in self._bundles:
            moving = [p for p in bundle.parameters if p.grad is not None]
            if moving and len(moving) < len(bundle.parameters):
                bundles.append(bundle.part([p for p in bundle.parameters if p.grad is None]))
                bundle.parameters = moving
            bundles.append(bundle)
            if moving:
                found.append(bundle)
        self._bundles = bundles
        return found

    def _begin(self, parameter: Tensor, group: Group) -> dict[str, Tensor]:
        state = {name: torch.full_like(parameter, value) for name, value in self.rule.moments(group).items()}
        self.state[parameter] = state
        return state

    @torch.no_grad()
    def read_from_members(self) -> None:
        """Takes the state that the members' optimizers have, as after `load_state_dict`; it may be empty."""
        groups = [
            {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
            for optimizer in self.optimizers
        ]
        self.state.clear()
        self._bundles = []
        for parameter, owners in self._owners.items():
            own_groups = [of[owner] for of, owner in zip(groups, owners, strict=True)]
            counters = self._read(parameter, owners, own_groups)
            for bundle in self._bundles:
                if all(a is b for a, b in zip(bundle.groups, own_groups, strict=True)) and all(
                    torch.equal(bundle.counters[name], values) for name, values in counters.items()
                ):
                    bundle.parameters.append(parameter)
                    break
            else:
                names = ("lr", "weight_decay", *self.rule.options)
                self._bundles.append(Bundle([parameter], own_groups, names, counters))

    def _read(self, parameter: nn.Parameter, owners: Sequence[Tensor], groups: Sequence[Group]) -> dict[str, Tensor]:
        """Its moments go into the state; its counters are returned."""
        states = [optimizer.state.get(owner, {}) for optimizer, owner in zip(self.optimizers, owners, strict=True)]
        if any(states):
            moments = self._begin(parameter, groups[0])
            for name, moment in moments.items():
                for row, state in enumerate(states):
                    if name in state:
                        moment[row] = state[name]
        counters = {}
        for name, begin in self.rule.counters.items():
            # Where PyTorch counts nothing, what matters is whether there has been a first step.
            begins = [begin if self.rule.keeps_counters else float(bool(state)) for state in states]
            values = [float(state.get(name, value)) for state, value in zip(states, begins, strict=True)]
            counters[name] = torch.tensor(values, dtype=torch.float32, device=parameter.device)
        return counters

    @torch.no_grad()
    def write_to_members(self, rows: Sequence[int] | None = None) -> None:
        """Puts into the members' optimizers (or those of some rows) the state that they would have alone: copies."""
        for bundle in self._bundles:
            steps = bundle.counters["step"].tolist()
            for parameter in bundle.parameters:
                moments = self.state.get(parameter, {})
                for row in range(len(self.optimizers)) if rows is None else rows:
                    if steps[row] == 0:
                        continue
                    kept = bundle.counters if self.rule.keeps_counters else {}
                    state = {name: values[row].clone() for name, values in {**kept, **moments}.items()}
                    if state:
                        self.optimizers[row].state[self._owners[parameter][row]] = state

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> None:
        """Leaves those members, in that order. Those that go get their state."""
        staying = set(rows)
        self.write_to_members([row for row in range(len(self.optimizers)) if row not in staying])
        self.optimizers = [self.optimizers[row] for row in rows]
        self.clip_norm = [self.clip_norm[row] for row in rows]
        self.clip_value = [self.clip_value[row] for row in rows]
        self._owners = {p: [owners[row] for row in rows] for p, owners in self._owners.items()}
        for bundle in self._bundles:
            bundle.select(rows)
        index = torch.tensor(rows, dtype=torch.int64)
        for state in self.state.values():
            for name, moment in state.items():
                state[name] = moment.index_select(0, index.to(moment.device))
