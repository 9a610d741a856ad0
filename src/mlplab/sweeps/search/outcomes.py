"""What a trial's jobs have come to, as an objective of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.config.checks import require_metric
from mlplab.config.rules import shown
from mlplab.errors import UserError
from mlplab.runs.files import read_json
from mlplab.sweeps.search.study import Outcome
from mlplab.sweeps.states import read_result, read_state

OF_RUNS = ("parameters", "seconds", "epochs")
"""What a run can be judged by beside its validation metrics: its size and what it took."""


@dataclass(frozen=True)
class Objective:
    """What a search makes small or large.

    Attributes:
        metric: a validation metric, or one of `OF_RUNS`.
        mode: `min` or `max`.
    """

    metric: str
    mode: str


def objectives_of(asked: Any, monitor: str, mode: str) -> tuple[Objective, ...]:
    """The objectives that the configuration asks for, the monitor where it does not.

    Raises:
        UserError: they are no validation metrics with `min` or `max`.
    """
    if asked is None:
        return (Objective(monitor, mode),)
    example = "hydra.sweeper.objectives={val/loss:min,parameters:min}"
    must = f"hydra.sweeper.objectives must map val/… or one of {', '.join(OF_RUNS)} to min or max"
    if not isinstance(asked, Mapping) or not asked:
        raise UserError(must, f"hydra.sweeper.objectives={shown(asked)}", example)
    for metric, direction in asked.items():
        if direction not in ("min", "max") or not (str(metric).startswith("val/") or metric in OF_RUNS):
            raise UserError(must, f"{metric}: {direction}", example)
    for metric, direction in asked.items():
        if metric not in OF_RUNS:
            require_metric("objective", str(metric), str(direction), None)
    return tuple(Objective(str(metric), str(direction)) for metric, direction in asked.items())


def outcome_of(directories: Sequence[Path], objectives: Sequence[Objective]) -> Outcome | None:
    """The mean over a trial's jobs, one for each seed; None while one of them has not ended."""
    states = [read_state(directory) for directory in directories]
    if not all(state.has_ended for state in states):
        return None
    for state in states:
        if state.name in ("failed", "infeasible"):
            return Outcome(state.name, reason=state.reason)
    if any(state.name == "pruned" for state in states):
        return Outcome("pruned")
    means = []
    for objective in objectives:
        values = [_value(directory, objective.metric) for directory in directories]
        mean = sum(values) / len(values)
        if not math.isfinite(mean):
            return Outcome("infeasible", reason=f"{objective.metric} is {mean:g}")
        means.append(mean)
    return Outcome("finished", tuple(means))


def _value(directory: Path, metric: str) -> float:
    result = read_result(directory)
    if metric == result.get("monitor"):
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
