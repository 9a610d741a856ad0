"""Draws the predictions on the test part, for TensorBoard and as PNG files."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.callbacks.calibrating import Calibration
from mlplab.errors import counted
from mlplab.plots import as_png, log_picture, reliability_figure, result_figures
from mlplab.runs.files import write_bytes
from mlplab.task import Task


class Figures(Callback):
    """Draws the test part: confusion matrix and reliability diagram, or predicted against true values for each target.

    Members of a stack draw none, as a figure takes longer than their training; `scripts/evaluate.py` can draw it later.

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
        # The user's own test_step may return anything.
        if isinstance(outputs, dict) and {"predictions", "targets"} <= outputs.keys():
            # Moved to the CPU at once, as they would fill the GPU's memory until the end of the pass.
            self._predicted.append(outputs["predictions"].detach().cpu())
            self._targets.append(outputs["targets"].detach().cpu())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Each of several processes has only its share of the rows, so the figure would be incomplete.
        if not self._predicted or trainer.world_size > 1:
            return
        predicted, targets = torch.cat(self._predicted), torch.cat(self._targets)
        # A second test must not add to the first.
        self._predicted, self._targets = [], []
        task: Task = pl_module.task  # type: ignore[assignment]
        figures = result_figures(predicted, targets, task)
        calibration = next((one for one in trainer.callbacks if isinstance(one, Calibration)), None)  # type: ignore[attr-defined]
        if calibration is not None and calibration.before is not None:
            temperature = calibration.summary["temperature"]
            title = f"test part: {counted(int(calibration.before.n_rows.sum()), 'row')}"
            figures["reliability"] = reliability_figure(calibration.before, calibration.after, title, temperature)
        for name, figure in figures.items():
            png = as_png(figure)
            write_bytes(self.directory / f"{name}.png", png)
            log_picture(trainer.loggers, f"test/{name}", png, trainer.global_step)
