"""What the curves of runs tell: medians over seeds, where the best came, and when a target was reached."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlplab.report.finished_runs import Curve, Run, Target

Values = npt.NDArray[np.float64]

MOST_POINTS = 200
"""Of a drawn curve."""

LEAST_RISE = 0.05
"""By which share of its fall, and of its least, a validation loss must have risen again to count as overfitting."""

LEAST_EPOCHS = 3
"""A run shorter than this has no course to speak of."""


@dataclass(frozen=True)
class Band:
    """Curves over seeds; all arrays are (N,).

    Attributes:
        epochs: as far as at least half of the runs have got.
        low: lower quartile.
        middle: median.
        high: upper quartile.
        n: curves.
    """

    epochs: Values
    low: Values
    middle: Values
    high: Values
    n: int


def band(curves: Sequence[Curve]) -> Band | None:
    """Median and quartiles of curves by epoch; None without curves.

    Of several measurements within an epoch the last one counts.
    """
    if not curves:
        return None
    epochs = np.unique(np.concatenate([curve.epochs for curve in curves]))
    table = np.full((len(curves), len(epochs)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[np.searchsorted(epochs, curve.epochs)] = curve.values
    enough = 2 * np.isfinite(table).sum(axis=0) >= len(curves)
    if not enough.any():
        return None
    low, middle, high = np.nanpercentile(table[:, enough], [25, 50, 75], axis=0)
    kept = thinned(int(enough.sum()))
    return Band(epochs[enough][kept], low[kept], middle[kept], high[kept], len(curves))


def thinned(n: int, most: int = MOST_POINTS) -> npt.NDArray[np.int64]:
    """Places of at most `most` of n points, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).round().astype(np.int64))


def best_places(runs: Sequence[Run]) -> Values:
    """Where in each run its best state came, from 0 (at once) to 1 (with its last epoch); (N,)."""
    places = [
        run.best_epoch / run.epochs
        for run in runs
        if run.state == "finished" and run.best_epoch is not None and run.epochs >= LEAST_EPOCHS
    ]
    return np.clip(np.array(places, dtype=np.float64), 0, 1)


def overfitting(run: Run) -> float | None:
    """How many times its least the validation loss of a run was at its end.

    None where it had not risen by a 20th of its fall and of its least, or the training loss did not fall on.
    """
    validation, training = run.curves.get("val/loss"), run.curves.get("train/loss")
    if validation is None or training is None:
        return None
    finite = np.isfinite(validation.values)
    epochs, values = validation.epochs[finite], validation.values[finite]
    if len(values) < LEAST_EPOCHS:
        return None
    best = int(values.argmin())
    least = float(values[best])
    enough = LEAST_RISE * max(float(values[0]) - least, abs(least))
    # The end is the middle of the last three, as a single one may be high by chance.
    risen = float(np.median(values[max(best, len(values) - 3) :])) - least
    before, after = _at(training, epochs[best]), _at(training, epochs[-1])
    if not 0 < enough <= risen or not after < before:
        return None
    return (least + risen) / least if least > 0 else math.inf


def _at(curve: Curve, epoch: float) -> float:
    """The last value up to an epoch; NaN where there is none."""
    place = int(np.searchsorted(curve.epochs, epoch, side="right")) - 1
    return float(curve.values[place]) if place >= 0 else math.nan


@dataclass(frozen=True)
class Reaching:
    """What runs took to reach a target; a run that missed it counts as infinite.

    Attributes:
        n: runs.
        hits: those that reached it.
        seconds: of training, one for each run, in the order of the runs.
        median: seconds, steps and epochs, each its median over all runs: infinite where half of them missed.
    """

    n: int
    hits: int
    seconds: tuple[float, ...]
    median: dict[str, float]


def reaching(runs: Sequence[Run], target: Target) -> Reaching | None:
    """When runs that have ended first reached a target; None without runs.

    A run that failed or diverged has missed it, unless it had reached it before.
    """
    ended = [run for run in runs if run.state in ("finished", "pruned", "infeasible", "failed")]
    if not ended:
        return None
    took = [_took(run.curves.get(target.metric), target) for run in ended]
    seconds, steps, epochs = zip(*took, strict=True)
    median = {
        name: statistics.median(part) for name, part in (("seconds", seconds), ("steps", steps), ("epochs", epochs))
    }
    return Reaching(len(ended), sum(math.isfinite(value) for value in seconds), seconds, median)


def _took(curve: Curve | None, target: Target) -> tuple[float, float, float]:
    """Seconds, steps and epochs."""
    is_reached = target.is_reached(curve.values) if curve is not None else np.zeros(0, dtype=bool)
    if curve is None or not is_reached.any():
        return math.inf, math.inf, math.inf
    first = int(is_reached.argmax())
    return float(curve.seconds[first]), float(curve.steps[first]), float(curve.epochs[first])
