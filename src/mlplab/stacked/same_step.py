"""Decides whether a stack trains a member as it would be trained alone: no edit of the code in between is ignored.

A stack computes steps, validation and batches in the place of learner, network, loss, data module and callbacks.
Jobs are run alone where one of those functions was edited.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from mlplab import training
from mlplab.callbacks import (
    Checkpoints,
    Divergence,
    Figures,
    GradientNorms,
    Histograms,
    History,
    ProgressLine,
    Pruning,
    Status,
    TrainingCurves,
)
from mlplab.data.batches import Batches
from mlplab.data.module import DataModule
from mlplab.engine.recognition import LOSSES, first_edited, functions_of_step
from mlplab.learner import Batch, Learner
from mlplab.models.activations import identity
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, BatchNorm
from mlplab.objectives.objective import predictions
from mlplab.objectives.scores import MeanLoss, Scores, classification_scores, regression_scores
from mlplab.optimization.parameter_groups import parameter_kinds
from mlplab.randomness import seed_generators
from mlplab.stacked.member import Member
from mlplab.stacked.networks.losses import StackedObjective, StackedPenalty
from mlplab.stacked.networks.network import StackedNetwork

OTHER_NUMBERS = "its first batch gives other numbers in a stack than alone"

SEED = 0
TOLERANCE = 1e-3
"""Of the loss, and of the largest number in any gradient: batched products sum in another order."""

OF_LEARNER = {
    "forward",
    "training_step",
    "validation_step",
    "test_step",
    "predict_step",
    "optimizer_step",
    "configure_optimizers",
    "on_train_batch_start",
    "on_validation_epoch_end",
    "on_test_epoch_end",
    "on_save_checkpoint",
}
"""Methods of LightningModule that `Learner` overrides. A stack would not call another one."""

OF_DATA = {"setup", "train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"}
"""The same of LightningDataModule and `DataModule`."""

CALLBACKS = (
    Checkpoints, Divergence, Figures, GradientNorms, Histograms, History, ProgressLine, Pruning, Status, TrainingCurves,
)  # fmt: skip
"""Those of this project that a member can have."""

CALLED = {
    "setup", "on_fit_start", "on_train_start", "on_train_epoch_end", "on_train_end", "on_validation_start",
    "on_validation_end", "on_test_batch_end", "on_test_end", "on_exception", "on_save_checkpoint", "on_load_checkpoint",
    "state_dict", "load_state_dict", "state_key",
}  # fmt: skip
"""What a stack calls of each member's callbacks. Their other hooks are computed for all members at once."""


def mirrored_functions() -> Iterator[Callable[..., Any]]:
    """Yields the functions in whose place a stack computes, as they are now."""
    yield from functions_of_step()
    yield from (*LOSSES, identity, predictions)
    yield from (Learner.validation_step, Learner.on_validation_epoch_end, Learner.on_test_epoch_end)
    yield from (MeanLoss.update, MeanLoss.compute, Scores.update, Scores.compute)
    yield from (classification_scores, regression_scores)
    yield from (DataModule.train_dataloader, DataModule.val_dataloader, Batches.__iter__, Batches.__len__)
    yield from (PixelInputs.forward, CategoryInputs.forward, BatchNorm.forward)
    yield from (training.train, training._fit)
    for kind in CALLBACKS:
        yield from (getattr(kind, name) for name in _overridden(kind, pl.Callback) if name not in CALLED)


def why_another_step(member: Member) -> str | None:
    """Returns why a member is not trained in a stack as it would be alone; None if it is.

    Besides the code it compares loss and gradient of a batch of training rows. The member stays as it is.

    Raises:
        Exception: what its own step meets.
    """
    edited = _why_other_classes(member) or first_edited(mirrored_functions())
    if edited is not None:
        return f"{edited} was edited"
    n_rows = member.data.batch_size
    features, targets = (part[: None if n_rows == "full" else n_rows] for part in member.data.part("train"))
    batch = features, targets
    generator = torch.get_rng_state()
    try:
        alone, stacked = _alone(_copied(member), batch), _stacked(_copied(member), batch)
    finally:
        torch.set_rng_state(generator)
    are_close = _are_close(alone[:1], stacked[:1]) and _are_close(alone[1:], stacked[1:])
    return None if are_close else OTHER_NUMBERS


def _why_other_classes(member: Member) -> str | None:
    """Returns the method by which learner, data module or a callback do more than a stack knows."""
    parts: tuple[tuple[Any, type, type, set[str]], ...] = (
        (member.learner, Learner, pl.LightningModule, OF_LEARNER),
        (member.data, DataModule, pl.LightningDataModule, OF_DATA),
    )
    for part, kind, base, known in parts:
        if type(part) is not kind:
            return f"the class of {type(part).__name__}"
        unknown = [name for name in _overridden(kind, base) if name not in known]
        unknown += [name for name, value in vars(part).items() if callable(value) and hasattr(base, name)]
        if unknown:
            return f"{kind.__name__}.{unknown[0]}"
    for callback in member.callbacks:
        unknown = [name for name in vars(callback) if name.startswith("on_") and hasattr(pl.Callback, name)]
        if unknown:
            return f"{type(callback).__name__}.{unknown[0]}"
    return None


def _overridden(kind: type, base: type) -> list[str]:
    """Returns the functions of a class that are another one in its base."""
    names = {name for part in kind.__mro__ for name, value in vars(part).items() if type(value) is FunctionType}
    common = sorted(name for name in names - {"__init__"} if hasattr(base, name))
    return [name for name in common if getattr(kind, name) is not getattr(base, name)]


def _copied(member: Member) -> Learner:
    """Its learner; what a user's own module draws is not the same in a stack, so that it draws nothing here."""
    learner = copy.deepcopy(member.learner)
    return learner.train(_is_mlp(learner))


def _is_mlp(learner: Learner) -> bool:
    model = learner.model
    return isinstance(model.network if isinstance(model, WithInputs) else model, MLP)


def _alone(learner: Learner, batch: Batch) -> list[Tensor]:
    """The loss without penalties, and the gradient of each parameter."""
    trainer = SimpleNamespace(world_size=1)
    learner.trainer = trainer  # type: ignore[assignment]
    seed_generators(SEED)
    output: Any = learner.training_step(_in_type(learner, batch), 0)
    parameters = list(learner.model.parameters())
    gradients = torch.autograd.grad(output["loss"], parameters, allow_unused=True)
    found = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return [output["data_loss"].detach(), *found]


def _stacked(learner: Learner, batch: Batch) -> list[Tensor]:
    names = [name for name, _ in learner.model.named_parameters()]
    kinds = parameter_kinds(learner.model)
    network, objective = StackedNetwork([learner.model]), StackedObjective([learner.objective])
    network.train(learner.training)
    network.seeds = [SEED]
    features, targets = _in_type(learner, batch)
    losses = objective(network(features.unsqueeze(0)), targets.unsqueeze(0))
    losses.sum().backward()
    penalised = [name for name, kind in kinds.items() if kind in learner.applies_to]
    StackedPenalty([learner.l1], [learner.l2], penalised).add_gradients(network)
    tensors = [network.tensors[name] for name in names]
    return [losses.detach()[0], *(torch.zeros_like(t[0]) if t.grad is None else t.grad[0] for t in tensors)]


def _in_type(learner: Learner, batch: Batch) -> Batch:
    """In the type of the weights, as batches come."""
    kind = next(learner.model.parameters()).dtype
    features, targets = (part.to(kind) if part.is_floating_point() else part for part in batch)
    return features, targets


def _are_close(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    one, other = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (some, others))
    largest = one.abs().max().item()
    if not math.isfinite(largest):  # it diverges at once, in its own way
        return not torch.isfinite(other).all()
    return torch.allclose(one, other, rtol=0.0, atol=TOLERANCE * largest)
