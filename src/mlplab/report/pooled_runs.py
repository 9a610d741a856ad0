"""Reads several sweeps and plain runs as one sweep: the options in which their configurations differ were varied."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from mlplab.config.differing import ADDED, NOT_LEARNED, flat
from mlplab.config.former_names import present_name
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, counted
from mlplab.report.rerun_commands import OF_THE_SWEEP
from mlplab.runs.layout import CONFIG, STATUS
from mlplab.runs.untrusted_config import parsed_yaml, text_of
from mlplab.sweeps.job_values import canonical, key_of
from mlplab.sweeps.ledger import FILE, Entry, Ledger
from mlplab.sweeps.objectives import Objective
from mlplab.sweeps.reading import sweep_reading as reading
from mlplab.sweeps.reading.formatting import listed
from mlplab.sweeps.reading.ranked_settings import FAILED
from mlplab.sweeps.reading.sweep_records import Finding, RunRecord, SweepRecord, as_list, as_mapping, as_number

# Groups that are named by their choice: the other values that come with a choice are left out.
CHOSEN = ("data", "model", "loss", "optimizer", "scheduler")
# Options that are no parameters; every run has its seed, which tells it from others of its setting.
LEFT_OUT = (*NOT_LEARNED, "seed", "paths", "sweep", "resume", "trust", "monitor", "mode")
MOST_NAMED = 3  # sources after which the folder of a report is named

Parts = Mapping[str, Mapping[str, Any]]


@dataclass
class Run:
    """A run before it is known which options were varied."""

    directory: Path
    source: Path  # the sweep or folder that it was found by
    entry: Entry  # its line in sweep.json, or one that is made of its overrides
    objectives: tuple[Objective, ...]  # what it was judged by
    parts: Parts  # its configuration, top-level key → dotted key → value; its choices have the key ""


def read_records(given: Sequence[Path], logs: Path, out: Path | None) -> list[SweepRecord]:
    """Reads one sweep, or pools sweeps and runs: a record for each objective, as values of others cannot be compared.

    Args:
        given: directories of sweeps or runs, folders of runs, or names of those in `logs`.
        logs: the folder with sweeps/ and runs/.
        out: the folder of the report; None for the sweep's own, or one in reports/.

    Raises:
        UserError: there is no such sweep or run, with the nearest name; or only one run.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise UserError("out must be a folder", f"{out} is a file", f"out={out.parent / 'report'}")
    found = [_find(path, logs) for path in given]
    sources = list({path.resolve(): path for path in found}.values())
    n_twice = len(found) - len(sources)
    was = "was" if n_twice == 1 else "were"
    told = [f"{counted(n_twice, 'source')} {was} given twice, and counted once."] if n_twice else []
    if len(sources) == 1 and (sources[0] / FILE).exists():
        sweep = reading.read_sweep(sources[0])
        return [replace(sweep, out=out, told=_findings(told))]
    runs: dict[Path, Run] = {}
    asked: dict[Path, Mapping[str, Any]] = {}
    n_unreadable, n_empty = 0, 0
    for source in sources:
        if (source / FILE).is_file():
            ledger = reading.ledger_of(source)
            those = _of_sweep(source, ledger)
            asked[source] = ledger.metadata
            n_unreadable += len(ledger.entries) - len(those)
        else:
            folders = [source] if (source / STATUS).is_file() else _runs_within(source)
            if not folders:
                raise reading.no_sweep(source, takes_runs=True)
            those = [run for folder in folders if (run := _plain_run(folder, source)) is not None]
            n_empty += len(folders) - len(those)
        again = sum(run.directory.resolve() in runs for run in those)
        told += [f"{counted(again, 'run')} of {source} had been given already, and counted once."] if again else []
        runs = {run.directory.resolve(): run for run in those} | runs
    they, are = ("it", "is") if n_empty == 1 else ("they", "are")
    told += [f"{counted(n_empty, 'run')} failed before {they} began, and {are} left out."] if n_empty else []
    if len(runs) < 2:
        raise reading.no_sweep(sources[0], takes_runs=True)
    by_objective: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs.values(), key=lambda run: (sources.index(run.source), run.entry.number)):
        by_objective[", ".join(f"{one.metric} {one.mode}" for one in run.objectives)].append(run)
    folder = out or _place(sources)
    by_metric = {name: _pooled(folder, those, sources, asked) for name, those in by_objective.items()}
    lost = {name for name, record in by_metric.items() if all(run.state in FAILED for run in record.runs)}
    # Without any value a page would say nothing.
    for name in lost if len(lost) < len(by_metric) else ():
        n = len(by_metric.pop(name).runs)
        told.append(f"{counted(n, 'run')} judged by {name} failed, and {'is' if n == 1 else 'are'} left out.")
    if len(by_metric) > 1:
        names = [f"{name} ({counted(len(record.runs), 'run')})" for name, record in by_metric.items()]
        told.append(f"The runs were judged by different metrics, and are ranked apart: {listed(names)}.")
        by_metric = {n: replace(r, directory=folder / re.sub(r"\W+", "_", n)) for n, r in by_metric.items()}
    records = list(by_metric.values())
    return [replace(r, told=[*_findings(told), *r.told], n_unreadable=n_unreadable) for r in records]


def _find(path: Path, logs: Path) -> Path:
    """Finds what was given: a path, or the name of a sweep or run in `logs`."""
    if path.exists() or len(path.parts) > 1:
        return path
    places = [logs / "sweeps" / path, logs / "runs" / path]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        known = [other.name for place in places if place.parent.is_dir() for other in sorted(place.parent.iterdir())]
        near = nearest_name(path.name, known) or (known[0] if known else "logs/sweeps/NAME")
        raise UserError("sweep must be the path or the name of a sweep or run", f"there is no {path} in {logs}", near)
    return found


def _findings(sentences: Sequence[str]) -> list[Finding]:
    return [Finding("sources", "caution", sentence) for sentence in sentences]


def _place(sources: Sequence[Path]) -> Path:
    """Returns the folder of the report of several sources: logs/reports/A_and_B."""
    whole = [path.resolve() for path in sources]
    within = [parent.parent for parent in (whole[0], *whole[0].parents) if parent.name in ("runs", "sweeps")]
    name = "_and_".join(path.name for path in whole)
    if len(whole) > MOST_NAMED or len(name) > 100:
        # The digest tells it from the report of others that begin with the same source.
        digest = hashlib.sha256("\n".join(sorted(map(str, whole))).encode()).hexdigest()
        name = f"{whole[0].name}_and_{len(whole) - 1}_more_{digest[:6]}"
    return (within or [whole[0].parent])[0] / "reports" / name


def _runs_within(folder: Path) -> list[Path]:
    """Lists the runs in a folder, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{STATUS}")) if folder.is_dir() else []


def _of_sweep(source: Path, ledger: Ledger) -> list[Run]:
    objectives = reading.objectives_of(ledger.metadata)
    shared = [word for word in ledger.shared if not OF_THE_SWEEP.match(word)]
    runs = []
    for entry in reading.sound_entries(ledger):
        own = replace(entry, arm=None, overrides=[*shared, *entry.overrides])
        runs.append(Run(source / entry.directory, source, own, objectives, _parts(source / entry.directory)))
    # A job that has not begun has no configuration yet; but for its own values it is that of the others.
    like = next((run.parts for run in runs if run.parts), {})
    return [replace(run, parts=run.parts or like) for run in runs]


def _plain_run(directory: Path, source: Path) -> Run | None:
    parts = _parts(directory)
    words = parsed_yaml(text_of(directory / ".hydra" / "overrides.yaml"))
    overrides = [word for word in as_list(words) if isinstance(word, str) and not OF_THE_SWEEP.match(word)]
    judged = {name: as_mapping(parts.get(name)).get(name) for name in ("monitor", "mode")}
    entry = Entry(0, directory.name, {}, overrides)
    return Run(directory, source, entry, reading.objectives_of(judged), parts) if parts else None


def _parts(directory: Path) -> Parts:
    """Reads the configuration of a run; empty if there is none."""
    # Hydra's own configuration is larger than that of the run, and of it only these lines are needed.
    of_hydra = text_of(directory / CONFIG.parent / "hydra.yaml")
    choices = re.search(r"^    choices:\n((?:      .*\n)+)", of_hydra, re.MULTILINE)
    # Block by block, as runs share most blocks, and reading YAML takes long.
    blocks = re.split(r"^(?=[A-Za-z_])", text_of(directory / CONFIG), flags=re.MULTILINE)
    parts = {name: part for block in blocks for name, part in _block(block).items()}
    return {"": {} if choices is None else _choices(choices.group(1)), **parts} if parts else {}


@lru_cache(maxsize=20_000)
def _block(text: str) -> dict[str, dict[str, Any]]:
    parts = {str(name): flat(part, f"{name}.") for name, part in as_mapping(parsed_yaml(text)).items()}
    return {name: {key: present_name(value) for key, value in part.items()} for name, part in parts.items()}


@lru_cache(maxsize=2_000)
def _choices(text: str) -> dict[str, Any]:
    return {name: value for name, value in as_mapping(parsed_yaml(text)).items() if name in CHOSEN}


def _varied(runs: Sequence[Run]) -> list[str]:
    """Lists the options in which runs differ, those that come with a varied choice only if somebody gave them."""

    def key(part: Mapping[str, Any], name: str) -> str | None:
        # Earlier releases lacked some options, and did what these values say.
        return canonical(part.get(name, ADDED.get(name))) if name in part or name in ADDED else None

    differing: list[str] = []
    for top in dict.fromkeys(top for run in runs for top in run.parts):
        # The same object for equal texts, so that thousands of runs are a few parts.
        parts = list({id(part): part for run in runs for part in [run.parts.get(top, {})]}.values())
        names = dict.fromkeys(name for part in parts for name in part)
        names = {n: None for n in names if not any(n == one or n.startswith(f"{one}.") for one in LEFT_OUT)}
        # Of a part that is null in some runs, only what differs among the others.
        nulls = tuple(f"{name}." for name in names if any(other.startswith(f"{name}.") for other in names))
        found = {n: {key(p, n) for p in parts} - ({None} if n.startswith(nulls) else set()) for n in names}
        differing += [name for name, values in found.items() if len(values) > 1]
    given = {re.split("[=@]", word.lstrip("+~"))[0] for run in runs for word in run.entry.overrides}
    given |= {name for run in runs for name in run.entry.values}

    def comes_with_choice(name: str) -> bool:
        group = name.partition(".")[0]
        by_choice: dict[Any, set[str | None]] = defaultdict(set)
        for run in runs:
            by_choice[as_mapping(run.parts.get("")).get(group)].add(key(run.parts.get(group, {}), name))
        is_fixed = name.endswith("._target_") or all(len(values) == 1 for values in by_choice.values())
        return is_fixed and group != name and group in differing

    return [name for name in differing if name in given or not comes_with_choice(name)]


def _pooled(
    folder: Path, runs: Sequence[Run], sources: Sequence[Path], asked: Mapping[Path, Mapping[str, Any]]
) -> SweepRecord:
    objectives, names = runs[0].objectives, _varied(runs)
    targets = {reading.target_of(one.get("target")) for one in asked.values()}
    target = targets.pop() if len(targets) == 1 else None
    metrics = reading.shown_metrics(objectives, target, names)

    def record_of(number: int, run: Run) -> RunRecord:
        values: dict[str, Any] = {}
        for name in (*names, "seed"):
            part = run.parts.get("" if name in CHOSEN else name.partition(".")[0], {})
            values |= {name: part.get(name, ADDED.get(name))} if name in part or name in ADDED else {}
        # Of a job that has not begun these alone are its own.
        values |= {name: value for name, value in run.entry.values.items() if name in values}
        # Two sweeps can have jobs of one name.
        place = run.directory.resolve()
        shown = place.name if len(sources) == 1 else f"{place.parent.name}/{place.name}"
        entry = replace(run.entry, number=number, directory=shown, values=values)
        return reading.read_run(run.directory, entry, metrics)

    records: list[RunRecord] = []
    for source, those in groupby(enumerate(runs), lambda pair: pair[1].source):
        # Each search has trials and constraints of its own.
        records += reading.with_constraints([record_of(*pair) for pair in those], asked.get(source, {}))
    # A file has one content, however its path was written.
    if len({str(as_mapping(record.manifest.get("data")).get("fingerprint")) for record in records}) == 1:
        for record in records:
            for name in ("data.path", "data.test_path", "data.directory"):
                record.entry.values.pop(name, None)
    facts: dict[str, Any] = {
        "sources": [f"{path}: {counted(sum(run.source == path for run in runs), 'run')}" for path in sources],
        "commands": [command for one in asked.values() for command in as_list(one.get("commands"))],
        "started": min((str(one["started"]) for one in asked.values() if one.get("started")), default=""),
        "seconds": sum(as_number(one.get("seconds")) or 0.0 for one in asked.values()),
    }
    configs = {str(number): {"data": run.parts.get("data")} for number, run in enumerate(runs)}
    pooled = reading.comparable(SweepRecord(folder, facts, [], configs, objectives, target, {}, records))
    finished = [run for run in pooled.runs if run.state == "finished"]
    n_repeats = len(finished) - len({(run.data_set, run.entry.stage, key_of(run.entry.values)) for run in finished})
    again = f"{counted(n_repeats, 'run')} repeated another one, seed included, and counted once."
    # Of the configurations only a part is here, which cannot be compared with conf/.
    return replace(pooled, configs={}, told=_findings([again] if n_repeats else []))
