"""Reads what a sweep has left so far; nothing that stands in a job's directory makes it fail."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.report.finished_runs import Curve, Gathered, Objective, Run, Target, arms_asked, as_mapping, as_number, same
from mlplab.report.seeds import with_seeds
from mlplab.runs.files import require_ordinary
from mlplab.runs.history_file import read_history
from mlplab.sweeps.ledger import FILE, Entry, Ledger, read_ledger
from mlplab.sweeps.states import read_json, read_result, read_state

STAGES = ("search", "rerun", "default")

SHARED = ("hardware", "versions", "git", "threads", "data")
"""What of a manifest the report tells."""


def gather(directory: Path) -> Gathered:
    """The sweep in a directory.

    Raises:
        UserError: there is none, or its sweep.json is damaged.
    """
    ledger = _ledger(directory)
    asked = ledger.metadata
    objectives = _objectives(asked)
    target = _target(asked.get("target"))
    metrics = {o.metric for o in objectives} | {"val/loss", "train/loss"} | ({target.metric} if target else set())
    entries = with_seeds(ledger, [entry for entry in ledger.entries if _is_sound(entry)])
    return Gathered(
        directory,
        asked,
        [word for word in _listed(ledger.shared) if isinstance(word, str)],
        as_mapping(ledger.configs),
        objectives,
        target,
        _space(asked),
        [_run(ledger.directory, entry, metrics) for entry in sorted(entries, key=lambda entry: entry.number)],
        len(ledger.entries) - len(entries),
    )


def _ledger(directory: Path) -> Ledger:
    if not (directory / FILE).is_file():
        raise UserError("a report is made of a sweep's directory", *_where_sweeps_are(directory))
    for folder in (directory, directory / "figures"):
        require_ordinary(folder, deep=False)
    try:
        ledger = read_ledger(directory)
    except UserError as refusal:
        remedy = f"the sweep's command once more with another sweep.name; its jobs are still in {directory}"
        raise UserError("a report must find the sweep's jobs in its sweep.json", refusal.actual, remedy) from None
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
    """Whether a job is one; its directory must be a name that a file system can have."""
    try:
        entry.directory.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in entry.directory and isinstance(entry.arm, str | None) and entry.stage in STAGES


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
    """Name → what it takes; of a comparison, as far as its arms reach together."""
    arms = arms_asked(asked)
    spaces = [as_mapping(arm.get("space")) for arm in arms.values()] or [as_mapping(asked.get("space"))]
    space: dict[str, Mapping[str, Any]] = {}
    for name, taken in ((name, as_mapping(taken)) for part in spaces for name, taken in part.items()):
        space[name] = _joined(space[name], taken) if name in space else taken
    return space


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A space that holds two."""
    joined = {**other, **one}
    for end, choose in (("low", min), ("high", max)):
        known = [number for space in (one, other) if (number := as_number(space.get(end))) is not None]
        if known:
            joined[end] = choose(known)
    values = same([*_listed(one.get("values")), *_listed(other.get("values"))])
    return {**joined, "values": values} if values else joined


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


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in as_mapping(values).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _or_nan(value: Any) -> float:
    number = as_number(value)
    return math.nan if number is None else number
