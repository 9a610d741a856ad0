"""Writes histograms of weights and biases to TensorBoard."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn


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
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                writer = logger.experiment
                for name, parameter in network.named_parameters():
                    # The writer converts bfloat16 to float16, which overflows; hence float64.
                    values = parameter.detach().cpu().double()
                    # The bins do not cover the values of a diverged network; for NaN the comparison is false too.
                    if values.numel() and values.abs().max() <= writer.default_bins[-1]:
                        # The same names with and without an input layer.
                        writer.add_histogram(name.removeprefix("network."), values, step)
