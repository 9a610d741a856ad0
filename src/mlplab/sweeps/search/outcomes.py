"""Reads what the jobs of a trial have reached, as objectives of a search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplab.runs.files import read_json
from mlplab.runs.run_reading import read_result, read_state

OF_RUNS = ("parameters", "seconds", "epochs")
"""Objectives beside validation metrics: the size of a model, and how long its training takes."""


@dataclass(frozen=True)
class Objective:
    """A value that a search minimizes or maximizes.

    Attributes:
        metric: a validation metric, or one of `OF_RUNS`.
        mode: `min` or `max`.
    """

    metric: str
    mode: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        state: finished, pruned, infeasible or failed.
        objectives: finite values, if it finished.
        reason: why it did not finish.
    """

    state: str
    objectives: tuple[float, ...] = ()
    reason: str = ""


def read_outcome(directories: Sequence[Path], objectives: Sequence[Objective]) -> Outcome | None:
    """Averages the objectives over a trial's jobs, one for each seed; returns None while a job has not ended."""
    states = [read_state(directory) for directory in directories]
    if not all(state.has_ended for state in states):
        return None
    for state in states:
        # The mean over the other seeds would favour settings that diverge now and then.
        if state.name in ("failed", "infeasible"):
            return Outcome(state.name, reason=state.reason)
    if any(state.name == "pruned" for state in states):
        return Outcome("pruned")  # one seed is enough to judge by
    means = []
    for objective in objectives:
        mean = sum(value_of(directory, objective.metric) for directory in directories) / len(directories)
        if not math.isfinite(mean):
            # Optuna refuses values that are not finite.
            return Outcome("infeasible", reason=f"{objective.metric} is {mean:g}")
        means.append(mean)
    return Outcome("finished", tuple(means))


def value_of(directory: Path, metric: str) -> float:
    """Reads the value of a metric that a finished job has reached; NaN where it has none."""
    result = read_result(directory)
    if metric == result.get("monitor"):  # the value of the best state, not of the last
        value = result.get("objective")
    elif metric == "parameters":
        value = read_json(directory / "manifest.json").get("parameters")
    elif metric == "seconds":
        value = read_state(directory).status.get("seconds", {}).get("fit")
    elif metric == "epochs":
        value = result.get("epochs")
    else:
        value = result.get("validation", {}).get(metric)
    return float(value) if isinstance(value, int | float) else math.nan
