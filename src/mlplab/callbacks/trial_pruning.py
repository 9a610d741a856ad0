"""Stops a trial of a search early if it is worse than the others."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

log = logging.getLogger("mlplab")


class Pruning(Callback):
    """Reports every validation to the search, and stops the run when the search says so.

    Trials are compared at the same number of validations. Outside a search, and in a trial whose result the search
    already has, it does nothing.

    Args:
        directory: of the run, within that of the search.
        monitor: the validation value to report.
        mode: `min` or `max`, of that value.

    Attributes:
        find_trial: returns the trial of the run in a directory, or None; set when the run is built. A trial has
            `report(value, validation)`, `should_prune()` and `reported`, the validations reported so far.
        pruned_at: number of the validation (from 1) at which the run was stopped.
    """

    def __init__(self, directory: str, monitor: str, mode: str) -> None:
        self.directory, self.monitor, self.mode = Path(directory), monitor, mode
        self.find_trial: Callable[[Path], Any] = _no_trial
        self.pruned_at: int | None = None
        self._validations = 0
        self._trial: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # In one process only, or one validation would be counted several times.
        if trainer.is_global_zero:
            self._trial = self.find_trial(self.directory)

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
            log.info(f"pruned at validation {self._validations}: other trials of the search did better")

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


def _no_trial(directory: Path) -> None:
    """Replaces `find_trial` in a run outside a search."""
