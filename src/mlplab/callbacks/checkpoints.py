"""Keeps the best and the last state of a run, as checkpoints/best.ckpt and last.ckpt."""

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning import __version__
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor


class Checkpoints(Checkpoint):
    """The best state is copied in memory; files are written by the clock, and at the end.

    A file costs milliseconds, a copy in memory microseconds: with epochs of a few milliseconds, writing each
    improvement would take longer than learning it.

    Args:
        directory: where the two files go.
        monitor: the validation value that decides which state is best.
        mode: `min` or `max`.
        every_seconds: how long a run may go on between two writings.
    """

    def __init__(self, directory: str, monitor: str, mode: str, every_seconds: float = 30.0) -> None:
        self.directory = Path(directory)
        self.monitor, self.mode = monitor, mode
        self.every_seconds = every_seconds
        self.best_score = math.inf if mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self.best_step: int | None = None
        self.best_metrics: dict[str, float] = {}
        self.best_weights: dict[str, Tensor] | None = None
        self._best_is_written = True
        self._last_writing = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = trainer.callback_metrics
        if self.monitor in metrics:
            score = float(metrics[self.monitor])
            if score < self.best_score if self.mode == "min" else score > self.best_score:
                self.best_score = score
                # Epochs are counted from 1, as the table and the progress line count them.
                self.best_epoch, self.best_step = trainer.current_epoch + 1, trainer.global_step
                self.best_metrics = {name: float(v) for name, v in metrics.items() if name.startswith("val/")}
                self.best_weights = {name: v.detach().clone() for name, v in pl_module.state_dict().items()}
                self._best_is_written = False
        # All processes must take part in writing, so the first one's clock decides for all.
        due = time.monotonic() - self._last_writing >= self.every_seconds
        if trainer.strategy.broadcast(due) if trainer.world_size > 1 else due:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # Raised between two steps; any other exception may leave an update half made.
        if isinstance(exception, SIGTERMException):
            self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._best_is_written:
            content: dict[str, Any] = {
                "state_dict": self.best_weights,
                "epoch": self.best_epoch,
                "global_step": self.best_step,
                "metrics": self.best_metrics,
                "pytorch-lightning_version": __version__,
            }
            pl_module.on_save_checkpoint(content)
            trainer.strategy.save_checkpoint(content, self.directory / "best.ckpt")
            self._best_is_written = True
        trainer.save_checkpoint(self.directory / "last.ckpt")
        self._last_writing = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_step": self.best_step,
            "best_metrics": self.best_metrics,
        }
