"""Finds functions of PyTorch or Lightning that were replaced or wrapped: direct kernel calls would bypass them."""

import sys
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

GENUINE_MODULES = {
    (torch.Tensor, "backward"): "torch._tensor",
    (functional, "linear"): None,
    (functional, "dropout"): "torch.nn.functional",
    (nn.Linear, "forward"): "torch.nn.modules.linear",
    (nn.Linear, "__call__"): "torch.nn.modules.module",
    (nn.Sequential, "forward"): "torch.nn.modules.container",
    (Optimizer, "zero_grad"): "torch.optim.optimizer",
    (sys.modules["torch.optim.adam"], "adam"): "torch.optim.adam",
    (pl.LightningModule, "backward"): "lightning.pytorch.core.module",
    (pl.LightningModule, "optimizer_zero_grad"): "lightning.pytorch.core.module",
    (pl.LightningModule, "configure_gradient_clipping"): "lightning.pytorch.core.module",
    (pl.LightningModule, "clip_gradients"): "lightning.pytorch.core.module",
}
"""Functions that the engine bypasses or relies on → module of the genuine one; None if it is written in C."""

STRATEGY_METHODS = ("backward", "optimizer_step", "training_step")
"""Methods of Lightning's strategy that the fast loop bypasses."""

DECORATORS = tuple(
    function.__code__
    for function in (Optimizer.profile_hook_step(lambda self: None), torch.optim.Adam.step)
    if hasattr(function, "__code__")
)
"""Code objects of the decorators that PyTorch itself puts around `step`."""


def why_replaced() -> str | None:
    """Returns which function was replaced, or what intercepts every operation; None if nothing."""
    for (owner, name), module in GENUINE_MODULES.items():
        function = getattr(owner, name)
        # A genuine function in C can only be replaced by one in Python.
        is_genuine = type(function).__name__.startswith("builtin") if module is None else function.__module__ == module
        if not is_genuine:
            return f"{getattr(owner, '__name__', owner)}.{name} was replaced"
    # Profilers and tracers, for example: they would miss direct kernel calls.
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return "a mode of PyTorch listens to all functions"
    find_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    if find_hooks is not None and find_hooks(False) is not None:
        return "hooks on saved tensors change what autograd remembers"
    return None


def has_genuine_step(kind: type[Optimizer]) -> bool:
    """Returns whether the `step` of an optimizer of PyTorch is PyTorch's own."""
    step: Any = kind.step
    # Unwraps PyTorch's own decorators of `step`; any other wrapper is the user's.
    while hasattr(step, "__wrapped__"):
        if step.__code__ not in DECORATORS:
            return False
        step = step.__wrapped__
    return str(step.__module__).startswith("torch.optim.")


def has_step_hooks(optimizer: Optimizer) -> bool:
    """Returns whether an optimizer, or all optimizers, have hooks before or after a step."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def why_changed_by_updates(trainer: pl.Trainer) -> str | None:
    """Returns which optimizer or schedule may change more than weights and rates between two steps."""
    for optimizer in trainer.optimizers:
        kind, step = type(optimizer), vars(optimizer).get("step")
        is_known = kind.__module__.startswith(("torch.optim.", "mlplab.engine."))
        is_set = step is not None and not hasattr(step, "_wrapped_by_lr_sched")  # PyTorch's schedules set it
        if not is_known or is_set:
            return f"{kind.__name__}.step may change the network"
        if has_step_hooks(optimizer):
            return f"a hook is registered on {kind.__name__}"
    for config in trainer.lr_scheduler_configs:
        for schedule in _with_parts(config.scheduler):
            # These two call the user's functions, which may do anything.
            if type(schedule).__module__ != "torch.optim.lr_scheduler" or isinstance(
                schedule, LambdaLR | MultiplicativeLR
            ):
                return f"{type(schedule).__name__} may change the network"
    return None


def _with_parts(schedule: Any) -> Iterator[Any]:
    yield schedule
    # SequentialLR and ChainedScheduler contain other schedules.
    for part in getattr(schedule, "_schedulers", ()):
        yield from _with_parts(part)
