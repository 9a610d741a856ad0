"""Draws the predictions on the test part, for TensorBoard and as PNG files."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.plots import as_png, log_picture, result_figures
from mlplab.runs.files import write_bytes
from mlplab.task import Task


class Figures(Callback):
    """Draws the confusion matrix, or predicted against true values, of the test part; one for each target.

    Members of a stack draw none, as a figure takes longer than their training. `scripts/evaluate.py` draws it later.

    Args:
        directory: for the PNG files.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self._predicted: list[Tensor] = []
        self._targets: list[Tensor] = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Somebody's own test_step may return anything.
        if isinstance(outputs, dict) and {"predictions", "targets"} <= outputs.keys():
            # Off the GPU at once, where they would take memory until the end of the pass.
            self._predicted.append(outputs["predictions"].detach().cpu())
            self._targets.append(outputs["targets"].detach().cpu())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Each of several processes has only its share of the rows: the figure would be incomplete.
        if not self._predicted or trainer.world_size > 1:
            return
        predicted, targets = torch.cat(self._predicted), torch.cat(self._targets)
        # A second test of the same run must not add to the first.
        self._predicted, self._targets = [], []
        task: Task = pl_module.task  # type: ignore[assignment]
        for name, figure in result_figures(predicted, targets, task).items():
            png = as_png(figure)
            write_bytes(self.directory / f"{name}.png", png)
            log_picture(trainer.loggers, f"test/{name}", png, trainer.global_step)
