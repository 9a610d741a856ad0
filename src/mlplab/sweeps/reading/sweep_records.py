"""A sweep and its runs as plain values, read once and then passed around."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlplab.sweeps.job_values import FOLD, SEEDS
from mlplab.sweeps.objectives import Bound, Objective

if TYPE_CHECKING:
    from mlplab.sweeps.ledger import Entry

Values = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """A metric of a run during training; all arrays are (N,), for N measurements."""

    epochs: Values  # from 1
    steps: Values  # updates done
    seconds: Values  # of training
    values: Values  # NaN where the metric was not finite


@dataclass(frozen=True, slots=True)  # a sweep can have tens of thousands of them
class RunRecord:
    """A job of a sweep and its outcome."""

    entry: "Entry"  # its line in sweep.json
    state: str  # of runs.run_reading, or `diverged`, `infeasible` (it violates a constraint), `damaged` (no result)
    reason: str = ""  # why it ended
    # Finite validation metrics at its best epoch, with its parameters, seconds of training and epochs.
    measured: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)  # finite metrics of the test part
    best_epoch: int | None = None  # None if nothing was validated
    epochs: int = 0
    steps: int = 0
    last: Mapping[str, float] = field(default_factory=dict)  # metrics of its last validation, if curves were read
    curves: Mapping[str, Curve] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)  # the parts of manifest.json that a report shows
    data_set: str = ""  # where the sweep has several; runs on different ones are not compared
    data_version: str = ""  # where the data changed while their name stayed
    place: str = ""  # its directory, if it is known
    period: tuple[float, float] | None = None  # when it began and ended, in seconds since 1970


@dataclass(frozen=True)
class Finding:
    """One conclusion."""

    kind: str  # its subject in a word, for programs
    level: str  # `result`, `caution` (something to do or to consider) or `fault` (something went wrong)
    sentence: str
    evidence: str = ""  # the figures behind it


@dataclass(frozen=True)
class SweepRecord:
    """A sweep in its present state."""

    directory: Path
    asked: Mapping[str, Any]  # what sweep.json holds beside the jobs
    constants: list[str]  # overrides that all its jobs share
    configs: Mapping[str, Any]  # of some jobs, by job number
    objectives: tuple[Objective, ...]  # the first one ranks
    target: Bound | None
    # Arm (None outside a comparison) → name → values or range of a swept parameter.
    spaces: Mapping[str | None, Mapping[str, Mapping[str, Any]]]
    runs: list[RunRecord]  # by job number
    n_unreadable: int = 0  # entries of sweep.json that describe no job
    replaced: Objective | None = None  # the objective asked for, if it means something else for each of several losses
    told: Sequence[Finding] = ()  # what was noticed while it was read
    out: Path | None = None  # folder of the report, if not `directory`

    @property
    def name(self) -> str:
        # Resolved, as "." has no name.
        return self.directory.resolve().name

    @property
    def report_folder(self) -> Path:
        """Returns the folder of the report."""
        return self.out or self.directory

    @property
    def is_pooled(self) -> bool:
        """Returns whether the runs are not those of one sweep."""
        return "sources" in self.asked

    @property
    def objective(self) -> Objective:
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


class Spread(NamedTuple):
    """A metric over the seeds of a setting."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        # fmean adds up exactly, so the order of the runs does not change the last digit.
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Returns the standard deviation with n - 1 in its denominator; None for fewer than two values."""
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
    """Returns a JSON object; an empty one for anything else, as a report shows what can be read of a damaged file."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Returns a JSON array; an empty one for anything else."""
    return value if isinstance(value, list) else []


def distinct(values: Iterable[Any]) -> list[Any]:
    """Returns distinct values in the order of their first occurrence."""
    # By their JSON, because lists and objects cannot be keys.
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())
