"""sweep.json: what a sweep was asked, and its jobs, each known by the values that it was given."""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.runs.files import as_json, read_ordinary, write_atomically
from mlplab.runs.trust import NoKey, signature_of, why_not_own

FILE = "sweep.json"
FORMAT = 1

NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""Names of job directories, as `job_name` makes them: plain words for Hydra, and no options of a program."""

SEEDS = ("seed", "data.split_seed")
"""Names over which the runs of one setting may differ."""


@dataclass
class Entry:
    """A job of a sweep.

    Attributes:
        number: in the order in which jobs were first asked for; it never changes.
        directory: name of its run directory, within the sweep's.
        values: what it was given for each swept name.
        overrides: the same in words of the command line.
        arm: of a comparison, which it belongs to.
        stage: `search`, `rerun` (the best once more, on other seeds) or `default` (nothing tuned, on those seeds).
        trial: of a search, its number in the study.
    """

    number: int
    directory: str
    values: dict[str, Any]
    overrides: list[str]
    arm: str | None = None
    stage: str = "search"
    trial: int | None = None


@dataclass
class Ledger:
    """What sweep.json holds.

    Attributes:
        directory: of the sweep.
        constants: words of the command line that all its jobs share.
        configs: what some of its jobs were composed to, by their number: by them it is known again.
        asked: what else a report tells: name, commands, space, monitor, budget, …
        why_not_own: why the file that it was read from is not one that this user has begun and nobody has changed.
    """

    directory: Path
    entries: list[Entry] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    configs: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = dict.fromkeys(name for entry in self.entries for name in entry.values)
        self._by_values: dict[frozenset[tuple[str, str]], list[Entry]] | None = None
        self.why_not_own: str | None = None

    @property
    def names(self) -> list[str]:
        """All that has been swept."""
        return list(self._names)

    def add(self, entry: Entry) -> Entry:
        """Takes in a job that is new."""
        self.entries.append(entry)
        self._names |= dict.fromkeys(entry.values)
        if self._by_values is not None:
            self._by_values.setdefault(key_of(entry.values), []).append(entry)
        return entry

    def give(self, entry: Entry, values: Mapping[str, Any]) -> None:
        """Tells what a job has for names that only other jobs had been given."""
        entry.values |= values
        self._names |= dict.fromkeys(values)
        self._by_values = None

    def next_number(self) -> int:
        return max((entry.number for entry in self.entries), default=-1) + 1

    def find(self, values: Mapping[str, Any], **stage: Any) -> Entry | None:
        """The job that was given these values, whatever the order of their names."""
        if self._by_values is None:  # one look at each, where thousands of jobs are looked for
            self._by_values = {}
            for entry in self.entries:
                self._by_values.setdefault(key_of(entry.values), []).append(entry)
        alike = self._by_values.get(key_of(values), [])
        return next((entry for entry in alike if all(getattr(entry, k) == v for k, v in stage.items())), None)

    def require_sound(self) -> None:
        """Refuses jobs that no sweep can have had: a report passes over them, a sweep that goes on must not.

        Raises:
            UserError: for the first of them.
        """
        for entry in self.entries:
            if not (
                NAME.fullmatch(entry.directory)  # it becomes a part of Hydra's words
                and isinstance(entry.arm, str | None)
                and isinstance(entry.stage, str)
                and type(entry.trial) in (int, type(None))
                and type(entry.values.get("seed", 0)) is int
                and (entry.stage == "search" or "seed" in entry.values)
            ):
                raise UserError(
                    "a sweep must go on from its own sweep.json",
                    f"{self.directory / FILE}: its job {entry.number}, in {entry.directory!a}, is none",
                    "another sweep.name",
                )

    def save(self) -> None:
        """Writes sweep.json, whole or not at all; signed, unless what was read was not the user's own."""
        jobs = [asdict(entry) for entry in self.entries]
        content = {"format": FORMAT, **self.asked, "constants": self.constants, "configs": self.configs, "jobs": jobs}
        if self.why_not_own is None:
            with contextlib.suppress(NoKey):
                content["signature"] = signature_of(self.executed_text(), self.directory)
        text = as_json(content) + "\n"
        write_atomically(self.directory / FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def executed_text(self) -> bytes:
        """Returns what a sweep that goes on would execute: the last command, its folder, the words of the jobs."""
        parts = {
            "constants": self.constants,
            "command": (self.asked.get("commands") or [None])[-1],
            "folder": self.asked.get("folder"),
            "jobs": [entry.overrides for entry in self.entries],
        }
        return json.dumps(parts, sort_keys=True).encode()


def read_ledger(directory: Path) -> Ledger | None:
    """What is known of a sweep; None where it has not begun.

    Raises:
        UserError: its file is not what a sweep writes.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        content = json.loads(read_ordinary(path))
        entries, constants, configs = _parts(content)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            "a sweep must go on from its own sweep.json", f"{path}: {reason}", "another sweep.name"
        ) from None
    signature = content.pop("signature", None)
    ledger = Ledger(directory, entries, constants, configs, content)
    ledger.why_not_own = why_not_own(signature, ledger.executed_text(), directory)
    return ledger


def _parts(content: Any) -> tuple[list[Entry], list[str], dict[str, Any]]:
    """Takes jobs, constants and configurations out of what was read.

    Raises:
        ValueError: they are not what a sweep writes.
    """
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    jobs, constants, configs = (content.pop(name, None) for name in ("jobs", "constants", "configs"))
    seconds = content.get("seconds", 0.0)
    if not (
        isinstance(jobs, list)
        and _are_texts(constants)
        and isinstance(configs, dict)
        and _are_texts(content.get("commands", []))
        and all(isinstance(content.get(name, {}), dict) for name in ("space", "search", "comparison"))
        and isinstance(content.get("folder", ""), str)
        and isinstance(seconds, int | float)
    ):
        raise ValueError("its parts are not those of a sweep")
    entries = [_entry(job, position) for position, job in enumerate(jobs)]
    for names in ([entry.number for entry in entries], [entry.directory for entry in entries]):
        if len(set(names)) < len(names):
            raise ValueError("two of its jobs have one number or directory")
    if not set(configs) <= {str(entry.number) for entry in entries}:
        raise ValueError("it has a configuration of no job")
    return entries, constants, configs


def _entry(job: Any, position: int) -> Entry:
    try:
        entry = Entry(**job)
    except TypeError:
        raise ValueError(f"its job at place {position} is none") from None
    name = entry.directory
    if not (
        type(entry.number) is int
        and isinstance(name, str)
        and Path(name).name == name  # it stays within the sweep's
        and name not in ("", ".", "..")
        and isinstance(entry.values, dict)
        and _are_texts(entry.overrides)
    ):
        raise ValueError(f"its job at place {position} is none")
    return entry


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def key_of(values: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """What two jobs have in common that are the same: 0.001 and 1e-3 are one value, 1 and true are not."""
    return frozenset((name, canonical(value)) for name, value in values.items())


def canonical(value: Any) -> str:
    """A value in one spelling."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(canonical(part) for part in value)}]"
    if isinstance(value, dict):
        return json.dumps({str(k): canonical(v) for k, v in value.items()}, sort_keys=True)
    return json.dumps(value)
