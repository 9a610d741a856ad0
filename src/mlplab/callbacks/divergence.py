"""Ends a run whose loss is no longer a number."""

import math

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class Divergence(Callback):
    """Looks at the epoch's training loss, and ends the run when it is infinite or not a number.

    Args:
        monitor: the validation value that is watched as well.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.reason: str | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name in ("train/loss", self.monitor):
            value = trainer.callback_metrics.get(name)
            if value is not None and not math.isfinite(float(value)):
                self.reason = (
                    f"{name} is {float(value)} in epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
                )
                trainer.should_stop = True
                return
