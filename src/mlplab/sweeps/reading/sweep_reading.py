"""Reads a sweep's directory; no content of a job's directory makes it fail."""

import contextlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from sys import intern
from types import NoneType
from typing import Any

import numpy as np
import yaml

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.runs.files import read_json, read_ordinary, require_ordinary
from mlplab.runs.layout import CONFIG
from mlplab.runs.run_reading import read_history, read_result, read_state
from mlplab.runs.untrusted_config import LARGEST
from mlplab.sweeps.comparable_options import LOSS, chooses_loss
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.ledger import FILE, Entry, Ledger, read_ledger
from mlplab.sweeps.reading.comparability import SHARED, shared_criterion, with_data_sets
from mlplab.sweeps.reading.sweep_records import (
    Criterion,
    Curve,
    RunRecord,
    SweepRecord,
    Target,
    Values,
    as_list,
    as_mapping,
    as_number,
)

ALIAS = re.compile(r"(^|[\s\[{,:-])[*&]\w")

MOST_LEVELS = 20
"""Levels of a configuration within another."""

STAGES = ("search", "rerun", "default")

SHOWN_OF_MANIFEST = ("name", "tags", "found", "hardware", "versions", "git", "code", "threads", "data", "seed")


def read_sweep(directory: Path, *, with_curves: bool = True) -> SweepRecord:
    """Reads sweep.json and what its jobs have left so far.

    Args:
        directory: of the sweep.
        with_curves: whether the histories of its jobs are read too, which takes most of the time.

    Raises:
        UserError: the directory holds no sweep, or its sweep.json is damaged.
    """
    ledger = ledger_of(directory)
    asked = ledger.metadata
    objectives = objectives_of(asked)
    target = target_of(asked.get("target"))
    entries = _with_seeds(ledger.directory, sound_entries(ledger))
    swept = {name for entry in entries for name in entry.values}
    metrics = shown_metrics(objectives, target, swept) if with_curves else set()
    runs = [read_run(ledger.directory / entry.directory, entry, metrics) for entry in entries]
    constants = [word for word in as_list(ledger.shared) if isinstance(word, str)]
    n_lost = len(ledger.entries) - len(entries)
    record = SweepRecord(
        directory, asked, constants, as_mapping(ledger.configs), objectives, target, _spaces(asked), runs, n_lost
    )
    return comparable(record)


def shown_metrics(objectives: Sequence[Criterion], target: Target | None, swept: Iterable[str]) -> set[str]:
    """Returns the metrics whose curves are shown; a history can have many more."""
    metrics = {o.metric for o in objectives} | {"val/loss", "train/loss"} | ({target.metric} if target else set())
    return metrics | {criterion.metric for criterion in SHARED} if any(map(chooses_loss, swept)) else metrics


def comparable(record: SweepRecord) -> SweepRecord:
    """Names the data sets of the runs, and replaces an objective that means something else for each loss."""
    runs = with_data_sets(record.runs, record.configs)
    replaced = next((o for o in record.objectives if o.metric == LOSS), None)
    shared = None if replaced is None else shared_criterion(runs)
    if shared is None:
        return replace(record, runs=runs)
    objectives = tuple(shared if o == replaced else o for o in record.objectives)
    return replace(record, runs=runs, objectives=objectives, replaced=replaced)


def ledger_of(directory: Path) -> Ledger:
    """Reads the sweep.json of a sweep, and makes sure that a report can be written beside it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not (directory / FILE).is_file():
        raise no_sweep(directory)
    # A received directory can hold links and pipes, through which files elsewhere would be written.
    for folder in (directory, directory / "figures"):
        require_ordinary(folder, deep=False)
    ledger = read_ledger(directory)
    assert ledger is not None
    return ledger


def no_sweep(directory: Path) -> UserError:
    """Says what was given instead of a sweep or runs, and which sweep was probably meant."""
    return UserError("sweep must be a sweep's directory, or several runs", *_where_sweeps_are(directory))


def _where_sweeps_are(directory: Path) -> tuple[str, str]:
    if directory.is_file():
        return f"{directory} is a file", str(directory.parent)
    if (directory.parent / FILE).is_file():
        return f"{directory} is one job", str(directory.parent)
    if (directory / "manifest.json").is_file():
        return f"{directory} is one run", f"{directory.parent}, the folder of all runs"
    # A misspelled name has its neighbours in the folder above.
    within = directory if directory.is_dir() else directory.parent
    # The newest sweep is the likeliest one to be meant.
    sweeps = sorted((path.parent for path in within.glob(f"*/{FILE}")), key=lambda path: path.stat().st_mtime)
    near = nearest_name(directory.name, [path.name for path in sweeps])
    likely = str(within / near) if near else str(sweeps[-1]) if sweeps else "logs/sweeps/NAME"
    return f"{directory} has no {FILE}" if directory.is_dir() else f"there is no {directory}", likely


def sound_entries(ledger: Ledger) -> list[Entry]:
    """Returns the entries of a sweep that describe jobs, by their numbers."""
    return sorted(filter(_is_sound, ledger.entries), key=lambda entry: entry.number)


def _is_sound(entry: Entry) -> bool:
    """Checks that an entry describes a job; a file system must be able to hold the name of its directory."""
    try:
        # JSON can hold lone surrogates, which UTF-8 cannot.
        entry.directory.encode()
    except UnicodeEncodeError:
        return False
    # A null byte in a path raises ValueError, and not OSError.
    return "\0" not in entry.directory and isinstance(entry.arm, str | None) and entry.stage in STAGES


def objectives_of(asked: Mapping[str, Any]) -> tuple[Criterion, ...]:
    """Returns what runs are judged by: the objectives of a search, else `monitor`."""
    parts = [as_mapping(part) for part in as_list(as_mapping(asked.get("search")).get("objectives"))]
    objectives = tuple(Criterion(str(part["metric"]), _mode(part)) for part in parts if "metric" in part)
    # A grid has no objectives, only the monitor of its runs.
    return objectives or (Criterion(str(asked.get("monitor") or "val/loss"), _mode(asked)),)


def _mode(part: Mapping[str, Any]) -> str:
    return "max" if part.get("mode") == "max" else "min"


def target_of(asked: Any) -> Target | None:
    """Returns the target that was asked for; None if there is none."""
    part = as_mapping(asked)
    value = as_number(part.get("value"))
    return None if value is None or "metric" not in part else Target(str(part["metric"]), _mode(part), value)


def _spaces(asked: Mapping[str, Any]) -> dict[str | None, dict[str, Mapping[str, Any]]]:
    arms = as_mapping(as_mapping(asked.get("comparison")).get("arms"))
    parts: dict[str | None, Any] = {name: as_mapping(arm).get("space") for name, arm in arms.items()}
    parts = parts or {None: asked.get("space")}
    return {arm: {name: as_mapping(space) for name, space in as_mapping(part).items()} for arm, part in parts.items()}


def read_run(directory: Path, entry: Entry, metrics: Iterable[str]) -> RunRecord:
    """Reads what a run has left so far, with the curves of some metrics."""
    state = read_state(directory)
    result = read_result(directory)
    manifest = read_json(directory / "manifest.json")
    # A run that has not finished has no result yet, but a status.
    epochs = as_number(result.get("epochs")) or as_number(state.status.get("epoch")) or 0
    best_epoch = as_number(result.get("best_epoch"))
    costs = {
        "parameters": manifest.get("parameters"),
        "seconds": as_mapping(state.status.get("seconds")).get("fit"),
        "epochs": result.get("epochs"),
    }
    return RunRecord(
        entry,
        "damaged" if state.name in ("finished", "pruned") and not result else state.name,
        state.reason,
        _numbers(result.get("validation")) | _numbers(costs),
        _numbers(result.get("test")),
        None if best_epoch is None else int(best_epoch),
        int(epochs),
        int(as_number(result.get("steps")) or as_number(state.status.get("step")) or 0),
        *_curves(directory, metrics),
        # The rest is not kept, as a sweep can have thousands of runs.
        {name: _shared(json.dumps(manifest[name])) for name in SHOWN_OF_MANIFEST if name in manifest},
        place=str(directory),
        period=_period(state.status),
    )


def _period(status: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns when a run began and ended; for one that goes on or was killed, when it last wrote its status."""
    try:
        began, ended = (
            datetime.fromisoformat(str(text)).timestamp()
            for text in (status.get("started"), status.get("ended") or status.get("updated"))
        )
    except (ValueError, OverflowError, OSError):
        return None
    return began, max(began, ended)


def _curves(directory: Path, metrics: Iterable[str]) -> tuple[dict[str, float], dict[str, Curve]]:
    """Reads the metrics of the last validation, and curves."""
    lines = read_history(directory) if metrics else []
    last: Mapping[str, Any] = next(
        (line for line in reversed(lines) if any(str(name).startswith("val/") for name in line)), {}
    )
    curves: dict[str, Curve] = {}
    before: Values = np.empty((3, 0))
    for metric in metrics:
        rows = [line for line in lines if metric in line]
        columns = np.array([_column([row.get(name) for row in rows]) for name in ("epoch", "step", "seconds", metric)])
        # A diverged loss stays as NaN, but a point needs its place in time.
        columns = columns[:, np.isfinite(columns[:3]).all(axis=0)]
        # Most metrics are measured at the same moments: of thousands of runs these are half of the memory.
        before = before if np.array_equal(before, columns[:3]) else columns[:3].copy()
        if len(rows) and columns.size:
            curves[metric] = Curve(before[0], before[1], before[2], columns[3].copy())
    return _numbers({name: value for name, value in last.items() if str(name).startswith("val/")}), curves


def _column(values: list[Any]) -> Values:
    """Returns values as numbers; NaN for what is no finite number."""
    # NumPy would also read the number in a text; it makes NaN of None.
    if {*map(type, values)} <= {int, float, NoneType}:
        with contextlib.suppress(OverflowError):
            column = np.array(values, dtype=np.float64)
            return np.where(np.isfinite(column), column, np.nan)
    return np.array([_or_nan(value) for value in values], dtype=np.float64)


@lru_cache(maxsize=1000)
def _shared(text: str) -> Any:
    """Returns one object for each text of JSON, as thousands of manifests say the same."""
    return json.loads(text)


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in as_mapping(values).items()}
    # Interned, as each file has brought its own copy of the name.
    return {intern(name): number for name, number in numbers.items() if number is not None}


def _or_nan(value: Any) -> float:
    number = as_number(value)
    return math.nan if number is None else number


def _with_seeds(sweep: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Adds the seed of its configuration to jobs that were given none, where others of their stage were.

    Otherwise a job that ran on the default seed and one that was given the same seed would count as two seeds.
    """
    swept: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        # By stage, as a rerun has seeds where its search had none.
        swept[entry.stage] |= entry.values.keys() & set(SEEDS)
    found = []
    for entry in entries:
        missing = swept[entry.stage] - entry.values.keys()
        text = text_of(sweep / entry.directory / CONFIG) if missing else ""
        config = as_mapping(parsed_yaml(text))
        seeds = {name: _value_at(config, name) for name in missing}
        # An interpolation is text in this file, and its value not known.
        known = {name: seed for name, seed in seeds.items() if isinstance(seed, int)}
        found.append(replace(entry, values={**entry.values, **known}))
    return found


def _value_at(config: Mapping[str, Any], name: str) -> Any:
    group, _, last = name.rpartition(".")
    return (as_mapping(config.get(group)) if group else config).get(last)


def parsed_yaml(text: str) -> Any:
    """Parses YAML that somebody else may have written, as plain values; None if that fails."""
    # Runs write no aliases, by which a few bytes can stand for billions of values.
    if ALIAS.search(text):
        return None
    # libyaml, where PyYAML has it, is several times faster.
    with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
        parsed = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return parsed if _is_shallow(parsed) else None
    return None


def _is_shallow(value: Any, levels: int = MOST_LEVELS) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts)


def text_of(path: Path) -> str:
    """Reads a text that somebody else may have written; empty if it is missing, too large or no text."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return read_ordinary(path, LARGEST).decode()
    return ""
