"""Histograms of weights and biases, in TensorBoard."""

import functools
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

LARGEST = 1e20
"""What lies beyond has no bucket in TensorBoard's histograms."""


class Histograms(Callback):
    """Writes the distribution of every parameter before training, every few epochs, and at the end.

    Args:
        every_n_epochs: how often; a set of histograms takes about as long as a short epoch.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0:  # and not where a run goes on
            self._write(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict["last_step"]

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        if step == self._last_step or not trainer.is_global_zero:
            return
        self._last_step = step
        network = getattr(pl_module, "model", pl_module)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, parameter in network.named_parameters():
                    described = describe(parameter.detach())
                    if described is not None:
                        # Behind an input layer the network's own names stay what they are without one.
                        tag = name.removeprefix("network.")
                        logger.experiment.add_histogram_raw(tag, **described, global_step=step)


def describe(values: Tensor) -> dict[str, Any] | None:
    """What TensorBoard is told of a distribution, as `SummaryWriter.add_histogram` tells it, in less time.

    None where there is nothing that can be drawn: in a diverged network, or one about to be.
    """
    values = values.flatten().cpu()
    ordered = np.sort(values.numpy() if values.dtype == torch.float64 else values.float().numpy()).astype(np.float64)
    # NaN comes last.
    if not len(ordered) or not -LARGEST < ordered[0] <= ordered[-1] < LARGEST:
        return None
    edges = _edges()
    first, last = np.searchsorted(edges, ordered[[0, -1]], side="right")
    limits = edges[first - 1 : last + 1]  # of an empty bucket, and of all from the smallest value's to the largest's
    counts = np.diff(np.searchsorted(ordered, limits), prepend=0)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "num": len(ordered),
        "sum": ordered.sum(),
        "sum_squares": ordered.dot(ordered),
        "bucket_limits": limits.tolist(),
        "bucket_counts": counts.tolist(),
    }


@functools.cache
def _edges() -> npt.NDArray[np.float64]:
    """Of TensorBoard's buckets: each a tenth wider than the one nearer to zero."""
    positive, edge = [], 1e-12
    while edge < LARGEST:
        positive.append(edge)
        edge *= 1.1
    return np.array([*(-edge for edge in reversed(positive)), 0.0, *positive])
