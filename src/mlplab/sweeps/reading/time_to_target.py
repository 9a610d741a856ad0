"""The time that runs take to reach a target."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from mlplab.sweeps.reading.sweep_records import RunRecord, Target


class TimeToTarget(NamedTuple):
    """Times of runs to reach a target; a run that missed it counts as infinite."""

    n: int  # runs
    hits: int  # runs that reached it
    seconds: tuple[float, ...]  # of training, one for each run, in the order of the runs
    median: dict[str, float]  # of seconds, steps and epochs over all runs; infinite if half of them missed


def time_to_target(runs: Sequence[RunRecord], target: Target) -> TimeToTarget | None:
    """Measures when runs that have ended first reached a target; None without such runs.

    A run that failed or diverged has missed it, unless it had reached it before.
    """
    times = [time_of(r, target) for r in runs if r.state in ("finished", "pruned", "infeasible", "diverged", "failed")]
    if not times:
        return None
    by_unit = dict(zip(("seconds", "steps", "epochs"), zip(*times, strict=True), strict=True))
    # With misses as infinity the median needs no model of how long they would have taken.
    median = {unit: statistics.median(values) for unit, values in by_unit.items()}
    return TimeToTarget(len(times), sum(map(math.isfinite, by_unit["seconds"])), by_unit["seconds"], median)


def time_of(run: RunRecord, target: Target) -> tuple[float, float, float]:
    """Returns seconds, steps and epochs until a run reached a target; infinite if it did not."""
    curve = run.curves.get(target.metric)
    if curve is None or not (is_reached := target.is_reached(curve.values)).any():
        return math.inf, math.inf, math.inf
    first = int(is_reached.argmax())  # of booleans the place of the first True
    return float(curve.seconds[first]), float(curve.steps[first]), float(curve.epochs[first])
