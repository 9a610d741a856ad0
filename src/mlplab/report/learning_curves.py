"""Conclusions from learning curves: medians over seeds, best epochs, and overfitting."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mlplab.sweeps.reading.sweep_records import Curve, RunRecord, Values

MOST_POINTS = 100  # points of a drawn curve

# Share of its fall, and of its minimum, by which a validation loss must rise again to count as overfitting.
LEAST_RISE = 0.05
LEAST_EPOCHS = 3  # shorter runs are left out of findings about the course of training


def median_rows(curves: Sequence[Curve]) -> list[Mapping[str, float]]:
    """Computes median `y` and quartiles `low` and `high` of curves over seeds by epoch `x`.

    They reach as far as at least half of the curves. If there are several measurements within an epoch, the last one
    counts.
    """
    epochs = np.unique(np.concatenate([[], *(curve.epochs for curve in curves)]))
    table = np.full((len(curves), len(epochs)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        # NumPy assigns in order: of several measurements in one epoch the last one stays.
        row[np.searchsorted(epochs, curve.epochs)] = curve.values
    # Beyond, the median would be that of the few runs that stopped late.
    enough = np.flatnonzero(2 * np.isfinite(table).sum(axis=0) >= max(len(curves), 1))
    kept = enough[thinned(len(enough))]
    quartiles = np.nanpercentile(table[:, kept], [25, 50, 75], axis=0) if len(kept) else np.empty((3, 0))
    return [
        dict(zip(("x", "low", "y", "high"), row, strict=True)) for row in zip(epochs[kept], *quartiles, strict=True)
    ]


def thinned(n: int, most: int = MOST_POINTS) -> npt.NDArray[np.int64]:
    """Returns the indices of at most `most` of n points, evenly spaced, including the first and the last."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).round().astype(np.int64))


def best_places(runs: Sequence[RunRecord]) -> Values:
    """Returns where the best epochs of finished runs were, from 0 (the start) to 1 (the last epoch); (N,)."""
    # A pruned or failed run says nothing about how long to train.
    known = [run for run in runs if run.state == "finished" and run.epochs >= LEAST_EPOCHS]
    places = [run.best_epoch / run.epochs for run in known if run.best_epoch is not None]
    return np.clip(np.array(places, dtype=np.float64), 0, 1)


def overfitting(run: RunRecord) -> float | None:
    """Returns the ratio of a run's final validation loss to its minimum; None if the run did not overfit.

    A run overfits if its validation loss rises by a 20th of its fall and of its minimum, while its training loss falls.
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
    # The larger of both, as noise alone can be a 20th of a small fall or of a minimum near 0.
    enough = LEAST_RISE * max(float(values[0]) - least, abs(least))
    # The end is the median of the last three values, because a single one may be high by chance.
    risen = float(np.median(values[max(best, len(values) - 3) :])) - least
    # The last training losses up to both epochs; NaN before the first.
    places = np.searchsorted(training.epochs, [epochs[best], epochs[-1]], side="right")
    before, after = np.concatenate([[math.nan], training.values])[places]
    # Written such that a NaN counts as no overfitting.
    if not 0 < enough <= risen or not after < before:
        return None
    # Losses can be zero or negative, and then have no ratio; infinity puts the run first.
    return (least + risen) / least if least > 0 else math.inf
