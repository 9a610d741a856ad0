"""sweep.json: what a sweep was asked, and its jobs, each known by the values that it was given."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import Refusal
from mlplab.runs.files import write_json

FILE = "sweep.json"
FORMAT = 1


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
    """

    directory: Path
    entries: list[Entry] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    configs: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All that has been swept."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.values))

    def add(self, entry: Entry) -> Entry:
        """Takes in a job that is new."""
        self.entries.append(entry)
        return entry

    def next_number(self) -> int:
        return max((entry.number for entry in self.entries), default=-1) + 1

    def find(self, values: Mapping[str, Any], **stage: Any) -> Entry | None:
        """The job that was given these values, whatever the order of their names."""
        wanted = key_of(values)
        return next(
            (
                entry
                for entry in self.entries
                if key_of(entry.values) == wanted and all(getattr(entry, k) == v for k, v in stage.items())
            ),
            None,
        )

    def save(self) -> None:
        """Writes sweep.json, whole or not at all."""
        jobs = [asdict(entry) for entry in self.entries]
        content = {"format": FORMAT, **self.asked, "constants": self.constants, "configs": self.configs, "jobs": jobs}
        write_json(self.directory / FILE, content)


def read_ledger(directory: Path) -> Ledger | None:
    """What is known of a sweep; None where it has not begun.

    Raises:
        Refusal: its file is not what a sweep writes.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        entries = [Entry(**job) for job in content.pop("jobs")]
        constants, configs = content.pop("constants"), content.pop("configs")
        for entry in entries:
            if not _is_plain(entry.directory) or not isinstance(entry.values, dict):
                raise ValueError(f"job {entry.number!r} is none")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refusal("a sweep must go on from its own sweep.json", f"{path}: {reason}", "another sweep.name") from None
    content.pop("format")
    return Ledger(directory, entries, constants, configs, content)


def _is_plain(name: Any) -> bool:
    """Whether a name stays within its folder."""
    return isinstance(name, str) and Path(name).name == name and name not in ("", ".", "..")


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
