"""sweep.json: the command and the settings of a sweep, and its jobs, each known by the values that it was given."""

import contextlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlplab.config.differing import changes, describe_changes, is_below
from mlplab.errors import UserError
from mlplab.rules import shown
from mlplab.runs.files import as_json, read_ordinary, write_atomically
from mlplab.runs.trust import NoKey, signature_of, why_not_own
from mlplab.sweeps.job_values import canonical, key_of

FILE = "sweep.json"
FORMAT = 1

NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""Names of job directories, as `job_name` makes them: plain text for Hydra, and no options of a program."""

MAY_DIFFER = (
    "paths", "sweep", "resume", "trust", "engine", "trainer.threads", "callbacks.progress", "callbacks.calibration",
    "name", "tags", "notes", "verbose",
)  # fmt: skip
"""Options that may differ between launches of one sweep, as they do not affect what is learned."""

MOST_SHOWN = 8
"""Changed options in a message."""

SHORT = 8
"""Characters of a number up to which it stands as typed in the name of a job's directory."""


@dataclass(frozen=True)
class Assignment:
    """One name with one value, as a job is given it.

    Attributes:
        name: of the value or the group.
        value: in plain Python.
        override: the same on the command line, such as `optimizer.lr=0.1`; None where the job's configuration has the
            value without being told.
    """

    name: str
    value: Any
    override: str | None

    @property
    def label(self) -> str:
        """Shortens the override for the name of a directory: drawn numbers have four digits there."""
        text = str(self.value) if self.override is None else self.override.partition("=")[2]
        is_long = isinstance(self.value, float) and len(text) > SHORT  # a drawn number has 17 digits
        return f"{self.name}={self.value:.4g}" if is_long else f"{self.name}={text}"


@dataclass
class Entry:
    """A job of a sweep.

    Attributes:
        number: in the order in which jobs were first added; it never changes.
        directory: name of its run directory, within the sweep's.
        values: name → value, of all names that are swept.
        overrides: the same on the command line, of the names that this job is given.
        arm: of a comparison, to which it belongs.
        stage: `search`, `rerun` (the best once more, on other seeds) or `default` (nothing tuned, on those seeds).
        trial: its number in the study of a search.
    """

    number: int
    directory: str
    values: dict[str, Any]
    overrides: list[str]
    arm: str | None = None
    stage: str = "search"
    trial: int | None = None

    @property
    def assignments(self) -> list[Assignment]:
        """Returns each value with its override."""
        # A key can begin with +, which adds it, and end in @ with its package.
        by_name = {re.split("[=@]", override.lstrip("+"))[0]: override for override in self.overrides}
        return [Assignment(name, value, by_name.get(name)) for name, value in self.values.items()]


@dataclass
class Ledger:
    """The content of sweep.json.

    Attributes:
        directory: of the sweep.
        entries: its jobs.
        shared: overrides that all its jobs share.
        configs: configurations of some of its jobs, by their number: from them the sweep is recognised.
        metadata: what else a report shows: name, commands, space, monitor, budget, …
        why_not_own: why the file is not one that this user has begun and nobody has changed; None if it is.
    """

    directory: Path
    entries: list[Entry] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    configs: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A dict and no set: it keeps the order in which names were first swept.
        self._names = dict.fromkeys(name for entry in self.entries for name in entry.values)
        self._by_values: dict[frozenset[tuple[str, str]], list[Entry]] | None = None
        self._values: dict[str, set[str]] | None = None
        self._last_number = max((entry.number for entry in self.entries), default=-1)
        self.why_not_own: str | None = None

    @property
    def names(self) -> list[str]:
        """Returns all names that have been swept."""
        return list(self._names)

    def add(self, entry: Entry) -> Entry:
        """Adds a new job."""
        self.entries.append(entry)
        self._last_number = max(self._last_number, entry.number)
        self._names |= dict.fromkeys(entry.values)
        for name, value in entry.values.items() if self._values is not None else ():
            self._values.setdefault(name, set()).add(canonical(value))  # type: ignore[union-attr]
        if self._by_values is not None:
            self._by_values.setdefault(key_of(entry.values), []).append(entry)
        return entry

    def extend_values(self, entry: Entry, values: Mapping[str, Any]) -> None:
        """Notes the values that a job has for names that only other jobs had been given."""
        entry.values |= values  # the job stays the same: its configuration has them already
        self._names |= dict.fromkeys(values)
        # The indices hold the values of before.
        self._by_values = self._values = None

    def next_number(self) -> int:
        """Returns a number that no job has had."""
        return self._last_number + 1

    def has_value(self, name: str, value: Any) -> bool:
        """Returns whether some job was given this value."""
        if self._values is None:  # an index, as each of thousands of jobs is compared with all before it
            self._values = {}
            for entry in self.entries:
                for key, one in entry.values.items():
                    self._values.setdefault(key, set()).add(canonical(one))
        return canonical(value) in self._values.get(name, ())

    def find(self, values: Mapping[str, Any], **stage: Any) -> Entry | None:
        """Finds the job that was given these values, whatever the order of their names."""
        if self._by_values is None:  # an index, as each of thousands of jobs is looked for among all of them
            self._by_values = {}
            for entry in self.entries:
                self._by_values.setdefault(key_of(entry.values), []).append(entry)
        same_values = self._by_values.get(key_of(values), [])
        return next((entry for entry in same_values if all(getattr(entry, k) == v for k, v in stage.items())), None)

    def require_sound(self) -> None:
        """Refuses jobs that no sweep can have had. A report skips them, a sweep that goes on must not.

        Raises:
            UserError: for the first of them.
        """
        for entry in self.entries:
            if not (
                NAME.fullmatch(entry.directory)  # it becomes a part of Hydra's overrides
                and isinstance(entry.arm, str | None)
                and isinstance(entry.stage, str)
                # By type, as isinstance takes true for an integer.
                and type(entry.trial) in (int, type(None))
                and type(entry.values.get("seed", 0)) is int
                and (entry.stage == "search" or "seed" in entry.values)
            ):
                where = f"its job {entry.number}, in {entry.directory!a}, is not one of a sweep"
                raise _unreadable(self.directory, where)

    def save(self) -> None:
        """Writes sweep.json, whole or not at all, and signs it unless the file that was read was not the user's own."""
        jobs = [asdict(entry) for entry in self.entries]
        content = {"format": FORMAT, **self.metadata, "constants": self.shared, "configs": self.configs, "jobs": jobs}
        if self.why_not_own is None:  # a received file must not become trusted by being saved
            with contextlib.suppress(NoKey):  # then it is treated as received
                content["signature"] = signature_of(self.executed_text(), self.directory)
        text = as_json(content) + "\n"
        write_atomically(self.directory / FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def executed_text(self) -> bytes:
        """Returns what a sweep that goes on would execute: the last command, its folder, the overrides of the jobs."""
        parts = {
            "constants": self.shared,
            "command": (self.metadata.get("commands") or [None])[-1],
            "folder": self.metadata.get("folder"),
            "jobs": [entry.overrides for entry in self.entries],
        }
        # Sorted, so that the signature does not depend on the order of the keys.
        return json.dumps(parts, sort_keys=True).encode()


def read_ledger(directory: Path) -> Ledger | None:
    """Reads the sweep.json of a sweep; returns None where it has not begun.

    Raises:
        UserError: the file is damaged, or no sweep has written it.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        content = json.loads(read_ordinary(path))
        entries, shared, configs = _parts(content)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _unreadable(directory, reason) from None
    # Taken out, as the rest is written again, and then signed anew.
    signature = content.pop("signature", None)
    ledger = Ledger(directory, entries, shared, configs, content)
    # Used where jobs are run; a report may read any sweep.
    ledger.why_not_own = why_not_own(signature, ledger.executed_text(), directory)
    return ledger


def _unreadable(directory: Path, reason: str) -> UserError:
    hint = f"the sweep's command once more with another sweep.name; its jobs are still in {directory}"
    return UserError("a sweep's sweep.json must be readable", f"{directory / FILE}: {reason}", hint)


def _parts(content: Any) -> tuple[list[Entry], list[str], dict[str, Any]]:
    """Takes jobs, shared overrides and configurations out of the content of a file.

    Raises:
        ValueError: a sweep does not write such content.
    """
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:  # of a later release, say
        raise ValueError(f"it is not of format {FORMAT}")
    jobs, shared, configs = (content.pop(name, None) for name in ("jobs", "constants", "configs"))
    seconds = content.get("seconds", 0.0)
    if not (
        isinstance(jobs, list)
        and _are_texts(shared)
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
            raise ValueError("two of its jobs have one number or directory")  # they would overwrite each other
    if not set(configs) <= {str(entry.number) for entry in entries}:
        raise ValueError("it has a configuration without a job")
    return entries, shared, configs


def _entry(job: Any, position: int) -> Entry:
    try:
        entry = Entry(**job)
    except TypeError:
        raise ValueError(f"its job at place {position} is not one of a sweep") from None
    name = entry.directory
    if not (
        type(entry.number) is int
        and isinstance(name, str)
        and Path(name).name == name  # it stays within the sweep's
        and name not in ("", ".", "..")
        and isinstance(entry.values, dict)
        and _are_texts(entry.overrides)
    ):
        raise ValueError(f"its job at place {position} is not one of a sweep")
    return entry


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def require_same(
    then: Any, now: Any, what: str, may_differ: tuple[str, ...] = MAY_DIFFER, typed: Collection[str] | None = None
) -> None:
    """Refuses a job or a search that goes on with another configuration than it was begun with.

    Args:
        then: the configuration that it was begun with, in plain values.
        now: the configuration that it would go on with.
        what: name of the job or the search, for the message.
        may_differ: options that may differ, with all that is below them.
        typed: names on the command line, where they are known: a difference in none of them comes from conf/.

    Raises:
        UserError: with each value that differs.
    """
    changed = changes(then, now, may_differ)
    if changed:
        more = f", and {len(changed) - MOST_SHOWN} more" if len(changed) > MOST_SHOWN else ""
        of_conf = typed is not None and not any(is_below(key, typed) for key in changed)
        values = [value for value, _ in changed.values()]
        as_it_was = " ".join(f"{key}={shown(value)}" for key, (value, _) in changed.items())
        can_be_typed = of_conf and not more and all(isinstance(value, bool | int | float | str) for value in values)
        raise UserError(
            "a sweep that goes on must keep what it was begun with",
            f"{what}: {describe_changes(dict(list(changed.items())[:MOST_SHOWN]))}{more}"
            f"{', as conf/ has it now' if of_conf else ''}",
            f"{as_it_was}, to go on as it was, or another sweep.name" if can_be_typed else "another sweep.name",
        )
