"""What has become of a sweep's job, as its directory tells."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.runs.files import read_json, read_ordinary
from mlplab.runs.lock import require_free

ENDED = ("finished", "pruned", "infeasible", "failed")
"""States that a job does not leave by itself."""


@dataclass(frozen=True)
class State:
    """A job's state.

    Attributes:
        name: waiting (nothing there yet), running, cut off (its process has died), stopped (by a signal), finished,
            pruned (finished early by a search), infeasible (it diverged) or failed.
        status: what status.json holds.
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
    """The state of the job in a directory; nothing that stands there makes it fail."""
    try:
        status = json.loads(read_ordinary(directory / "status.json"))
    except OSError:
        return State("waiting")
    except (ValueError, RecursionError):  # the process died between the first two things that it did
        status = {}
    if not isinstance(status, dict):
        status = {}
    name = status.get("state")
    if name == "finished":
        return State("pruned" if status.get("pruned") else "finished", status)
    if name == "failed":
        return State("infeasible" if status.get("infeasible") else "failed", status)
    if name == "stopped":
        return State("stopped", status)
    try:
        require_free(directory / ".lock")
    except UserError:
        return State("running", status)
    return State("cut off", status)


def read_result(directory: Path) -> dict[str, Any]:
    """What result.json holds; nothing where there is none."""
    return read_json(directory / "result.json")
