"""Adds intervals, sets and scaled probabilities to predictions, from a run's calibration."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import torch
from torch import Tensor

from mlplab.errors import UserError, counted
from mlplab.inference.trained import TrainedRun
from mlplab.inference.training_rows import rows_of_training
from mlplab.objectives.calibration import calibrate, conformal_quantile, rows_needed
from mlplab.runs.checkpoint import explain_bad_card

SEPARATORS = ("|", ";", ",", "/", " ")
"""Candidates for separating the labels of a set: the first that no label contains."""


class Calibrated:
    """Adds split-conformal intervals or sets, and a temperature, from a run's calibration.

    Attributes:
        temperature: divisor of the network's outputs; 1 if the run has none, or none is wanted.
        notes: for people.

    Args:
        run: whose calibration is used.
        level: of intervals or sets; None for neither.
        scales: whether the temperature is wanted.

    Raises:
        UserError: the run has no calibration and cannot be calibrated now, or has too few rows for the level.
    """

    def __init__(self, run: TrainedRun, level: float | None = None, *, scales: bool = False) -> None:
        self._run, self.temperature = run, 1.0
        self._quantiles: list[float] | None = None
        self.notes: list[str] = []
        if level is None and not scales:
            return
        if run.task.kind == "multilabel":
            raise UserError(
                "intervals and temperature must be for numbers or classes",
                "the run has several labels",
                "proba=true alone",
            )
        if scales and run.task.kind == "regression":
            raise UserError(
                "temperature=fitted must be for a classification", "the run is a regression", "temperature=off"
            )
        calibration = self._calibration()
        with explain_bad_card(run.checkpoint, "calibration"):
            if level is not None:
                _require_rows(int(calibration["n_rows"]), level)
                self._quantiles = conformal_quantile(calibration, level)
            if scales and calibration["temperature"] is not None:
                self.temperature = float(calibration["temperature"])
                self.notes.append(f"probabilities are scaled by temperature {self.temperature:.4g}")
            elif scales:
                self.notes.append("probabilities are not scaled: the validation part gave no temperature")

    def _calibration(self) -> Mapping[str, Any]:
        """Returns the checkpoint's calibration; computes it from the training data if there is none."""
        if self._run.card.get("calibration") is not None:
            stored: Mapping[str, Any] = self._run.card["calibration"]
            return stored
        try:
            parts = [
                (self._run.outputs(inputs), self._run.scaled_targets(targets))
                for inputs, targets, _ in rows_of_training(self._run, "val")
            ]
        except UserError as error:
            raise UserError(
                f"a run without a calibration in its checkpoint must be calibrated now: {error.requirement}",
                error.actual,
                "putting the data back, or a run that ended with callbacks.calibration",
            ) from None
        outputs, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        calibration = calibrate(outputs, targets, self._run.task)
        if calibration is None:
            raise UserError("a run must predict finite numbers to be calibrated", "it predicts others", "another run")
        rows = counted(calibration["n_rows"], "row")
        self.notes.append(f"the checkpoint has no calibration: computed now, from {rows} of the validation part")
        return calibration

    def bounds(self, values: pl.Series, place: int = 0) -> list[pl.Series]:
        """Returns the columns `lower` and `upper`: values ∓ the quantile of |y − ŷ|; none without a level.

        Args:
            values: predictions (N,).
            place: index of their target among several.
        """
        if self._quantiles is None:
            return []
        half_width = self._quantiles[place]
        return [(values - half_width).alias("lower"), (values + half_width).alias("upper")]

    def sets(self, probabilities: Tensor) -> list[pl.Series]:
        """Returns the column `set`, the labels of likely classes, for probabilities (N, C); none without a level.

        A class is in it if 1 − p is at most the quantile of 1 − p over true classes (Sadinle et al. 2019).
        NOTE[DIFF]: the predicted class always is, so that no set is empty.
        """
        if self._quantiles is None:
            return []
        is_in = 1 - probabilities.double() <= self._quantiles[0]
        is_in.scatter_(1, probabilities.argmax(1, keepdim=True), True)
        names = self._run.task.class_names
        separator = next((one for one in SEPARATORS if not any(one in name for name in names)), SEPARATORS[0])
        labels = [pl.when(pl.Series(is_in[:, index].numpy())).then(pl.lit(name)) for index, name in enumerate(names)]
        return [pl.select(pl.concat_str(labels, separator=separator, ignore_nulls=True).alias("set")).to_series()]


def _require_rows(n_rows: int, level: float) -> None:
    needed = rows_needed(level)
    if n_rows >= needed:
        return
    # Rounded down: n rows allow a level of up to n / (n + 1).
    possible = int(100 * n_rows / (n_rows + 1)) / 100
    raise UserError(
        f"intervals={level:g} must have at least {counted(needed, 'row')} in the validation part",
        f"the run has {n_rows:,}",
        f"intervals={possible:g}, or data.validation_fraction in training",
    )
