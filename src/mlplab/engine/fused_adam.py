"""Calls the kernel of PyTorch's fused Adam directly, on the same state.

`torch.optim.Adam.step` groups its tensors by device and type, and checks options that are not set. For a small network
on the CPU that takes longer than the update.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import repeat
from operator import is_, is_not
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from mlplab.engine.kernels import BELOW_AUTOGRAD
from mlplab.engine.monkeypatches import has_genuine_step, has_step_hooks, why_replaced
from mlplab.optimization.optimizers import OptimizerFactory

UNSUPPORTED = ("amsgrad", "maximize", "capturable", "differentiable", "foreach")
"""Options that only PyTorch's own step supports."""

SUPPORTED = ({("cpu", torch.float32)}, {("cpu", torch.float64)})
"""Devices and types of all parameters for which the kernel is called directly."""


class _CachedStates(NamedTuple):
    """Caches the states of parameters, as looking them up takes as long as a small update.

    Attributes:
        all_states: the states of all parameters of the optimizer.
        steps: the step counters of all parameters: views of `step_buffer`, so that one call increments all.
    """

    parameters: list[Tensor]
    states: list[dict[str, Tensor]]
    all_states: list[dict[str, Tensor]]
    steps: list[Tensor]
    step_buffer: Tensor


class _DirectStep(Adam):
    """Makes Adam's step by one kernel call for all groups with equal options."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        kinds = {(p.device.type, p.dtype) for group in self.param_groups for p in group["params"]}
        is_genuine = has_genuine_step(Adam) and why_replaced() is None
        # Decided here, as the constructor and later additions of groups both call this method.
        self._is_direct = kinds in SUPPORTED and is_genuine

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        is_watched = has_step_hooks(self) or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        if is_watched or not getattr(self, "_is_direct", False):  # a copy of an optimizer lacks it
            return self._pytorchs_step(closure)
        loss = None
        if closure is not None:
            # The caller may have disabled gradients, as PyTorch's own step does around its update.
            if torch.is_grad_enabled():
                loss = closure()
            else:
                with torch.enable_grad():
                    loss = closure()
        with BELOW_AUTOGRAD():
            self._update()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # else PyTorch wraps it in calls of hooks, also where there are none

    def _pytorchs_step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes PyTorch's own step as it is now, with the hooks that `step.hooked` leaves out."""
        own: Any = Adam.step
        return (own if hasattr(own, "hooked") else Optimizer.profile_hook_step(own))(self, closure)

    def _update(self) -> None:
        by_options: dict[tuple[Any, ...], list[Tensor]] = {}
        for group in self.param_groups:
            own = *group["betas"], group["lr"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"]
            if own in by_options:
                # A new list: `+=` would add to the parameters of the group itself.
                by_options[own] = by_options[own] + group["params"]
            else:
                by_options[own] = group["params"]
        found = vars(self).setdefault("_found", {})  # not for a copy, which has its own state
        for place, ((beta1, beta2, lr, eps, weight_decay, is_decoupled), parameters) in enumerate(by_options.items()):
            gradients = [p.grad for p in parameters]
            # Usually no gradient is None, and no list has to be rebuilt.
            if not all(map(is_not, gradients, _NONE)):
                parameters = [p for p in parameters if p.grad is not None]
                gradients = [p.grad for p in parameters]
            if not parameters:
                continue
            known = found[place] = self._cached_states(parameters, found.get(place))
            known.step_buffer.add_(_ONE)  # converting a number to a tensor each time takes longer than adding it
            kernel = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
            kernel(
                parameters,
                gradients,  # type: ignore[arg-type]  # none of them is None
                # The kernel takes lists, made at every step; the states in them are cached.
                [state["exp_avg"] for state in known.states],
                [state["exp_avg_sq"] for state in known.states],
                # The maxima of AMSGrad, which only PyTorch's own step supports.
                [],
                known.steps,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=weight_decay,
                eps=eps,
                amsgrad=False,
                maximize=False,
            )

    def _cached_states(self, parameters: list[Tensor], before: _CachedStates | None) -> _CachedStates:
        """Returns the cached states; rebuilds them when parameters or their state tensors changed identity."""
        all_states = self.state.values()
        if (
            before is None
            or not _are_same(before.parameters, parameters)
            or not _are_same(before.all_states, all_states)
            # A state that was emptied since starts anew.
            or not all(before.states)
            or not _are_same(before.steps, [state["step"] for state in before.states])
        ):
            states = [self.state[p] or self._begin(p) for p in parameters]
            step_buffer = torch.stack([state["step"] for state in states])
            # Views: incrementing the buffer updates the counter of each parameter, which checkpoints store.
            steps = list(step_buffer.unbind())
            for state, step in zip(states, steps, strict=True):
                state["step"] = step
            return _CachedStates(list(parameters), states, list(all_states), steps, step_buffer)
        return before

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        state = {
            # float32 for parameters of any type, as PyTorch's fused Adam has it.
            "step": torch.zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        self.state[parameter] = state
        return state


def _are_same(some: Sequence[Any], others: Collection[Any]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


class FusedAdam(_DirectStep):
    """Makes the step of `torch.optim.Adam`."""


class FusedAdamW(_DirectStep, AdamW):
    """Makes the step of `torch.optim.AdamW`."""


# `map` stops at the end of the gradients.
_NONE = repeat(None)
_ONE = torch.ones(())

FUSED: dict[Any, type[Optimizer]] = {Adam: FusedAdam, AdamW: FusedAdamW}

for genuine, fused in FUSED.items():  # callbacks name curves after the class, which must be the same with both engines
    fused.__name__ = fused.__qualname__ = genuine.__name__


def fused_adam(factory: OptimizerFactory) -> OptimizerFactory:
    """Returns a factory of the direct optimizer for a plain fused Adam or AdamW; any other factory as it is."""
    rule, options = getattr(factory, "func", factory), getattr(factory, "keywords", {})
    is_plain = options.get("fused") and not any(options.get(name) for name in UNSUPPORTED)
    if rule not in FUSED or not is_plain or isinstance(options.get("lr"), Tensor):
        return factory
    return partial(FUSED[rule], **options)
