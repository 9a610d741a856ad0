"""PyTorch's fused Adam by a direct call of its kernel: the same kernel on the same state.

`torch.optim.Adam.step` sorts its tensors by device and type and looks after options that nobody has set. For a
small network on the CPU that takes longer than the update.
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
    """Holds the states of parameters: looking them up takes as long as a small update.

    Attributes:
        all_states: the states of all parameters of the optimizer.
        steps: the number of updates of each of these, as parts of one tensor: `step_buffer`, so that one call counts
            for all.
    """

    parameters: list[Tensor]
    states: list[dict[str, Tensor]]
    all_states: list[dict[str, Tensor]]
    steps: list[Tensor]
    step_buffer: Tensor


class _DirectStep(Adam):
    """Makes Adam's step by one call for all groups with the same options, as groups without decay have."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        kinds = {(p.device.type, p.dtype) for group in self.param_groups for p in group["params"]}
        is_genuine = has_genuine_step(Adam) and why_replaced() is None
        # Decided here, where both the constructor and later additions of groups come by.
        self._is_direct = kinds in SUPPORTED and is_genuine

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        is_watched = has_step_hooks(self) or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        if is_watched or not getattr(self, "_is_direct", False):  # which a copy of an optimizer does not have
            return self._pytorchs_step(closure)
        loss = None
        if closure is not None:
            # Callers may hold `no_grad`, as PyTorch's own step does around its update.
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
        """Makes the step as it stands in PyTorch now, with the hooks that `step.hooked` leaves out."""
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
        found = vars(self).setdefault("_found", {})  # not of a copy, which has its own state
        for place, ((beta1, beta2, lr, eps, weight_decay, is_decoupled), parameters) in enumerate(by_options.items()):
            gradients = [p.grad for p in parameters]
            # The usual case has no None, and is found without building lists anew.
            if not all(map(is_not, gradients, _NONE)):
                parameters = [p for p in parameters if p.grad is not None]
                gradients = [p.grad for p in parameters]
            if not parameters:
                continue
            known = found[place] = self._cached_states(parameters, found.get(place))
            known.step_buffer.add_(_ONE)  # a number would be made a tensor each time, which takes longer than adding it
            kernel = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
            kernel(
                parameters,
                gradients,  # type: ignore[arg-type]  # none of them is None
                # Lists are made at every step, as the kernel takes lists; the states in them are looked up once.
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
            # A state that was emptied since begins again.
            or not all(before.states)
            or not _are_same(before.steps, [state["step"] for state in before.states])
        ):
            states = [self.state[p] or self._begin(p) for p in parameters]
            step_buffer = torch.stack([state["step"] for state in states])
            # Views: counting in the buffer counts for each parameter, where checkpoints look.
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

for genuine, fused in FUSED.items():  # callbacks name curves after the class, under both engines alike
    fused.__name__ = fused.__qualname__ = genuine.__name__


def fused_adam(factory: OptimizerFactory) -> OptimizerFactory:
    """Returns a factory of the same update by a direct call, for a plain fused Adam or AdamW; else the factory."""
    rule, options = getattr(factory, "func", factory), getattr(factory, "keywords", {})
    is_plain = options.get("fused") and not any(options.get(name) for name in UNSUPPORTED)
    if rule not in FUSED or not is_plain or isinstance(options.get("lr"), Tensor):
        return factory
    return partial(FUSED[rule], **options)
