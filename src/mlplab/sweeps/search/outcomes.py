"""Reads what the jobs of a trial have reached, as objectives of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.runs.files import read_json
from mlplab.runs.run_reading import read_result, read_state
from mlplab.sweeps.objectives import Bound, Objective


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        state: finished, pruned, infeasible or failed.
        objectives: finite values, if it finished.
        reason: why it did not finish.
        excess: metric of a constraint → by how much it is violated, 0 or less if it is not.
    """

    state: str
    objectives: tuple[float, ...] = ()
    reason: str = ""
    excess: Mapping[str, float] = field(default_factory=dict)


def read_outcome(
    directories: Sequence[Path], objectives: Sequence[Objective], constraints: Sequence[Bound] = ()
) -> Outcome | None:
    """Averages the values over a trial's jobs, one for each seed; returns None while a job has not ended."""
    states = [read_state(directory) for directory in directories]
    if not all(state.has_ended for state in states):
        return None
    for state in states:
        # The mean over the other seeds would favour settings that diverge now and then.
        if state.name in ("failed", "infeasible"):
            return Outcome(state.name, reason=state.reason)
    means = {
        one.metric: sum(value_of(directory, one.metric) for directory in directories) / len(directories)
        for one in (*objectives, *constraints)
    }
    known = {one.metric: one.excess(means[one.metric]) for one in constraints if math.isfinite(means[one.metric])}
    if any(state.name == "pruned" for state in states):
        return Outcome("pruned", excess=known)  # one seed is enough to judge by
    for metric, mean in means.items():
        if not math.isfinite(mean):
            # Optuna refuses values that are not finite.
            return Outcome("infeasible", reason=f"{metric} is {mean:g}")
    return Outcome("finished", tuple(means[objective.metric] for objective in objectives), excess=known)


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
