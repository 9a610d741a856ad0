"""Keeps status.json up to date."""

import time
from collections.abc import Callable

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

# Often enough for watching a sweep, and far longer than writing the file takes.
EVERY_SECONDS = 5.0


class Status(Callback):
    """Writes epoch and step to status.json at the end of an epoch, at most every few seconds.

    Args:
        update: takes `epoch` and `step`, and writes them.
    """

    def __init__(self, update: Callable[..., None]) -> None:
        self._update = update
        self._last_writing = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # By the clock, as an epoch may be shorter than writing the file.
        if trainer.is_global_zero and time.monotonic() - self._last_writing >= EVERY_SECONDS:
            self._update(epoch=trainer.current_epoch + 1, step=trainer.global_step)
            self._last_writing = time.monotonic()
