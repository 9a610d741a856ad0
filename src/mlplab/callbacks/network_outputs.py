"""Passes rows through a run's network without affecting training."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from mlplab.data.module import EVALUATION_BATCH_ROWS
from mlplab.learner import Learner


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Sets evaluation mode within a `with` block, and restores each module's mode after it."""
    # For each module separately, as a frozen one may stay in evaluation mode for good.
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training


def network_outputs(trainer: pl.Trainer, learner: Learner, features: Tensor) -> Tensor:
    """Computes the network's outputs in evaluation: (N, F) -> (N, outputs), on the CPU, in 32 bits or more."""
    found = []
    with evaluating(learner), torch.no_grad():
        for batch in torch.split(features, EVALUATION_BATCH_ROWS):
            # In the weights' precision without autocasting, as in `scripts/predict.py`.
            outputs = learner.model(trainer.precision_plugin.convert_input(batch.to(learner.device)))
            found.append(outputs.to("cpu", torch.promote_types(outputs.dtype, torch.float32)))
    return torch.cat(found)
