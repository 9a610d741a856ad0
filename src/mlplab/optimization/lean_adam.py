"""PyTorch's fused Adam without the way to it: the same kernel on the same state, called directly.

`torch.optim.Adam.step` sorts its tensors by device and type and looks after options that nobody has set. For a
small network on the processor that takes longer than the update.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from mlplab.backpropagation import NO_GRAD

ADDITIONS = ("amsgrad", "maximize", "capturable", "differentiable", "foreach")
"""What is left to PyTorch's own step."""

OPTIONS = ("lr", "eps", "weight_decay", "decoupled_weight_decay")

_Counted = tuple[list[Tensor], Tensor]
"""The number of updates of each parameter, as parts of one tensor, and that tensor: one call counts for all."""


class _DirectStep(Adam):
    """Adam's step by one call for all groups that have the same options, as those without decay have."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        is_watched = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        )
        return self._watched_step(closure) if is_watched else self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # so that PyTorch does not wrap it in calls of hooks, heard or not

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            if torch.is_grad_enabled():
                loss = closure()
            else:
                with torch.enable_grad():
                    loss = closure()
        with NO_GRAD:
            self._update()
        return loss

    _watched_step = Optimizer.profile_hook_step(_step)

    def _update(self) -> None:
        alike: dict[tuple[Any, ...], list[Tensor]] = {}
        for group in self.param_groups:
            parameters = alike.setdefault((*group["betas"], *(group[name] for name in OPTIONS)), [])
            parameters.extend(p for p in group["params"] if p.grad is not None)
        counted = vars(self).setdefault("_counted", {})  # not of a copy, which has its own state
        for place, ((beta1, beta2, *others), parameters) in enumerate(alike.items()):
            if not parameters:
                continue
            lr, eps, weight_decay, is_decoupled = others
            states = [self.state[p] or self._begin(p) for p in parameters]
            steps, together = counted[place] = _counted_together(states, counted.get(place))
            together.add_(_ONE)  # a number would be made a tensor each time, which takes longer than adding it
            kernel = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
            kernel(
                parameters,
                [p.grad for p in parameters if p.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=weight_decay,
                eps=eps,
                amsgrad=False,
                maximize=False,
            )

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        state = {
            "step": torch.zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        self.state[parameter] = state
        return state


def _counted_together(states: list[dict[str, Tensor]], before: _Counted | None) -> _Counted:
    """What was so before, unless other states are updated now, or a checkpoint has brought other numbers."""
    steps = [state["step"] for state in states]
    if before is not None and len(steps) == len(before[0]) and all(map(is_, steps, before[0])):
        return before
    together = torch.stack(steps)
    steps = list(together.unbind())
    for state, step in zip(states, steps, strict=True):
        state["step"] = step
    return steps, together


class LeanAdam(_DirectStep):
    """`torch.optim.Adam`."""


class LeanAdamW(_DirectStep, AdamW):
    """`torch.optim.AdamW`."""


_ONE = torch.ones(())

LEAN: dict[Any, type[Optimizer]] = {Adam: LeanAdam, AdamW: LeanAdamW}


def lean_rule(rule: Any, options: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> Any:
    """The rule with the direct step, where it is fused, plain, and all on the processor in one type; else itself."""
    kinds = {(p.device.type, p.dtype) for group in groups for _, p in group["params"]}
    fits = (
        options.get("fused")
        and not any(options.get(name) for name in ADDITIONS)
        and not isinstance(options.get("lr"), Tensor)
        and kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
    )
    return LEAN.get(rule, rule) if fits else rule
