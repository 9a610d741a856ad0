"""Reads a sweep's directory; no content of a job's directory makes it fail."""

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from sys import intern
from types import NoneType
from typing import Any

import numpy as np

from mlplab.config.differing import flat
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, printable
from mlplab.runs.files import read_json, require_ordinary
from mlplab.runs.layout import CONFIG
from mlplab.runs.run_reading import read_history, read_result, read_state
from mlplab.runs.untrusted_config import parsed_yaml, text_of
from mlplab.sweeps.comparable_options import LOSS, chooses_data, chooses_loss
from mlplab.sweeps.job_values import SEEDS, canonical, key_of
from mlplab.sweeps.ledger import FILE, Entry, Ledger, read_ledger
from mlplab.sweeps.objectives import Bound, Objective
from mlplab.sweeps.reading.formatting import number, value_text
from mlplab.sweeps.reading.sweep_records import Curve, RunRecord, SweepRecord, Values, as_list, as_mapping, as_number

COUNTS = ("epoch", "step")
SHOWN_OF_MANIFEST = ("name", "tags", "found", "hardware", "versions", "git", "code", "threads", "data", "seed")
# Metrics that do not depend on the loss, the preferred ones first.
SHARED = (Objective("val/accuracy", "max"), Objective("val/rmse", "min"), Objective("val/mae", "min"))
# Options of data that change no row.
HOW_TO_LEARN = ("data.batch_size", "data.numeric_scaling", "data.one_hot_levels", "data.embedding_dim", *SEEDS)
SHORT = 8  # digits of a fingerprint that are shown


def read_sweep(directory: Path, *, with_curves: bool = True) -> SweepRecord:
    """Reads sweep.json and what its jobs have left so far; their histories, which takes longest, only `with_curves`.

    Raises:
        UserError: the directory holds no sweep, or its sweep.json is damaged.
    """
    ledger = ledger_of(directory)
    asked, objectives = ledger.metadata, objectives_of(ledger.metadata)
    target = target_of(asked.get("target"))
    entries = _with_seeds(ledger.directory, sound_entries(ledger))
    metrics = shown_metrics(objectives, target, {name for entry in entries for name in entry.values})
    runs = [read_run(ledger.directory / e.directory, e, metrics if with_curves else ()) for e in entries]
    arms = as_mapping(as_mapping(asked.get("comparison")).get("arms"))
    parts: dict[str | None, Any] = {name: as_mapping(arm).get("space") for name, arm in arms.items()}
    parts = parts or {None: asked.get("space")}
    spaces = {arm: {name: as_mapping(one) for name, one in as_mapping(part).items()} for arm, part in parts.items()}
    parts_of_jobs = ledger.shared, ledger.configs, objectives, target, spaces, with_constraints(runs, asked)
    return comparable(SweepRecord(directory, asked, *parts_of_jobs, len(ledger.entries) - len(entries)))


def shown_metrics(objectives: Sequence[Objective], target: Bound | None, swept: Iterable[str]) -> set[str]:
    """Returns the metrics whose curves are shown; a history can have many more."""
    metrics = {o.metric for o in objectives} | {"val/loss", "train/loss"} | ({target.metric} if target else set())
    return metrics | {criterion.metric for criterion in SHARED} if any(map(chooses_loss, swept)) else metrics


def comparable(record: SweepRecord) -> SweepRecord:
    """Names the data sets of the runs, and replaces the loss as objective by a metric that several losses share.

    Without such a metric it separates the runs by their losses, like those on different data.
    """
    runs = with_data_sets(record.runs, record.configs)
    replaced = next((o for o in record.objectives if o.metric == LOSS), None)
    losses: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        losses[run.data_set].add(_loss_of(run))
    # Runs on different data are not compared anyway.
    if replaced is None or all(len(those) < 2 for those in losses.values()):
        return replace(record, runs=runs)
    valued = [run for run in runs if run.state == "finished" and LOSS in run.measured]
    shared = next((c for c in SHARED if all(c.metric in run.measured for run in valued)), None)
    if shared is None:
        names = [
            ", ".join(filter(None, (r.data_set, _loss_of(r) if len(losses[r.data_set]) > 1 else ""))) for r in runs
        ]
        runs = [replace(run, data_set=name) for run, name in zip(runs, names, strict=True)]
        return replace(record, runs=runs, replaced=replaced)
    objectives = tuple(shared if o == replaced else o for o in record.objectives)
    return replace(record, runs=runs, objectives=objectives, replaced=replaced)


def _loss_of(run: RunRecord) -> str:
    values = {name: value for name, value in run.entry.values.items() if chooses_loss(name)}
    return ", ".join(f"{name}={value_text(value)}" for name, value in values.items()) or "default loss"


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


def no_sweep(directory: Path, *, takes_runs: bool = False) -> UserError:
    """Says what was given instead of a sweep, or of several runs where these are taken, and what was probably meant."""
    what, hint = f"there is no {directory}", str(directory.parent)
    if directory.is_file():
        what = f"{directory} is a file"
    elif (directory.parent / FILE).is_file():
        what = f"{directory} is one job"
    elif (directory / "manifest.json").is_file():
        what = f"{directory} is one run"
        hint = f"{directory.parent}, the folder of all runs" if takes_runs else "logs/sweeps/NAME"
    else:
        what = f"{directory} has no {FILE}" if directory.is_dir() else what
        # A misspelled name has its neighbours in the folder above; the newest sweep is the likeliest one.
        within = directory if directory.is_dir() else directory.parent
        sweeps = sorted((path.parent for path in within.glob(f"*/{FILE}")), key=lambda path: path.stat().st_mtime)
        near = nearest_name(directory.name, [path.name for path in sweeps])
        hint = str(within / near) if near else str(sweeps[-1]) if sweeps else "logs/sweeps/NAME"
    runs = ", or several runs" if takes_runs else ""
    return UserError(f"sweep must be a sweep's directory{runs}", what, hint)


def sound_entries(ledger: Ledger) -> list[Entry]:
    """Returns the entries of a sweep that describe jobs, by their numbers."""

    def is_sound(entry: Entry) -> bool:
        # JSON can hold lone surrogates, which are in no name of a file, and a null byte raises ValueError in a path.
        is_name = "\0" not in entry.directory and not re.search("[\ud800-\udfff]", entry.directory)
        return is_name and isinstance(entry.arm, str | None) and entry.stage in ("search", "rerun", "default")

    return sorted(filter(is_sound, ledger.entries), key=lambda entry: entry.number)


def objectives_of(asked: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Returns what runs are judged by: the objectives of a search, else `monitor`."""
    parts = [as_mapping(part) for part in as_list(as_mapping(asked.get("search")).get("objectives"))]
    objectives = tuple(Objective(str(part["metric"]), _mode(part)) for part in parts if "metric" in part)
    # A grid has no objectives, only the monitor of its runs.
    return objectives or (Objective(str(asked.get("monitor") or "val/loss"), _mode(asked)),)


def _mode(part: Mapping[str, Any]) -> str:
    return "max" if part.get("mode") == "max" else "min"


def target_of(asked: Any) -> Bound | None:
    """Returns the target, or the bound of a constraint, that was asked for; None if there is none."""
    part = as_mapping(asked)
    value = as_number(part.get("value"))
    return None if value is None or "metric" not in part else Bound(str(part["metric"]), _mode(part), value)


def constraints_of(asked: Mapping[str, Any]) -> list[Bound]:
    """Returns the constraints of a search."""
    return list(filter(None, map(target_of, as_list(as_mapping(asked.get("search")).get("constraints")))))


def with_constraints(runs: list[RunRecord], asked: Mapping[str, Any]) -> list[RunRecord]:
    """Marks the finished runs of a search whose trials violate a constraint, by the mean over their seeds."""
    trials: dict[Any, list[RunRecord]] = defaultdict(list)
    for run in runs:
        if run.state == "finished" and run.entry.stage == "search" and run.entry.trial is not None:
            trials[run.entry.arm, run.entry.trial].append(run)
    found: dict[int, RunRecord] = {}
    for bound in constraints_of(asked):
        for those in trials.values():
            known = [run.measured[bound.metric] for run in those if bound.metric in run.measured]
            if known and bound.excess(fmean(known)) > 0:
                why = f"{printable(bound)} is violated by {number(fmean(known), 6)}"
                found |= {run.entry.number: replace(run, state="infeasible", reason=why) for run in those}
    return [found.get(run.entry.number, run) for run in runs]


def read_run(directory: Path, entry: Entry, metrics: Iterable[str]) -> RunRecord:
    """Reads what a run has left so far, with the curves of some metrics."""
    state, result, manifest = read_state(directory), read_result(directory), read_json(directory / "manifest.json")
    best_epoch, fit = as_number(result.get("best_epoch")), as_mapping(state.status.get("seconds")).get("fit")
    costs = {"parameters": manifest.get("parameters"), "seconds": fit, "epochs": result.get("epochs")}
    # A run that has not finished has no result yet, but a status.
    epochs, steps = (int(as_number(result.get(f"{x}s")) or as_number(state.status.get(x)) or 0) for x in COUNTS)
    last, curves = _curves(directory, metrics)
    is_damaged = state.name in ("finished", "pruned") and not result
    return RunRecord(
        entry,
        # A diverged run is infeasible for a search; a report has that word for violated constraints.
        "damaged" if is_damaged else "diverged" if state.name == "infeasible" else state.name,
        "result.json cannot be read" if is_damaged else state.reason,
        _numbers(result.get("validation")) | _numbers(costs),
        _numbers(result.get("test")),
        None if best_epoch is None else int(best_epoch),
        epochs,
        steps,
        last,
        curves,
        # The rest is not kept, as a sweep can have thousands of runs.
        {name: _shared(json.dumps(manifest[name])) for name in SHOWN_OF_MANIFEST if name in manifest},
        place=str(directory),
        period=_period(state.status),
    )


def _period(status: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns when a run began and ended; for one that goes on or was killed, when it last wrote its status."""
    times = status.get("started"), status.get("ended") or status.get("updated")
    try:
        began, ended = (datetime.fromisoformat(str(text)).timestamp() for text in times)
    except (ValueError, OverflowError, OSError):
        return None
    return began, max(began, ended)


def _curves(directory: Path, metrics: Iterable[str]) -> tuple[dict[str, float], dict[str, Curve]]:
    """Reads the metrics of the last validation, and curves."""
    lines = read_history(directory) if metrics else []
    validations = ({name: v for name, v in line.items() if str(name)[:4] == "val/"} for line in reversed(lines))
    curves: dict[str, Curve] = {}
    before: Values = np.empty((3, 0))
    for metric in metrics:
        columns = _columns([line for line in lines if metric in line], (*COUNTS, "seconds", metric))
        # A diverged loss stays as NaN, but a point needs its place in time.
        columns = columns[:, np.isfinite(columns[:3]).all(axis=0)]
        # Most metrics are measured at the same moments: of thousands of runs these are half of the memory.
        before = before if np.array_equal(before, columns[:3]) else columns[:3].copy()
        if columns.size:
            curves[metric] = Curve(before[0], before[1], before[2], columns[3].copy())
    return _numbers(next(filter(None, validations), {})), curves


def _columns(rows: list[dict[str, Any]], names: Sequence[str]) -> Values:
    """Returns a column for each name, (len(names), len(rows)); NaN for what is no finite number."""
    try:
        values = [value for column in zip(*map(itemgetter(*names), rows), strict=True) for value in column]
    except KeyError:
        values = [row.get(name) for name in names for row in rows]
    # NumPy would also read the number in a text; it makes NaN of None.
    if {*map(type, values)} <= {int, float, NoneType}:
        with contextlib.suppress(OverflowError):
            table = np.array(values, dtype=np.float64).reshape(len(names), -1)
            return np.where(np.isfinite(table), table, np.nan)
    return np.array([as_number(value) for value in values], dtype=np.float64).reshape(len(names), -1)


@lru_cache(maxsize=1000)
def _shared(text: str) -> Any:
    """Returns one object for each text of JSON, as thousands of manifests say the same."""
    return json.loads(text)


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in as_mapping(values).items()}
    # Interned, as each file has brought its own copy of the name.
    return {intern(name): number for name, number in numbers.items() if number is not None}


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
        config = flat(as_mapping(parsed_yaml(text_of(sweep / entry.directory / CONFIG)))) if missing else {}
        # An interpolation is text in this file, and its value not known.
        known = {name: config[name] for name in missing if isinstance(config.get(name), int)}
        found.append(replace(entry, values={**entry.values, **known}))
    return found


def is_of_method(name: str) -> bool:
    """Returns whether an option is no choice of data."""
    return name in HOW_TO_LEARN or not (chooses_data(name) or name.startswith("data."))


def with_data_sets(runs: Sequence[RunRecord], configs: Mapping[str, Any]) -> list[RunRecord]:
    """Names the data set of each run if there are several.

    Two runs have the same data if their fingerprints are equal, and the options that choose target and parts.
    """
    # Data that are drawn by the seed differ from seed to seed, and are the same problem.
    is_drawn = any("${seed}" in str(as_mapping(config).get("data")) for config in configs.values())
    prints = ["" if is_drawn else str(as_mapping(r.manifest.get("data")).get("fingerprint") or "") for r in runs]
    chosen = [key_of({name: v for name, v in run.entry.values.items() if chooses_data(name)}) for run in runs]
    settings = chosen
    if not all(prints):
        settings = [key_of({name: v for name, v in run.entry.values.items() if name not in SEEDS}) for run in runs]
    # Jobs that have not begun have no fingerprint, and those of their values or their data.
    known: dict[Any, str] = {}
    for keys in (chosen, settings):
        known |= {key: print for key, print in zip(keys, prints, strict=True) if print}
    by_data: dict[Any, list[RunRecord]] = defaultdict(list)
    for run, print, setting, choice in zip(runs, prints, settings, chosen, strict=True):
        by_data[choice, print or known.get(setting, known.get(choice, ""))].append(run)
    if len(by_data) < 2:
        return list(runs)
    names = {key: _name(those) for key, those in by_data.items()}
    found: dict[int, RunRecord] = {}
    for key, those in by_data.items():
        # Equal names of different data: a file was replaced between two launches.
        is_changed = sum(name == names[key] for name in names.values()) > 1
        version = f"fingerprint {key[1][:SHORT] or 'unknown'}" if is_changed else ""
        full = ", ".join(filter(None, (names[key], version)))
        found |= {id(run): replace(run, data_set=full, data_version=version) for run in those}
    return [found[id(run)] for run in runs]


def _name(runs: Sequence[RunRecord]) -> str:
    """Names the data of some runs by the options that they share, else by what their manifests say."""
    values = {name: v for name, v in runs[0].entry.values.items() if not is_of_method(name)}
    shared = {n: v for n, v in values.items() if {canonical(r.entry.values.get(n)) for r in runs} == {canonical(v)}}
    if shared:
        return ", ".join(f"{name}={value_text(value)}" for name, value in shared.items())
    return next((str(name) for run in runs if (name := as_mapping(run.manifest.get("data")).get("name"))), "data")
