"""A sweep and its runs as plain values, read once and then passed around."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlplab.sweeps.job_values import FOLD, SEEDS

if TYPE_CHECKING:
    from mlplab.sweeps.ledger import Entry

Values = npt.NDArray[np.float64]


SHOWN_STATES = {"infeasible": "diverged"}
"""States that readers know by another name."""


@dataclass(frozen=True, slots=True)  # a sweep can have tens of thousands of them, and of runs
class Curve:
    """A metric of a run during training; all arrays are (N,), for N measurements.

    Attributes:
        epochs: from 1.
        steps: updates done.
        seconds: of training.
        values: NaN where the metric was not finite.
    """

    epochs: Values
    steps: Values
    seconds: Values
    values: Values


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A job of a sweep and its outcome.

    Attributes:
        entry: its line in sweep.json.
        state: as in `runs.run_reading`, or `damaged` if it finished and its result cannot be read.
        reason: why it ended.
        measured: finite validation metrics at its best epoch, with its parameters, seconds of training and epochs.
        last: finite validation metrics of its last validation; empty if curves were not read.
        test: finite metrics of the test part.
        best_epoch: None if nothing was validated.
        epochs, steps: trained.
        curves: metric → curve.
        manifest: the parts of manifest.json that a report shows.
        data_set: its data set, where the sweep has several; runs on different ones are not compared.
        data_version: of the data, where they changed while their name stayed.
        place: its directory; empty if it is not known.
        period: when it began and ended, in seconds since 1970; None where its status does not tell.
    """

    entry: "Entry"
    state: str
    reason: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    epochs: int = 0
    steps: int = 0
    last: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    data_set: str = ""
    data_version: str = ""
    place: str = ""
    period: tuple[float, float] | None = None


@dataclass(frozen=True)
class Criterion:
    """A metric with the direction that is better: `min` or `max`."""

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """Returns the factor by which values are multiplied so that smaller is better."""
        return -1 if self.mode == "max" else 1


@dataclass(frozen=True)
class Target(Criterion):
    """A value of a metric that runs should reach."""

    value: float = 0.0

    def is_reached(self, values: Values) -> npt.NDArray[np.bool_]:
        """Marks the values that reach the target; NaN never does. (N,) -> (N,)."""
        return np.asarray(self.sign * values <= self.sign * self.value)


@dataclass(frozen=True)
class SweepRecord:
    """A sweep in its present state.

    Attributes:
        directory: of the sweep.
        asked: what sweep.json holds beside the jobs.
        constants: overrides that all its jobs share.
        configs: configurations of some jobs, by job number.
        objectives: what settings are compared by; the first one ranks.
        target: None if the sweep has none.
        spaces: arm (None outside a comparison) → name → values or range of a swept parameter.
        runs: by job number.
        n_unreadable: entries of sweep.json that describe no job.
        replaced: the objective that was asked for, where another one replaces it because its runs have several losses.
        told: what was noticed while it was read.
    """

    directory: Path
    asked: Mapping[str, Any]
    constants: list[str]
    configs: Mapping[str, Any]
    objectives: tuple[Criterion, ...]
    target: Target | None
    spaces: Mapping[str | None, Mapping[str, Mapping[str, Any]]]
    runs: list[RunRecord]
    n_unreadable: int = 0
    replaced: Criterion | None = None
    told: Sequence["Finding"] = ()

    @property
    def name(self) -> str:
        # Resolved, as "." has no name.
        return self.directory.resolve().name

    @property
    def is_pooled(self) -> bool:
        """Returns whether the runs are not those of one sweep."""
        return "sources" in self.asked

    @property
    def objective(self) -> Criterion:
        return self.objectives[0]

    @property
    def repetition(self) -> str:
        """Returns in what the runs of a setting differ: "seed", "fold" of a cross-validation, or "run" for both."""
        swept = {name for run in self.runs for name in SEEDS if name in run.entry.values}
        return "seed" if FOLD not in swept else "fold" if swept == {FOLD} else "run"

    @property
    def data_sets(self) -> list[str]:
        """Lists the data sets if there are several, in the order of their first jobs."""
        return list(dict.fromkeys(run.data_set for run in self.runs if run.data_set))

    def spaces_of(self, name: str) -> list[Mapping[str, Any]]:
        """Returns the spaces of a parameter: one for each arm that has it."""
        return [spaces[name] for spaces in self.spaces.values() if name in spaces]


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds of a setting."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        # fmean adds up exactly, so the order of the runs does not change the last digit.
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Returns the standard deviation with n - 1 in its denominator; None for fewer than two values."""
        # Seeds are a sample of all seeds: with n in the denominator, five of them would seem a tenth less spread.
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def as_number(value: Any) -> float | None:
    """Returns a finite number as float; None for anything else."""
    # For Python, true is the integer 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers of any length
        return None
    # Python's JSON has NaN and Infinity too.
    return number if math.isfinite(number) else None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Returns a JSON object; an empty one for anything else."""
    # No error: a report shows as much of a damaged or received file as can be read.
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Returns a JSON array; an empty one for anything else."""
    return value if isinstance(value, list) else []


def distinct(values: Iterable[Any]) -> list[Any]:
    """Returns distinct values in the order of their first occurrence."""
    # By their JSON, because lists and objects cannot be keys.
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    Attributes:
        kind: its subject in a word, for programs.
        level: `result`, `caution` (something to do or to consider) or `fault` (something went wrong).
        sentence: the conclusion.
        evidence: the figures behind it.
    """

    kind: str
    level: str
    sentence: str
    evidence: str = ""
