"""Keeps status.json up to date."""

import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from mlplab.runs.directory import RunDirectory

EVERY_SECONDS = 5.0


class Status(Callback):
    """Writes epoch and step at the end of an epoch, at most every few seconds."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self._last_writing = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # By the clock, as an epoch may be shorter than the writing of a file.
        if trainer.is_global_zero and time.monotonic() - self._last_writing >= EVERY_SECONDS:
            self.directory.update(epoch=trainer.current_epoch + 1, step=trainer.global_step)
            self._last_writing = time.monotonic()
