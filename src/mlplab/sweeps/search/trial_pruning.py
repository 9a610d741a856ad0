"""Stops a trial of a search early if it is worse than the others."""

import logging
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from mlplab.sweeps.search.study import trial_of

log = logging.getLogger("mlplab")


class Pruning(Callback):
    """Reports every validation to the search, and stops the run when the search says so.

    Trials are compared at the same number of validations. In a trial whose result the search already has, it does
    nothing.

    Args:
        directory: of the run, within that of the search.
        monitor: the validation value to report.
        mode: `min` or `max`, of that value.

    Attributes:
        pruned_at: number of the validation (from 1) at which the run was stopped.
    """

    def __init__(self, directory: str, monitor: str, mode: str) -> None:
        self.directory, self.monitor, self.mode = Path(directory), monitor, mode
        self.pruned_at: int | None = None
        self._validations = 0
        self._trial: Any = None

    @property
    def stop_reason(self) -> str | None:
        """Returns why it has stopped the run, if it has."""
        return None if self.pruned_at is None else f"pruned at validation {self.pruned_at}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # In one process only, or one validation would be counted several times.
        if trainer.is_global_zero:
            self._trial = trial_of(self.directory)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._validations += 1
        # Only the first process has the trial; all processes stop together.
        value = trainer.callback_metrics.get(self.monitor)
        is_worse = self._trial is not None and value is not None and self._is_worse(float(value))
        if trainer.strategy.reduce_boolean_decision(is_worse, all=False):
            self.pruned_at = self._validations
            trainer.should_stop = True
            log.info(f"{self.stop_reason}: other trials of the search did better")

    def _is_worse(self, value: float) -> bool:
        if not math.isfinite(value):
            return False  # NonFiniteGuard ends such a run
        # A resumed trial repeats validations that it reported before it was interrupted.
        if self._validations not in self._trial.reported:
            self._trial.report(value, self._validations)
        return bool(self._trial.should_prune())

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations, "pruned_at": self.pruned_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations, self.pruned_at = state_dict["validations"], state_dict["pruned_at"]
