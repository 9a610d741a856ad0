"""Draws the first layer's weights as images, for data of images."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from mlplab.callbacks.notes import print_note
from mlplab.data.module import DataModule
from mlplab.data.preprocessing import Standardize
from mlplab.figures.unit_figures import MOST_UNITS, tiles_figure
from mlplab.plots import as_png, log_picture
from mlplab.runs.files import write_bytes

NAME = "weight_images"


class WeightImages(Callback):
    """Draws the incoming weights of each unit of the first layer, pixel by pixel.

    A figure goes to TensorBoard and to the file weight_images.png before training, every few epochs, and at its end.
    Of more than `MOST_UNITS` units, those with the largest weight norms are drawn. A pixel that is constant in the
    training part is always 0 once standardised. It is drawn grey, as its weight has no effect.

    Args:
        directory: for the file, which holds the newest figure.
        every_n_epochs: how often.
    """

    def __init__(self, directory: str, every_n_epochs: int = 10) -> None:
        self.directory = Path(directory)
        self.every_n_epochs = every_n_epochs
        self._weight: Tensor | None = None
        self._shape = (0, 0)
        self._constant = torch.empty(0, dtype=torch.bool)
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._weight = None
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        shape = data.image_shape if isinstance(data, DataModule) else None
        if shape is None:
            print_note(f"callbacks.{NAME} draws nothing: {getattr(data, 'name', type(data).__name__)} has no images")
            return
        n_pixels = shape[0] * shape[1]
        first = next((module for module in pl_module.modules() if isinstance(module, nn.Linear)), None)
        if first is None or first.in_features != n_pixels:
            print_note(f"callbacks.{NAME} draws nothing: no torch.nn.Linear takes the {n_pixels} pixels")
            return
        self._weight, self._shape = first.weight, shape
        preprocessor = data.preprocessor
        # uint8 pixels are all scaled alike, so a constant pixel is not 0, and its weight adds to the bias.
        is_standardized = isinstance(preprocessor, Standardize)
        self._constant = preprocessor.is_constant() if is_standardized else torch.zeros(n_pixels, dtype=torch.bool)
        if trainer.global_step == 0:
            self._draw(trainer, "before training")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            self._draw(trainer, f"epoch {epoch}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer, f"epoch {trainer.current_epoch}")

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict["last_step"]

    def _draw(self, trainer: pl.Trainer, when: str) -> None:
        if self._weight is None or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        weights = self._weight.detach().cpu().double()
        longest = weights.norm(dim=1).argsort(descending=True, stable=True)[:MOST_UNITS].sort().values
        shown = weights[longest].masked_fill(self._constant, float("nan")).reshape(-1, *self._shape)
        n = len(weights)
        which = f"{n} units" if n == len(shown) else f"the {len(shown)} of {n:,} units with the longest weights"
        which += "; grey: pixels that are constant in training" if self._constant.any() else ""
        figure = tiles_figure(shown.numpy(), "weight of the pixel", f"weights of the first layer, {when}\n{which}")
        png = as_png(figure)
        write_bytes(self.directory / f"{NAME}.png", png)
        log_picture(trainer.loggers, NAME, png, trainer.global_step)
