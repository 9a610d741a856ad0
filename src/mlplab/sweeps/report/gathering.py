"""Reads what a sweep has left so far; nothing that stands in a job's directory makes it fail."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.config.suggestions import nearest_name
from mlplab.errors import Refusal
from mlplab.runs.history import read_history
from mlplab.sweeps.ledger import FILE, Entry, Ledger, read_ledger
from mlplab.sweeps.states import read_json, read_result, read_state

Values = npt.NDArray[np.float64]

STAGES = ("search", "rerun", "default")

SHARED = ("hardware", "versions", "git", "threads", "data")
"""What of a manifest the report tells."""


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
        measured: validation metrics at its best epoch; its parameters, seconds of training and epochs. Finite ones only.
        test: metrics of the test part. Finite ones only.
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
        return self.directory.name

    @property
    def objective(self) -> Objective:
        return self.objectives[0]


def gather(directory: Path) -> Gathered:
    """The sweep in a directory.

    Raises:
        Refusal: there is none, or its sweep.json is damaged.
    """
    ledger = _ledger(directory)
    asked = ledger.asked
    objectives = _objectives(asked)
    target = _target(asked.get("target"))
    metrics = {o.metric for o in objectives} | {"val/loss", "train/loss"} | ({target.metric} if target else set())
    entries = [entry for entry in ledger.entries if _is_sound(entry)]
    return Gathered(
        directory,
        asked,
        [word for word in _listed(ledger.constants) if isinstance(word, str)],
        as_mapping(ledger.configs),
        objectives,
        target,
        _space(asked),
        [_run(ledger.directory, entry, metrics) for entry in sorted(entries, key=lambda entry: entry.number)],
        len(ledger.entries) - len(entries),
    )


def _ledger(directory: Path) -> Ledger:
    if not (directory / FILE).is_file():
        raise Refusal("a report is made of a sweep's directory", *_where_sweeps_are(directory))
    try:
        ledger = read_ledger(directory)
    except Refusal as refusal:
        remedy = f"the sweep's command once more with another sweep.name; its jobs are still in {directory}"
        raise Refusal("a report must find the sweep's jobs in its sweep.json", refusal.given, remedy) from None
    assert ledger is not None
    return ledger


def _where_sweeps_are(directory: Path) -> tuple[str, str]:
    """What was given instead of a sweep, and the sweep that was probably meant."""
    if directory.is_file():
        return f"{directory} is a file", str(directory.parent)
    if (directory.parent / FILE).is_file():
        return f"{directory} is one job", str(directory.parent)
    if (directory / "manifest.json").is_file():
        return f"{directory} is one run", "python train.py -m, which makes a sweep"
    within = directory if directory.is_dir() else directory.parent
    sweeps = sorted((path.parent for path in within.glob(f"*/{FILE}")), key=lambda path: path.stat().st_mtime)
    near = nearest_name(directory.name, [path.name for path in sweeps])
    likely = str(within / near) if near else str(sweeps[-1]) if sweeps else "logs/sweeps/NAME"
    return f"{directory} has no {FILE}" if directory.is_dir() else f"there is no {directory}", likely


def _is_sound(entry: Entry) -> bool:
    return (
        isinstance(entry.number, int)
        and isinstance(entry.overrides, list)
        and all(isinstance(word, str) for word in entry.overrides)
        and isinstance(entry.arm, str | None)
        and entry.stage in STAGES
    )


def _objectives(asked: Mapping[str, Any]) -> tuple[Objective, ...]:
    given = [as_mapping(part) for part in _listed(as_mapping(asked.get("search")).get("objectives"))]
    objectives = tuple(Objective(str(part["metric"]), _mode(part)) for part in given if "metric" in part)
    return objectives or (Objective(str(asked.get("monitor") or "val/loss"), _mode(asked)),)


def _mode(part: Mapping[str, Any]) -> str:
    return "max" if part.get("mode") == "max" else "min"


def _target(asked: Any) -> Target | None:
    given = as_mapping(asked)
    value = as_number(given.get("value"))
    return None if value is None or "metric" not in given else Target(str(given["metric"]), _mode(given), value)


def _space(asked: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name → what it takes; of a comparison, each arm's that no arm before it has."""
    arms = as_mapping(as_mapping(asked.get("comparison")).get("arms"))
    spaces = [asked.get("space"), *(as_mapping(arm).get("space") for arm in arms.values())]
    space: dict[str, Mapping[str, Any]] = {}
    for part in spaces:
        space |= {name: as_mapping(taken) for name, taken in as_mapping(part).items() if name not in space}
    return space


def _run(sweep: Path, entry: Entry, metrics: Iterable[str]) -> Run:
    directory = sweep / entry.directory
    state = read_state(directory)
    result = read_result(directory)
    manifest = read_json(directory / "manifest.json")
    validation = _numbers(result.get("validation"))
    objective = as_number(result.get("objective"))
    if objective is not None and isinstance(result.get("monitor"), str):
        validation.setdefault(result["monitor"], objective)
    epochs = as_number(result.get("epochs")) or as_number(state.status.get("epoch")) or 0
    best_epoch = as_number(result.get("best_epoch"))
    of_runs = {
        "parameters": manifest.get("parameters"),
        "seconds": as_mapping(state.status.get("seconds")).get("fit"),
        "epochs": result.get("epochs"),
    }
    return Run(
        entry,
        "damaged" if state.name in ("finished", "pruned") and not result else state.name,
        state.reason,
        validation | _numbers(of_runs),
        _numbers(result.get("test")),
        None if best_epoch is None else int(best_epoch),
        int(epochs),
        _curves(directory, metrics),
        {name: manifest[name] for name in SHARED if name in manifest},
    )


def _curves(directory: Path, metrics: Iterable[str]) -> dict[str, Curve]:
    lines = read_history(directory)
    curves = {}
    for metric in metrics:
        rows = [
            [_or_nan(line.get(name)) for name in ("epoch", "step", "seconds", metric)]
            for line in lines
            if metric in line
        ]
        if rows:
            columns = np.asarray(rows, dtype=np.float64).T
            sound = np.isfinite(columns[:3]).all(axis=0)
            if sound.any():
                curves[metric] = Curve(*columns[:, sound])
    return curves


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


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in as_mapping(values).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _or_nan(value: Any) -> float:
    number = as_number(value)
    return math.nan if number is None else number


def same(values: Iterable[Any]) -> list[Any]:
    """Distinct values, in the order in which they first come."""
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())
