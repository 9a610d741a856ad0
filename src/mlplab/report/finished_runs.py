"""What a sweep has left, in plain values."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.sweeps.ledger import Entry

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A metric of a run as it trained; all arrays are (N,), for N measurements.

    Attributes:
        epochs: from 1.
        steps: updates done.
        seconds: of training.
        values: NaN where it was no number.
    """

    epochs: Values
    steps: Values
    seconds: Values
    values: Values


@dataclass(frozen=True)
class Run:
    """A job of a sweep and what has become of it.

    Attributes:
        entry: what it was asked.
        state: as `sweeps.states` has it, or `damaged` where it finished and its result cannot be read.
        reason: why it ended.
        measured: finite validation metrics at its best epoch; its parameters, seconds of training and epochs.
        test: finite metrics of the test part.
        best_epoch: None where nothing was validated.
        epochs: trained.
        curves: metric → as it trained.
        manifest: what it was made of.
    """

    entry: Entry
    state: str
    reason: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    epochs: int = 0
    curves: Mapping[str, Curve] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """A metric with the direction that is better: `min` or `max`."""

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """What a value is multiplied by, so that smaller is better."""
        return -1 if self.mode == "max" else 1


@dataclass(frozen=True)
class Target(Objective):
    """A value that runs are to reach."""

    value: float = 0.0

    def is_reached(self, values: Values) -> npt.NDArray[np.bool_]:
        """Where it is; (N,) -> (N,). NaN reaches nothing."""
        return np.asarray(self.sign * values <= self.sign * self.value)


@dataclass(frozen=True)
class Gathered:
    """A sweep as it stands.

    Attributes:
        directory: of the sweep.
        asked: what sweep.json holds beside the jobs.
        constants: words that all its jobs share.
        configs: configurations of some jobs, by their numbers.
        objectives: what is compared; the first one ranks.
        target: None where none is given.
        space: name → what it takes.
        runs: in the order of their numbers.
        n_unreadable: jobs in sweep.json that are none.
    """

    directory: Path
    asked: Mapping[str, Any]
    constants: list[str]
    configs: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    target: Target | None
    space: Mapping[str, Mapping[str, Any]]
    runs: list[Run]
    n_unreadable: int = 0

    @property
    def name(self) -> str:
        return self.directory.resolve().name

    @property
    def objective(self) -> Objective:
        return self.objectives[0]


def as_number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def arms_asked(asked: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Arm of a comparison → what was asked for it."""
    arms = as_mapping(as_mapping(asked.get("comparison")).get("arms"))
    return {name: as_mapping(arm) for name, arm in arms.items()}


def same(values: Iterable[Any]) -> list[Any]:
    """Distinct values, in the order in which they first come."""
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())
