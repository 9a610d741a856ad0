"""Draws each hidden unit as a function of one or two inputs."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from mlplab.callbacks.hidden_activations import recording_activations
from mlplab.callbacks.input_grid import grid_where_possible
from mlplab.callbacks.network_outputs import evaluating
from mlplab.figures.function_figures import InputGrid
from mlplab.figures.unit_figures import units_figure
from mlplab.learner import Learner
from mlplab.plots import as_png, log_picture
from mlplab.runs.files import write_bytes

NAME = "hidden_units"


class HiddenUnits(Callback):
    """Draws the activation of every hidden unit: a small map of the plane, or a curve over a single input.

    A figure for each layer goes to TensorBoard and to hidden_units_LAYER.png before training, every few epochs, and at
    its end. For an ensemble the first member is drawn.

    Args:
        directory: for the files, which hold the newest figures.
        every_n_epochs: how often.
    """

    def __init__(self, directory: str, every_n_epochs: int = 20) -> None:
        self.directory = Path(directory)
        self.every_n_epochs = every_n_epochs
        self._grid: InputGrid | None = None
        self._points = torch.empty(0)
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = grid_where_possible(trainer, pl_module, NAME)
        self._grid, self._points = found or (None, self._points)
        if trainer.global_step == 0:
            self._draw(trainer, pl_module, "before training")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, f"epoch {epoch}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, pl_module, f"epoch {trainer.current_epoch}")

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict["last_step"]

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule, when: str) -> None:
        grid = self._grid
        if grid is None or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        assert isinstance(pl_module, Learner)
        points = trainer.precision_plugin.convert_input(self._points.to(pl_module.device))
        with evaluating(pl_module), torch.no_grad(), recording_activations(pl_module.model) as activations:
            pl_module.model.forward(points)
        for layer, values in activations.items():
            of_units = values[:, 0] if values.ndim > 2 else values
            over_inputs = of_units.cpu().double().T.reshape(-1, *[len(axis) for axis in grid.axes])
            figure = units_figure(over_inputs.numpy().astype(np.float64), grid.axes, grid.names, f"{layer}, {when}")
            png = as_png(figure)
            write_bytes(self.directory / f"{NAME}_{layer}.png", png)
            log_picture(trainer.loggers, f"{NAME}/{layer}", png, trainer.global_step)
