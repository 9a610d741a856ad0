"""Loads a trained run from its checkpoint alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlplab.config.paths import find_run
from mlplab.errors import UserError
from mlplab.runs.checkpoint import Predictor, predictor_of, read_card
from mlplab.task import Task

# Bounds the memory: for 8192 rows, a layer of 4096 units takes 128 MiB.
BATCH_ROWS = 8192
"""Rows that pass through the network at once."""

EQUAL_ROWS = 256
"""Rows per batch if all batches have the same shape."""


@dataclass(frozen=True)
class TrainedRun:
    """A trained run.

    Attributes:
        directory: of the run; of the checkpoint if that stands alone.
        checkpoint: the file.
        card: its plain values.
        predictor: network and preprocessing, in evaluation mode.
    """

    directory: Path
    checkpoint: Path
    card: Mapping[str, Any]
    predictor: Predictor

    @property
    def task(self) -> Task:
        return self.predictor.task

    def outputs(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Computes the network's outputs, logits or scaled values, for inputs of the preprocessing: -> (N, outputs)."""
        predictor = self.predictor
        return predict(lambda *batch: predictor.model(predictor.preprocessing(*batch)), inputs)

    def outputs_of_each(self, features: Tensor) -> Tensor:
        """Computes the same as `outputs`, with bits that do not depend on neighbouring rows: (N, F) -> (N, …).

        Matrix products of different shapes may add in a different order. So all batches have the same shape: the last
        one is filled by repeating the last row.
        """
        n_more = -len(features) % EQUAL_ROWS
        filled = torch.cat([features, features[-1:].expand(n_more, -1)])
        return torch.cat([self.outputs((batch,)) for batch in torch.split(filled, EQUAL_ROWS)])[: len(features)]

    def scaled_targets(self, targets: npt.NDArray[np.generic]) -> Tensor:
        """Returns targets (N,) or (N, T) as the network learned them: class indices (N,), or float32 (N, T or 1)."""
        task = self.task
        if task.kind == "classification":
            return torch.from_numpy(targets.astype(np.int64))
        # In float64: with a mean far larger than the deviation, float32 would lose digits.
        scaled = (targets.astype(np.float64) - np.asarray(task.target_mean)) / np.asarray(task.target_std)
        # (N, 1), like the network's outputs: against (N,) the loss would broadcast to (N, N).
        return torch.from_numpy(scaled).to(torch.float32).reshape(len(scaled), -1)

    def own_folder(self, name: str) -> Path:
        """Returns a folder in the run's directory, for evaluations or exports.

        Raises:
            UserError: it is a link that leads elsewhere.
        """
        folder = self.directory / name
        # Both resolved, as the run itself may be reached through a link.
        if not folder.resolve().is_relative_to(self.directory.resolve()):
            raise UserError(
                "a run must contain only ordinary files and folders", f"{folder} leads to {folder.resolve()}",
                "out=SOMEWHERE_ELSE",
            )  # fmt: skip
        return folder


def predict(predictor: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    """Applies a predictor, or another function of its inputs, to any number of rows in batches, without gradients."""
    with torch.inference_mode():
        # Tables have two tensors, numeric and categorical, which are split alike.
        batches = zip(*(torch.split(tensor, BATCH_ROWS) for tensor in inputs), strict=True)
        return torch.cat([predictor(*batch) for batch in batches])


def load_run(path: Path) -> TrainedRun:
    """Loads the best state of a run, or the last one if nothing was validated.

    Args:
        path: of a run's directory, or of a checkpoint.

    Raises:
        UserError: there is none, or it cannot be rebuilt from its checkpoint alone.
    """
    directory, checkpoint = find_run(path)
    # Only the card, as config.yaml of a received run could name any code to execute.
    card = read_card(checkpoint)
    return TrainedRun(directory, checkpoint, card, predictor_of(checkpoint, card))
