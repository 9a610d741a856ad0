"""Decides whether the engine may compute a learner's step, and gives the reason if not.

If a hook, a user's own class or autograd could give another result, autograd computes the step. The stacks apply the
same checks to their members.
"""

from collections.abc import Callable, Hashable, Iterator
from operator import attrgetter
from types import FunctionType
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.modules import module as global_hooks_module

from mlplab.callbacks.averaging import ExponentialMovingAverage, StochasticWeightAverage
from mlplab.callbacks.checkpoints import Checkpoints
from mlplab.callbacks.gradient_norms import GradientNorms
from mlplab.callbacks.learning_rate_range import LearningRateRange
from mlplab.callbacks.non_finite_guard import NonFiniteGuard
from mlplab.callbacks.progress import ProgressLine
from mlplab.callbacks.training_curves import TrainingCurves
from mlplab.engine.edited_functions import first_edited
from mlplab.engine.hooks import STEP_HOOKS, overriding
from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.engine.logged_values import FastLogDict
from mlplab.engine.monkeypatches import why_changed_by_updates, why_replaced
from mlplab.learner import Learner
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty

LOSSES = (cross_entropy, binary_cross_entropy, mse, mae, huber)

INPUTS = (PixelInputs, CategoryInputs)
"""Input layers that kernels and stacks support."""

WATCHERS = (
    Checkpoints, ExponentialMovingAverage, GradientNorms, LearningRateRange, NonFiniteGuard, ProgressLine,
    StochasticWeightAverage, TrainingCurves,
)  # fmt: skip
"""Callbacks of this project whose hooks, in a step or at a safe point, do not change the network."""

LIGHTNINGS_WATCHERS = (
    "DeviceStatsMonitor",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "RichProgressBar",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
)
"""The same for `lightning.pytorch.callbacks`."""

CALLBACK_DEFAULTS = {name: getattr(pl.Callback, name, None) for name in (*STEP_HOOKS, "on_safe_point")}
"""Hook of a step, and `on_safe_point` → its default; None where Lightning has no such hook."""

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes of a module that hold functions to call with its inputs, outputs or gradients."""

GLOBAL_HOOKS = tuple(getattr(global_hooks_module, f"_global{name}") for name in MODULE_HOOKS)
"""The same for all modules."""


CALLS = ("__call__", "_wrapped_call_impl", "_call_impl")
# Captured on import, to find later replacements.
ORIGINAL_CALLS = [getattr(nn.Module, name) for name in CALLS]

ACCESS = (*CALLS, "__getattr__", "__getattribute__", "__setattr__")
"""Methods that call a module, or read and set its attributes."""


def why_not_fused(trainer: pl.Trainer, learner: pl.LightningModule) -> str | None:
    """Returns why a step is left to autograd; None if a `FusedStep` gives the same bits.

    Call it again whenever code that the engine does not know may have run.
    """
    if trainer.strategy.root_device.type != "cpu":
        return "the fused step needs the CPU"
    if torch.is_anomaly_enabled():
        return "trainer.detect_anomaly=true looks for the anomaly in autograd"
    if torch.is_autocast_enabled("cpu"):
        return "torch.autocast chooses the precision of each operation"
    # A subclass may override any part of the step.
    if type(learner) is not Learner:
        return f"{type(learner).__name__} is not the project's own Learner"
    if learner.augmentation is not None:
        return "augmentation has no fused kernels"
    return (
        why_changed_by_updates(trainer)
        or _unknown_step_hook(trainer, learner)
        or _unfusable_network(learner)
        or why_replaced()
    )


def _unknown_step_hook(trainer: pl.Trainer, learner: Learner) -> str | None:
    """Returns the first hook of a step that may change the network; None if there is none."""
    overridden = [name for name in STEP_HOOKS if overriding([learner], name, pl.LightningModule)]
    # The learner's own hook only seeds the step, and the fast loop calls it in any case.
    unknown = [name for name in overridden if name != "on_train_batch_start"]
    # The user's own schedule may change anything between two steps.
    if overriding([learner], "lr_scheduler_step", pl.LightningModule):
        unknown.append("lr_scheduler_step")
    if unknown:
        return f"Learner.{unknown[0]} may change the network within the step"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        kind = type(callback)
        # Inlined for speed: `overriding` would bind each hook, and most callbacks have none.
        is_set = not vars(callback).keys().isdisjoint(CALLBACK_DEFAULTS)
        hooks = [
            name
            for name, default in CALLBACK_DEFAULTS.items()
            if getattr(kind, name, None) is not default or (is_set and name in vars(callback))
        ]
        if not hooks or (_is_lightnings_watcher(kind) and not is_set):
            continue
        # Exactly the class and its own hooks: a subclass may do more.
        if kind not in WATCHERS or is_set:
            return f"{kind.__name__}.{hooks[0]} may change the network between two steps"
        edited = first_edited(getattr(kind, name) for name in hooks)
        if edited is not None:
            return f"{edited} was edited"
    return None


def _is_lightnings_watcher(kind: type) -> bool:
    return kind.__name__ in LIGHTNINGS_WATCHERS and kind.__module__.startswith("lightning.pytorch.callbacks.")


def _unfusable_network(learner: Learner) -> str | None:
    """Returns the first part of network or loss that the kernels do not support; None if there is none."""
    model, objective = learner.model, learner.objective
    # By type and not isinstance: a subclass may have another `forward`.
    network = model.network if type(model) is WithInputs else model
    if type(network) is not MLP:
        return f"{type(network).__name__} has no fused step, only MLP has one"
    if objective.function not in LOSSES:
        return f"the loss {getattr(objective.function, '__name__', objective.function)} is not the project's own"
    edited = first_edited([*functions_of_step(), objective.function])
    if edited is not None:
        return f"{edited} was edited"
    if type(objective) is not Objective:
        return f"{type(objective).__name__} is not the project's own Objective"
    if type(model) is WithInputs:
        if type(model.inputs) not in INPUTS:
            return f"{type(model.inputs).__name__} has no fused step"
        # The gradient of embeddings is a sum over the rows of each category; no kernel here computes it.
        if next(model.inputs.parameters(), None) is not None:
            return "embeddings have no fused kernel"
        edited = first_edited([type(model.inputs).forward])
        if edited is not None:
            return f"{edited} was edited"
    return why_other_layers(network) or _unfusable_layers(network, learner) or why_intercepted(learner)


def why_other_layers(network: MLP) -> str | None:
    """Returns which layer differs from those that `MLP` builds, or has an activation without a kernel."""
    if type(network.hidden) is not nn.Sequential:
        return "MLP.hidden is not an nn.Sequential"
    for layer in network.hidden:
        if type(layer) is not HiddenLayer:
            return f"{type(layer).__name__} is not a layer of MLP"
        activation = layer.activation
        # An unhashable activation cannot be looked up in the table.
        if not isinstance(activation, Hashable) or activation not in ACTIVATION_KERNELS:
            return f"the activation {getattr(activation, '__name__', activation)} has no kernel"
        if layer.residual and layer.linear.in_features != layer.linear.out_features:
            return "a residual connection between layers of two widths"
    if any(type(part) is not nn.Linear or part.bias is None for part in _linear_layers(network)):
        return "a layer's weighted sums are not those of nn.Linear with a bias"
    return None


def _linear_layers(network: MLP) -> list[Any]:
    return [*map(attrgetter("linear"), network.hidden), network.output]


def _unfusable_layers(network: MLP, learner: Learner) -> str | None:
    """Returns what only autograd supports: normalisation, shared, frozen or replaced parameters, evaluation mode."""
    for layer in network.hidden:
        if layer.normalization is not None:
            return f"{type(layer.normalization).__name__} has no fused kernel"
        # Functions of PyTorch are known by their identity; those of this project may have been edited.
        if type(layer.activation) is FunctionType and layer.activation.__module__.startswith("mlplab."):
            edited = first_edited([layer.activation])
            if edited is not None:
                return f"{edited} was edited"
    parameters = [parameter for part in _linear_layers(network) for parameter in (part.weight, part.bias)]
    for parameter in parameters:
        if type(parameter) is not nn.Parameter:
            return "a layer's weights are not an nn.Parameter"
        if not parameter.is_contiguous():  # the optimizer's kernels need contiguous memory
            return "a layer's weights do not lie in memory row by row"
    # Gradients of a shared parameter add up over its layers, which the fused step does not do.
    identities = set(map(id, parameters))
    if len(identities) < len(parameters):
        return "two layers share a parameter"
    if not identities.issuperset(map(id, learner.regularized)):
        return "a penalty applies to a parameter outside the network"
    for name, parameter in network.named_parameters():
        # Autograd leaves out the gradients of frozen parameters; the kernels compute them all.
        if not parameter.requires_grad:
            return f"{name} is frozen"
    for module in (*learner.model.modules(), *learner.objective.modules()):
        if not module.training:
            return f"{type(module).__name__} is in evaluation mode"
    return None


def why_intercepted(learner: Learner) -> str | None:
    """Returns a hook, compiled call or replaced method that runs besides the module class's `forward`."""
    if any(GLOBAL_HOOKS):
        return "hooks are registered for all modules"
    if [getattr(nn.Module, name) for name in CALLS] != ORIGINAL_CALLS:
        return "nn.Module.__call__ was replaced"
    for module in learner.modules():
        kind, own = type(module), vars(module)
        if any(own[hooks] for hooks in MODULE_HOOKS):
            return f"a hook is registered on {kind.__name__}"
        # A compiled network runs its own program, possibly with other kernels.
        if module._compiled_call_impl is not None:
            return "the network is compiled"
        replaced = method_on_instance(module) or _overridden_access(kind)
        if replaced is not None:
            return f"{kind.__name__}.{replaced} was replaced"
    for name, parameter in learner.model.named_parameters():
        # Only autograd calls such hooks.
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"a hook is registered on {name}"
    return None


def method_on_instance(part: Any) -> str | None:
    """Returns the name of a method that was replaced on the object itself; None if there is none."""
    kind = type(part)
    own: dict[str, Any] = vars(part)
    for name, value in own.items():
        if callable(value) and hasattr(kind, name) and type(value) is not FastLogDict:
            return name
    return None


def _overridden_access(kind: type[nn.Module]) -> str | None:
    """Returns the first method of `ACCESS` that a class of this project overrides; None if it overrides none."""
    if not kind.__module__.startswith("mlplab."):
        return None
    base: type = pl.LightningModule if issubclass(kind, pl.LightningModule) else nn.Module
    return next((name for name in ACCESS if getattr(kind, name) is not getattr(base, name)), None)


def functions_of_step() -> Iterator[Callable[..., Any]]:
    """Yields the functions that a step calls now, except the loss."""
    yield from (Learner.training_step, Learner.on_train_batch_start, Learner.optimizer_step)
    yield from (Objective.forward, MLP.forward, HiddenLayer.forward, WithInputs.forward, l1_l2_penalty)


def functions_of_watchers() -> Iterator[Callable[..., Any]]:
    """Yields the current hooks of this project's callbacks that every step calls, or the loop after it."""
    for kind in WATCHERS:
        for name, default in CALLBACK_DEFAULTS.items():
            if getattr(kind, name, None) is not default:
                yield getattr(kind, name)
