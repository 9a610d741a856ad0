"""Gives early stopping of a resumed run the patience of the current configuration."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


class ConfiguredPatience(Callback):
    """Replaces the patience that early stopping loads from a checkpoint; withdraws a stop that no longer follows.

    Args:
        callbacks: of the run, before a checkpoint is loaded.
    """

    def __init__(self, callbacks: list[Callback]) -> None:
        self._patience = [(one, one.patience) for one in callbacks if isinstance(one, EarlyStopping)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for one, patience in self._patience:
            one.patience = patience
        stopped = [one for one, _ in self._patience if one.stopping_reason is not EarlyStoppingReason.NOT_STOPPED]
        exhausted = EarlyStoppingReason.PATIENCE_EXHAUSTED
        if not all(one.stopping_reason is exhausted and one.wait_count < one.patience for one in stopped):
            return
        for one in stopped:
            trainer.should_stop = False  # the checkpoint's
            one.stopping_reason, one.stopping_reason_message = EarlyStoppingReason.NOT_STOPPED, None
            one.stopped_epoch = 0
