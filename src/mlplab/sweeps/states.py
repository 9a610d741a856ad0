"""Reads the states and results of a sweep's jobs from their directories."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.runs.files import read_json, read_ordinary
from mlplab.runs.lock import require_free

ENDED = ("finished", "pruned", "infeasible", "failed")
"""States in which nothing more happens to a job by itself."""


@dataclass(frozen=True)
class State:
    """A job's state.

    Attributes:
        name: waiting (it has not begun), running, cut off (its process has died), stopped (by a signal), finished,
            pruned (finished early by a search), infeasible (it diverged) or failed.
        status: the content of status.json.
    """

    name: str
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.name in ENDED

    @property
    def reason(self) -> str:
        return str(self.status.get("reason") or "")


def read_state(directory: Path) -> State:
    """Reads the state of the job in a directory; whatever status.json holds, it does not fail."""
    try:
        status = json.loads(read_ordinary(directory / "status.json"))
    except OSError:
        return State("waiting")  # no file, or one that is a link or a pipe
    except (ValueError, RecursionError):  # the process died between creating and writing the file
        status = {}
    # A list or a text would make those fail who look for a name in it.
    if not isinstance(status, dict) or not isinstance(status.get("seconds", {}), dict):
        status = {}
    name = status.get("state")
    if name == "finished":
        return State("pruned" if status.get("pruned") else "finished", status)
    if name == "failed":
        return State("infeasible" if status.get("infeasible") else "failed", status)
    if name == "stopped":
        return State("stopped", status)
    try:
        require_free(directory / ".lock")  # the system frees the lock of a process that died
    except UserError:
        return State("running", status)
    return State("cut off", status)


def read_result(directory: Path) -> dict[str, Any]:
    """Reads result.json; returns an empty mapping where there is none."""
    return read_json(directory / "result.json")
