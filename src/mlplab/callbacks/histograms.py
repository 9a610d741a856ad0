"""Writes histograms of weights and biases to TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn


class Histograms(Callback):
    """Writes the distribution of every parameter before training, every few epochs, and at the end.

    Args:
        every_n_epochs: how often; a set of histograms takes about as long as a short epoch.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0:  # not when a run resumes
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
        network = getattr(pl_module, "model", None)
        network = network if isinstance(network, nn.Module) else pl_module
        # The same names with and without an input layer.
        named = {name.removeprefix("network."): values for name, values in network.named_parameters()}
        log_histograms(trainer.loggers, named, step)


def log_histograms(loggers: Sequence[Logger], named: Mapping[str, Tensor], step: int) -> None:
    """Logs the distribution of each tensor's values to TensorBoard, if it is among the loggers.

    Args:
        loggers: of the run.
        named: name of the histogram → tensor.
        step: updates done.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            writer = logger.experiment
            for name, tensor in named.items():
                # The writer converts bfloat16 to float16, which overflows; hence float64.
                values = tensor.detach().cpu().double()
                # The bins do not cover the values of a diverged network; a NaN compares false, too.
                if values.numel() and values.abs().max() <= writer.default_bins[-1]:
                    writer.add_histogram(name, values, step)
