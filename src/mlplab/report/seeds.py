"""The seeds of jobs that were not given any, beside jobs that were."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mlplab.report.finished_runs import as_mapping
from mlplab.runs.files import read_ordinary
from mlplab.runs.trust import LARGEST
from mlplab.sweeps.ledger import SEEDS, Entry, Ledger


def with_seeds(ledger: Ledger, entries: Sequence[Entry]) -> list[Entry]:
    """Tells each job's seed where others of its stage are told apart by theirs: one seed is not to count as two.

    Args:
        ledger: of the sweep, which knows what its jobs share.
        entries: its jobs.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        named[entry.stage] |= entry.values.keys() & set(SEEDS)
    return [
        _with(ledger, entry, [n for n in SEEDS if n in named[entry.stage] - entry.values.keys()]) for entry in entries
    ]


def _with(ledger: Ledger, entry: Entry, lacking: Sequence[str]) -> Entry:
    if not lacking:
        return entry
    config = as_mapping(as_mapping(ledger.configs).get(str(entry.number)))
    config = config or _config(ledger.directory / entry.directory / ".hydra" / "config.yaml")
    found = {name: _seed(ledger, config, name) for name in lacking}
    known = {name: seed for name, seed in found.items() if seed is not None}
    return replace(entry, values={**entry.values, **known})


def _config(path: Path) -> Mapping[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
        content = read_ordinary(path, LARGEST)
        return as_mapping(yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return {}


def _seed(ledger: Ledger, config: Mapping[str, Any], name: str) -> int | None:
    """A seed as a job was composed with it, or as the jobs share it."""
    words = [word.lstrip("+").partition("=") for word in ledger.shared]
    group, _, last = name.rpartition(".")
    composed = (as_mapping(config.get(group)) if group else config).get(last)
    for value in (composed, *(value for key, _, value in words if key == name)):
        with contextlib.suppress(ValueError):
            return int(str(value))
    return None
