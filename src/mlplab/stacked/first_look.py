"""Whether a stack computes the step that a member would make alone.

A stack has a step of its own, written for networks, losses and penalties as they are. Whoever clones this project
changes them, and the step above all: then the two differ, and jobs are to be run alone.
"""

import copy
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from mlplab.engine.recognition import is_as_written
from mlplab.learner import Batch, Learner
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty
from mlplab.optimization.parameter_groups import parameter_kinds
from mlplab.randomness import seed_generators
from mlplab.stacked.member import Member
from mlplab.stacked.networks.losses import StackedObjective, StackedPenalty
from mlplab.stacked.networks.network import StackedNetwork

REASON = "its step is not the one that stacks compute: the code of the step, the network or the loss has been changed"

SEED = 0
TOLERANCE = 1e-3
"""Of the loss, and of the largest number in any gradient: batched products sum in another order."""


def why_another_step(member: Member) -> str | None:
    """Tries a batch of a member's training rows both ways; None where loss and gradient are the same.

    The member stays as it is.

    Raises:
        Exception: what its own step meets.
    """
    learner = member.learner
    computed: list[Callable[..., object]] = [
        type(learner).training_step,
        Objective._loss,
        learner.objective.function,
        l1_l2_penalty,
    ]
    if _is_mlp(learner):
        computed += [HiddenLayer.forward, MLP.forward, MLP._layer_by_layer]
    if not is_as_written(*computed):
        return REASON
    n_rows = member.data.batch_size
    features, targets = (part[: None if n_rows == "full" else n_rows] for part in member.data.part("train"))
    batch = features, targets
    generator = torch.get_rng_state()
    try:
        alone, stacked = _alone(_copied(member), batch), _stacked(_copied(member), batch)
    finally:
        torch.set_rng_state(generator)
    are_close = _are_close(alone[:1], stacked[:1]) and _are_close(alone[1:], stacked[1:])
    return None if are_close else REASON


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
    output = learner.training_step(_in_type(learner, batch), 0)
    loss, told = (output, {}) if isinstance(output, Tensor) else (output["loss"], output)
    parameters = list(learner.model.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    found = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return [told.get("data_loss", loss).detach(), *found]


def _stacked(learner: Learner, batch: Batch) -> list[Tensor]:
    names = [name for name, _ in learner.model.named_parameters()]
    kinds = parameter_kinds(learner.model)
    network, objective = StackedNetwork([learner.model]), StackedObjective([learner.objective])
    network.train(learner.training)
    network.seeds = [SEED]
    features, targets = _in_type(learner, batch)
    losses = objective(network(features.unsqueeze(0)), targets.unsqueeze(0))
    losses.sum().backward()
    penalised = [name for name, kind in kinds.items() if kind in learner.penalised]
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
