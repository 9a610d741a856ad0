"""The time that runs take to reach a target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.sweeps.reading.sweep_records import Curve, RunRecord, Target


@dataclass(frozen=True)
class TimeToTarget:
    """Times of runs to reach a target; a run that missed it counts as infinite.

    Attributes:
        n: runs.
        hits: runs that reached it.
        seconds: of training, one for each run, in the order of the runs.
        median: of `seconds`, `steps` and `epochs` over all runs; infinite if half of them missed.
    """

    n: int
    hits: int
    seconds: tuple[float, ...]
    median: dict[str, float]


def time_to_target(runs: Sequence[RunRecord], target: Target) -> TimeToTarget | None:
    """Measures when runs that have ended first reached a target; None without such runs.

    A run that failed or diverged has missed it, unless it had reached it before.
    """
    ended = [run for run in runs if run.state in ("finished", "pruned", "infeasible", "failed")]
    if not ended:
        return None
    times = [_time(run.curves.get(target.metric), target) for run in ended]
    by_unit = dict(zip(("seconds", "steps", "epochs"), zip(*times, strict=True), strict=True))
    # With misses as infinity the median needs no model of how long they would have taken.
    median = {unit: statistics.median(values) for unit, values in by_unit.items()}
    seconds = by_unit["seconds"]
    return TimeToTarget(len(ended), sum(math.isfinite(value) for value in seconds), seconds, median)


def seconds_to(run: RunRecord, target: Target) -> float:
    """Returns the seconds of training until a run reached a target; infinite if it did not."""
    return _time(run.curves.get(target.metric), target)[0]


def _time(curve: Curve | None, target: Target) -> tuple[float, float, float]:
    """Returns seconds, steps and epochs."""
    is_reached = target.is_reached(curve.values) if curve is not None else np.zeros(0, dtype=bool)
    if curve is None or not is_reached.any():
        return math.inf, math.inf, math.inf
    # argmax of booleans is the place of the first True.
    first = int(is_reached.argmax())
    return float(curve.seconds[first]), float(curve.steps[first]), float(curve.epochs[first])
