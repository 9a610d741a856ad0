"""Reads a sweep's directory; no content of a job's directory makes it fail."""

import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.report.comparability import SHARED, shared_criterion, with_data_sets
from mlplab.report.sweep_records import (
    Criterion,
    Curve,
    RunRecord,
    SweepRecord,
    Target,
    as_list,
    as_mapping,
    as_number,
)
from mlplab.runs.files import read_json, read_ordinary, require_ordinary
from mlplab.runs.run_reading import read_history, read_result, read_state
from mlplab.runs.untrusted_config import LARGEST
from mlplab.sweeps.comparable_options import LOSS, chooses_loss
from mlplab.sweeps.ledger import FILE, SEEDS, Entry, Ledger, read_ledger

STAGES = ("search", "rerun", "default")

SHOWN_OF_MANIFEST = ("hardware", "versions", "git", "threads", "data")


def read_sweep(directory: Path, *, with_curves: bool = True) -> SweepRecord:
    """Reads sweep.json and what its jobs have left so far.

    Args:
        directory: of the sweep.
        with_curves: whether the histories of its jobs are read too, which takes most of the time.

    Raises:
        UserError: the directory holds no sweep, or its sweep.json is damaged.
    """
    ledger = _ledger(directory)
    asked = ledger.metadata
    objectives = _objectives(asked)
    target = _target(asked.get("target"))
    # Only these curves are shown; a history can have many more.
    metrics = {o.metric for o in objectives} | {"val/loss", "train/loss"} | ({target.metric} if target else set())
    entries = _with_seeds(ledger.directory, [entry for entry in ledger.entries if _is_sound(entry)])
    if not with_curves:
        metrics = set()
    elif any(chooses_loss(name) for entry in entries for name in entry.values):
        metrics |= {criterion.metric for criterion in SHARED}
    known: dict[str, Any] = {}
    runs = [_run(ledger.directory, entry, metrics, known) for entry in sorted(entries, key=lambda e: e.number)]
    runs = with_data_sets(runs, as_mapping(ledger.configs))
    shared = shared_criterion(runs) if any(o.metric == LOSS for o in objectives) else None
    replaced = next((o for o in objectives if o.metric == LOSS), None) if shared is not None else None
    return SweepRecord(
        directory,
        asked,
        [word for word in as_list(ledger.shared) if isinstance(word, str)],
        as_mapping(ledger.configs),
        tuple(shared if shared is not None and o.metric == LOSS else o for o in objectives),
        target,
        _spaces(asked),
        runs,
        len(ledger.entries) - len(entries),
        replaced,
    )


def _ledger(directory: Path) -> Ledger:
    if not (directory / FILE).is_file():
        raise UserError("sweep must be a sweep's directory", *_where_sweeps_are(directory))
    # A received directory can hold links and pipes, through which files elsewhere would be written.
    for folder in (directory, directory / "figures"):
        require_ordinary(folder, deep=False)
    ledger = read_ledger(directory)
    assert ledger is not None
    return ledger


def _where_sweeps_are(directory: Path) -> tuple[str, str]:
    """Says what was given instead of a sweep, and which sweep was probably meant."""
    if directory.is_file():
        return f"{directory} is a file", str(directory.parent)
    if (directory.parent / FILE).is_file():
        return f"{directory} is one job", str(directory.parent)
    if (directory / "manifest.json").is_file():
        return f"{directory} is one run", "python train.py -m, which makes a sweep"
    # A misspelled name has its neighbours in the folder above.
    within = directory if directory.is_dir() else directory.parent
    # The newest sweep is the likeliest one to be meant.
    sweeps = sorted((path.parent for path in within.glob(f"*/{FILE}")), key=lambda path: path.stat().st_mtime)
    near = nearest_name(directory.name, [path.name for path in sweeps])
    likely = str(within / near) if near else str(sweeps[-1]) if sweeps else "logs/sweeps/NAME"
    return f"{directory} has no {FILE}" if directory.is_dir() else f"there is no {directory}", likely


def _is_sound(entry: Entry) -> bool:
    """Checks that an entry describes a job; a file system must be able to hold the name of its directory."""
    try:
        # JSON can hold lone surrogates, which UTF-8 cannot.
        entry.directory.encode()
    except UnicodeEncodeError:
        return False
    # A null byte in a path raises ValueError, and not OSError.
    return "\0" not in entry.directory and isinstance(entry.arm, str | None) and entry.stage in STAGES


def _objectives(asked: Mapping[str, Any]) -> tuple[Criterion, ...]:
    parts = [as_mapping(part) for part in as_list(as_mapping(asked.get("search")).get("objectives"))]
    objectives = tuple(Criterion(str(part["metric"]), _mode(part)) for part in parts if "metric" in part)
    # A grid has no objectives, only the monitor of its runs.
    return objectives or (Criterion(str(asked.get("monitor") or "val/loss"), _mode(asked)),)


def _mode(part: Mapping[str, Any]) -> str:
    return "max" if part.get("mode") == "max" else "min"


def _target(asked: Any) -> Target | None:
    part = as_mapping(asked)
    value = as_number(part.get("value"))
    return None if value is None or "metric" not in part else Target(str(part["metric"]), _mode(part), value)


def _spaces(asked: Mapping[str, Any]) -> dict[str | None, dict[str, Mapping[str, Any]]]:
    arms = as_mapping(as_mapping(asked.get("comparison")).get("arms"))
    parts: dict[str | None, Any] = {name: as_mapping(arm).get("space") for name, arm in arms.items()}
    parts = parts or {None: asked.get("space")}
    return {arm: {name: as_mapping(space) for name, space in as_mapping(part).items()} for arm, part in parts.items()}


def _run(sweep: Path, entry: Entry, metrics: Iterable[str], known: dict[str, Any]) -> RunRecord:
    directory = sweep / entry.directory
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
    # The rest is not kept, and equal ones once, as a sweep can have thousands of runs.
    kept = {name: manifest[name] for name in SHOWN_OF_MANIFEST if name in manifest}
    kept = known.setdefault(json.dumps(kept), kept)
    return RunRecord(
        entry,
        "damaged" if state.name in ("finished", "pruned") and not result else state.name,
        state.reason,
        _numbers(result.get("validation")) | _numbers(costs),
        _numbers(result.get("test")),
        None if best_epoch is None else int(best_epoch),
        int(epochs),
        _curves(directory, metrics),
        kept,
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


def _curves(directory: Path, metrics: Iterable[str]) -> dict[str, Curve]:
    lines = read_history(directory) if metrics else []
    curves = {}
    for metric in metrics:
        names = ("epoch", "step", "seconds", metric)
        rows = [[_or_nan(line.get(name)) for name in names] for line in lines if metric in line]
        # Also no rows at all become four columns.
        columns = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
        # A diverged loss stays as NaN, but a point needs its place in time.
        has_place = np.isfinite(columns[:3]).all(axis=0)
        if has_place.any():
            curves[metric] = Curve(*columns[:, has_place])
    return curves


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in as_mapping(values).items()}
    return {name: number for name, number in numbers.items() if number is not None}


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
        config = _config(sweep / entry.directory / ".hydra" / "config.yaml") if missing else {}
        seeds = {name: _value_at(config, name) for name in missing}
        # An interpolation is text in this file, and its value not known.
        known = {name: seed for name, seed in seeds.items() if isinstance(seed, int)}
        found.append(replace(entry, values={**entry.values, **known}))
    return found


def _value_at(config: Mapping[str, Any], name: str) -> Any:
    group, _, last = name.rpartition(".")
    return (as_mapping(config.get(group)) if group else config).get(last)


def _config(path: Path) -> Mapping[str, Any]:
    # A received file may be of any size and content; libyaml, where PyYAML has it, is several times faster.
    with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
        return as_mapping(yaml.load(read_ordinary(path, LARGEST), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return {}
