"""Combines the optimizers of K members: `torch.optim` on stacked parameters, with separate options for each row.

Legend: K members. A stacked parameter, its gradient and its state have the shape (K, …).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from mlplab.engine.fused_adam import FUSED
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_tensors import per_member

Group = dict[str, Any]

STACKABLE = (SGD, Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad, Adadelta)
"""Optimizers with elementwise updates that are proportional to `lr`."""

RATES = ("lr", "weight_decay")
"""Options that may differ between members that one optimizer of PyTorch updates."""


class StackedOptimizer(Optimizer):
    """Updates the parameters of a `StackedNetwork`.

    The members' own optimizers hold the options, including learning rates, which schedules change. `read_from_members`
    copies their state here, `write_to_members` back; in between, theirs is outdated.

    Attributes:
        clip_norm, clip_value: each member's limit of the gradient's norm, or of its values; None for no limit.

    Args:
        optimizers: each of a class of `STACKABLE`, over the parameters of its network.
        network: of these networks.
        networks: the members.
    """

    def __init__(self, optimizers: Sequence[Optimizer], network: StackedNetwork, networks: Sequence[nn.Module]) -> None:
        self.optimizers = list(optimizers)
        self.clip_norm: list[float | None] = [None] * len(optimizers)
        self.clip_value: list[float | None] = [None] * len(optimizers)
        named = [dict(member.named_parameters()) for member in networks]
        self._owners = {
            parameter: [own[name] for own in named]
            for name, parameter in network.tensors.items()
            if isinstance(parameter, nn.Parameter) and parameter.requires_grad
        }
        self._blocks: list[_Block] = []
        for optimizer in optimizers:
            optimizer._opt_called = True  # type: ignore[attr-defined]  # schedules ask for it: this one steps for it
        # No options here, as those of the members' optimizers apply.
        super().__init__(list(self._owners), {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluates the closure, clips, and updates every member."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self.clip()
            # If rates within a block have become different, the blocks are rebuilt.
            if not all(block.follow_rates() for block in self._blocks):
                self.write_to_members()
                self._blocks = []
            if not self._blocks:
                self.read_from_members()
            for block in self._blocks:
                block.update()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # so that PyTorch does not wrap it in calls of hooks: it has none

    def clip(self) -> None:
        """Clips the gradients of members that have a limit."""
        for clip, limits in ((clip_norms, self.clip_norm), (clip_values, self.clip_value)):
            # Most stacks clip nothing.
            if limits.count(None) < len(limits):
                gradients = [p.grad for p in self._owners if p.grad is not None]
                if gradients:
                    clip(gradients, limits)

    @torch.no_grad()
    def read_from_members(self) -> None:
        """Copies options and state from the members' optimizers, such as after `load_state_dict`."""
        columns = self._columns()
        members = range(len(self.optimizers))
        kinds = [self._kind_of(member, columns) for member in members]
        self._blocks = []
        for _, stretch in groupby(members, key=kinds.__getitem__):
            first, *others = stretch
            rows = slice(first, first + 1 + len(others))
            own = [(parameters, groups[rows]) for parameters, groups in columns]
            states = {p: self._stacked_state(owners[rows], first) for p, owners in self._owners.items()}
            self._blocks.append(_Block(type(self.optimizers[0]), rows, own, states))

    def _columns(self) -> list[tuple[list[nn.Parameter], list[Group]]]:
        """Returns the parameters that share a group in all members, with each member's group."""
        group_of = [{p: group for group in o.param_groups for p in group["params"]} for o in self.optimizers]
        columns: dict[tuple[int, ...], tuple[list[nn.Parameter], list[Group]]] = {}
        for parameter, owners in self._owners.items():
            groups = [of[owner] for of, owner in zip(group_of, owners, strict=True)]
            # By identity, as groups with equal options may still change separately.
            columns.setdefault(tuple(map(id, groups)), ([], groups))[0].append(parameter)
        return list(columns.values())

    def _kind_of(self, member: int, columns: Sequence[tuple[Any, Sequence[Group]]]) -> Any:
        """Returns the options and step counts that members must share to be updated by one optimizer."""
        optimizer = self.optimizers[member]
        options = [
            [group[name] for name in optimizer.defaults if name not in RATES]
            for group in (groups[member] for _, groups in columns)
        ]
        states = [optimizer.state.get(owners[member], {}) for owners in self._owners.values()]
        # Scalars such as the step count have no row for each member, so all members of a block must share them.
        numbers = [[(n, None if v is None or v.ndim else float(v)) for n, v in state.items()] for state in states]
        return options, numbers

    def _stacked_state(self, owners: Sequence[Tensor], first: int) -> dict[str, Tensor]:
        """Returns the state of a parameter's rows; scalars, such as the step count, are the same for all."""
        states = [self.optimizers[first + row].state.get(owner, {}) for row, owner in enumerate(owners)]
        return {
            # Copied, as the optimizer increments its own.
            name: torch.stack([state[name] for state in states]) if value.ndim else value.clone()
            for name, value in states[0].items()
            if value is not None
        }

    @torch.no_grad()
    def write_to_members(self, rows: Iterable[int] | None = None) -> None:
        """Copies the state back to the members' optimizers, or to those of some rows."""
        wanted = None if rows is None else set(rows)
        for block in self._blocks:
            members = range(block.rows.start, block.rows.stop)
            for parameter, state in block.states():
                for row, member in enumerate(members):
                    if wanted is None or member in wanted:
                        self.optimizers[member].state[self._owners[parameter][member]] = {
                            # Copies, as a view would keep the memory of the whole stack and change with it.
                            name: (value[row] if value.ndim else value).clone()
                            for name, value in state.items()
                        }

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> None:
        """Keeps these members, in this order. Writes the others' states to their own optimizers."""
        self.write_to_members()
        self._blocks = []  # read again in the next step, when the network has its new rows
        self.optimizers = [self.optimizers[row] for row in rows]
        self.clip_norm = [self.clip_norm[row] for row in rows]
        self.clip_value = [self.clip_value[row] for row in rows]
        self._owners = {p: [owners[row] for row in rows] for p, owners in self._owners.items()}


class _Block:
    """Rows that one optimizer of PyTorch updates: adjacent members with equal options and step counts.

    If learning rates or weight decays differ, that optimizer runs with a rate of 1 on direction tensors instead of
    parameters. Each member then moves by its own rate along its direction.

    Args:
        kind: the members' class of optimizer.
        rows: the members.
        columns: stacked parameters, with each member's group of them.
        states: of each parameter's rows.
    """

    def __init__(
        self,
        kind: type[Optimizer],
        rows: slice,
        columns: Sequence[tuple[list[nn.Parameter], list[Group]]],
        states: dict[nn.Parameter, dict[str, Tensor]],
    ) -> None:
        self.rows, self._columns = rows, columns
        self._parameters = [parameter for parameters, _ in columns for parameter in parameters]
        self._rates: list[list[tuple[float, float]]] = [[] for _ in columns]
        self._has_own_rates = any(len(set(map(_rates, groups))) > 1 for _, groups in columns)
        # The whole parameter is updated in place; anything else works on rows of it.
        self._is_whole = not self._has_own_rates and rows == slice(0, len(self._parameters[0]))
        first: Group = columns[0][1][0]
        # PyTorch's decoupled decay of 1 clears the directions without an extra pass.
        self._are_emptied = "decoupled_weight_decay" in first
        self._is_decoupled = bool(first.get("decoupled_weight_decay"))
        as_direction = {"lr": 1.0, "weight_decay": 0.0}
        if self._are_emptied:
            as_direction |= {"weight_decay": 1.0, "decoupled_weight_decay": True}
        self._targets: list[Tensor] = []
        inner_groups: list[Group] = []
        for parameters, groups in columns:
            targets = [self._target(parameter) for parameter in parameters]
            # Names belong to the members' parameters, not to these.
            options = {name: value for name, value in groups[0].items() if name not in ("params", "param_names")}
            inner_groups.append({**options, **(as_direction if self._has_own_rates else {}), "params": targets})
            self._targets += targets
        # The direct step if there is one: the same bits in less time.
        make: Any = FUSED.get(kind, kind)
        self._optimizer: Optimizer = make(inner_groups)
        for parameter, target in zip(self._parameters, self._targets, strict=True):
            if states[parameter]:
                self._optimizer.state[target] = states[parameter]
        self.follow_rates()

    def _target(self, parameter: nn.Parameter) -> Tensor:
        """Returns the tensor that the optimizer updates for a parameter's rows."""
        if self._is_whole:
            return parameter
        # A view, so that an update of the rows changes the parameter.
        rows = parameter.detach()[self.rows]
        return torch.zeros_like(rows) if self._has_own_rates else rows

    def states(self) -> Iterable[tuple[nn.Parameter, dict[str, Tensor]]]:
        """Yields the state of each parameter that has one."""
        for parameter, target in zip(self._parameters, self._targets, strict=True):
            state = {n: v for n, v in self._optimizer.state.get(target, {}).items() if v is not None}
            if state:
                yield parameter, state

    def follow_rates(self) -> bool:
        """Reads the members' current rates; returns False if they have become unequal within the block."""
        rates = [list(map(_rates, groups)) for _, groups in self._columns]
        if rates == self._rates:
            return True
        self._rates = rates
        if not self._has_own_rates:
            for own, group in zip(rates, self._optimizer.param_groups, strict=True):
                group["lr"], group["weight_decay"] = own[0]
            # One optimizer can use one rate only while all are equal.
            return all(own.count(own[0]) == len(own) for own in rates)
        self._lrs: list[Tensor] = []
        self._decays: list[Tensor] = []
        for (parameters, _), own in zip(self._columns, rates, strict=True):
            lrs, decays = torch.tensor(own, dtype=torch.float64, device=parameters[0].device).unbind(1)
            # Decoupled decay multiplies the weights by 1 − lr·λ; coupled decay adds λ·w to the gradient.
            factors = 1 - lrs * decays if self._is_decoupled else decays
            self._lrs += [per_member(lrs, parameter) for parameter in parameters]
            self._decays += [per_member(factors, parameter) for parameter in parameters]
        self._has_decay = any(decay for own in rates for _, decay in own)
        return True

    def update(self) -> None:
        """Updates all parameters that have a gradient."""
        if self._is_whole:
            self._optimizer.step()
            return
        for parameter, target in zip(self._parameters, self._targets, strict=True):
            # A view of the rows: nothing is copied.
            target.grad = None if parameter.grad is None else parameter.grad[self.rows]
        if not self._has_own_rates:
            self._optimizer.step()
            return
        moving = [index for index, target in enumerate(self._targets) if target.grad is not None]
        parameters = [self._parameters[index].detach()[self.rows] for index in moving]
        directions = [self._targets[index] for index in moving]
        if self._has_decay:
            self._decay(parameters, directions, [self._decays[index] for index in moving])
        # The inner optimizer adds to its tensors, so directions start at zero.
        if not self._are_emptied:
            torch._foreach_zero_(directions)
        self._optimizer.step()
        # Added, as directions already point downhill.
        torch._foreach_addcmul_(parameters, directions, [self._lrs[index] for index in moving])

    def _decay(self, parameters: list[Tensor], directions: list[Tensor], factors: list[Tensor]) -> None:
        if self._is_decoupled:
            torch._foreach_mul_(parameters, factors)
            return
        for direction, parameter, factor in zip(directions, parameters, factors, strict=True):
            assert direction.grad is not None
            # A new tensor, as the gradient is a view of the stack's.
            direction.grad = direction.grad.addcmul(parameter, factor)


def _rates(group: Group) -> tuple[float, float]:
    return group["lr"], group["weight_decay"]


def clip_norms(gradients: Sequence[Tensor], limits: Sequence[float | None]) -> None:
    """Shrinks the gradient of each member with a limit to that norm, in place, as `torch.nn.utils.clip_grad_norm_`."""
    # First by parameter, then over all of them, in the order of PyTorch's own clipping.
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    is_limited = torch.tensor([limit is not None for limit in limits], device=total.device)
    most = torch.tensor([limit or 0.0 for limit in limits], dtype=total.dtype, device=total.device)
    # 1e-6 as in PyTorch. A member without a limit keeps its gradient, even with a non-finite norm.
    shares = torch.where(is_limited, (most / (total + 1e-6)).clamp(max=1.0), 1.0)
    # Usually no norm exceeds its limit, which saves a pass over all gradients.
    if (shares != 1).any():
        for gradient in gradients:
            gradient.mul_(per_member(shares, gradient))


def clip_values(gradients: Sequence[Tensor], limits: Sequence[float | None]) -> None:
    """Clamps gradients of each member with a limit to [−limit, limit], as `torch.nn.utils.clip_grad_value_`."""
    # No limit is represented by infinity.
    most = torch.tensor([torch.inf if limit is None else limit for limit in limits], dtype=torch.float64)
    for gradient in gradients:
        bound = per_member(most.to(gradient.device), gradient)
        gradient.clamp_(-bound, bound)
