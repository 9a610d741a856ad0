"""Decides whether a stack trains a member exactly as it would train alone, so that no edit is ignored.

A stack replaces steps, validation and batches of learner, network, loss, data module and callbacks. If one of those
functions was edited, the jobs run alone.
"""

import copy
import math
from collections.abc import Callable, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from mlplab import building, result
from mlplab.data.batches import Batches
from mlplab.data.module import DataModule
from mlplab.engine.edited_functions import first_edited
from mlplab.engine.monkeypatches import why_replaced
from mlplab.engine.recognition import LOSSES, functions_of_step, method_on_instance, why_intercepted
from mlplab.learner import Learner
from mlplab.models.activations import identity
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, BatchNorm
from mlplab.objectives.objective import Objective, predictions
from mlplab.objectives.scores import Scores, classification_scores, regression_scores
from mlplab.optimization.parameter_groups import parameter_kinds, regularized_parameters
from mlplab.optimization.schedules import build_schedule
from mlplab.randomness import seed_generators
from mlplab.stacked.eligibility import CALLBACKS, LOGGERS
from mlplab.stacked.members.member import Member
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_losses import StackedObjective, StackedPenalty

OTHER_NUMBERS = "its first batch gives other numbers in a stack than alone"

SEED = 0
TOLERANCE = 1e-3
"""Maximum difference relative to the loss or the largest gradient, as batched products add in another order."""

NEVER_CALLED = {"forward", "predict_step"}
"""Methods of `Learner` that are never called in training or evaluation, alone or in a stack."""

LIGHTNING_PREFIX = "lightning.pytorch."
"""Modules whose methods count as unedited."""


def mirrored_functions() -> Iterator[Callable[..., Any]]:
    """Yields the current functions that a stack replaces, or calls for all members at once.

    For learner, data module and callbacks these are all methods, including added ones: a stack calls only methods that
    it knows, and not with a real Trainer.
    """
    # A stack calls nothing of this module; it is only checked for edits.
    from mlplab import training

    yield from functions_of_step()
    yield from (*LOSSES, identity, predictions, seed_generators, regularized_parameters, build_schedule)
    yield from (PixelInputs.forward, CategoryInputs.forward, BatchNorm.forward)
    yield from (classification_scores, regression_scores)
    yield from (building.build_data, building.build_trainer, training._fit, training.train, result.evaluate_best)
    # All methods, as a new one may be a hook that the stack would never call.
    yield from _methods(Learner, pl.LightningModule)
    yield from _methods(DataModule, pl.LightningDataModule)
    for kind, base in [*((k, object) for k in (Batches, Scores)), *((k, pl.Callback) for k in CALLBACKS)]:
        yield from _methods(kind, base)


def _methods(kind: type, base: type) -> Iterator[Callable[..., Any]]:
    """Yields the methods that a class of this project adds to its base or overrides."""
    for name in sorted({name for part in kind.__mro__ for name in vars(part)} - NEVER_CALLED):
        method = getattr(kind, name)
        is_own = type(method) is FunctionType and method is not getattr(base, name, None)
        if is_own and not method.__module__.startswith(LIGHTNING_PREFIX):
            yield method


def why_other_code(member: Member) -> str | None:
    """Returns which code or part of a member a stack does not support; None if it supports all."""
    edited = first_edited(mirrored_functions())
    if edited is not None:
        return f"{edited} was edited"
    return _why_other_parts(member) or why_intercepted(member.learner) or why_replaced()


def why_another_step(member: Member) -> str | None:
    """Returns why a member would train differently in a stack than alone; None if it would not.

    Besides the code, it compares loss and gradient of a batch of training rows. The member is not changed.

    Raises:
        Exception: any error of the member's own step.
    """
    reason = why_other_code(member)
    if reason is not None:
        return reason
    # The comparison must not advance the generator for the following runs.
    generator = torch.get_rng_state()
    try:
        # A copy: the step leaves gradients and running statistics behind.
        are_close = _is_step_close(copy.deepcopy(member.learner), member.data)
    finally:
        torch.set_rng_state(generator)
    return None if are_close else OTHER_NUMBERS


def _why_other_parts(member: Member) -> str | None:
    """Returns which part of a member has an unsupported class, or was changed after it was built."""
    learner = member.learner
    parts: list[tuple[Any, tuple[type, ...], type | None]] = [
        (learner, (Learner,), pl.LightningModule),
        (learner.objective, (Objective,), nn.Module),
        (member.data, (DataModule,), pl.LightningDataModule),
        *((callback, CALLBACKS, pl.Callback) for callback in member.callbacks),
        *((logger, LOGGERS, None) for logger in member.loggers),
        *((scores, (Scores,), None) for scores in learner._scores.values()),
    ]
    for part, kinds, base in parts:
        kind = type(part)
        if kind not in kinds:
            return f"{kind.__name__} has no stacked form"
        replaced = method_on_instance(part) or (base and _other_than_method(kind, base))
        if replaced:
            return f"{kind.__name__}.{replaced} was edited"
    penalized = regularized_parameters(learner.model, learner.applies_to) if learner.l1 > 0 or learner.l2 > 0 else []
    # By identity, as tensors compare element by element.
    if list(map(id, learner.regularized)) != list(map(id, penalized)):
        return "Learner.regularized was edited"
    return None


def _other_than_method(kind: type, base: type) -> str | None:
    """Returns a name of the base that a class of this project overrides by anything but a method."""
    own = ((name, value) for part in kind.__mro__ if _is_ours(part) for name, value in vars(part).items())
    return next(
        (n for n, v in own if type(v) is not FunctionType and not n.startswith("__") and hasattr(base, n)), None
    )


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("mlplab.")


def _is_step_close(learner: Learner, data: DataModule) -> bool:
    """Compares loss and gradient of a batch of training rows between a learner alone and a stack of one."""
    model: nn.Module = learner.model
    # In evaluation mode, as a user's own module has other dropout masks in a stack.
    learner.train(isinstance(model.network if isinstance(model, WithInputs) else model, MLP))
    n_rows = None if data.batch_size == "full" else data.batch_size
    dtype = next(model.parameters()).dtype
    features, targets = (
        part.to(dtype) if part.is_floating_point() else part for part in (rows[:n_rows] for rows in data.part("train"))
    )
    # All that `mean_over_processes` needs of a Trainer.
    trainer = SimpleNamespace(world_size=1)
    learner.trainer = trainer  # type: ignore[assignment]
    # Both draw the same dropout masks.
    seed_generators(SEED)
    alone = learner.training_step((features, targets), 0)
    alone["loss"].backward()  # type: ignore[no-untyped-call]
    network = StackedNetwork([model]).train(learner.training)
    network.seeds = [SEED]
    # A stack of one member.
    losses = StackedObjective([learner.objective])(network(features.unsqueeze(0)), targets.unsqueeze(0))
    losses.sum().backward()
    regularized = [name for name, kind in parameter_kinds(model).items() if kind in learner.applies_to]
    StackedPenalty([learner.l1], [learner.l2], regularized).add_gradients(network)
    pairs = [(parameter, network.tensors[name]) for name, parameter in model.named_parameters()]
    gradients = [torch.cat([_gradient(tensor) for tensor in tensors]) for tensors in zip(*pairs, strict=True)]
    return _are_close(alone["data_loss"], losses[0]) and _are_close(*gradients)


def _gradient(parameter: Tensor) -> Tensor:
    return (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten()


def _are_close(one: Tensor, other: Tensor) -> bool:
    largest = one.abs().max().item()
    if not math.isfinite(largest):  # diverges at once, alone too
        return not torch.isfinite(other).all()
    return torch.allclose(one, other, rtol=0.0, atol=TOLERANCE * largest)
