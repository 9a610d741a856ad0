"""Reads state, results and manifest from a run's directory, which may be untrusted."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.rules import is_number
from mlplab.runs.files import read_json, read_json_lines, read_ordinary
from mlplab.runs.layout import HISTORY, LOCK, MANIFEST, RESULT, STATUS
from mlplab.runs.lock import require_free

ENDED = ("finished", "pruned", "infeasible", "failed")
"""States of a job that has ended."""


@dataclass(frozen=True)
class State:
    """The state of a run.

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


def read_status(directory: Path) -> dict[str, Any]:
    """Reads and checks the status.json of a run.

    Raises:
        UserError: the file is missing, or a run has not written it.
    """
    try:
        return _checked_status(directory)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            "the directory of a run must have its status.json", f"{directory / STATUS}: {reason}",
            "the directory of another run",
        ) from None  # fmt: skip


def read_state(directory: Path) -> State:
    """Reads the state of the run in a directory; never fails, whatever status.json holds."""
    try:
        status = _checked_status(directory)
    except OSError:
        return State("waiting")  # no file, or a link or a pipe
    except ValueError:
        status = {}
    name = status.get("state")
    if name == "finished":
        return State("pruned" if status.get("pruned") else "finished", status)
    if name == "failed":
        return State("infeasible" if status.get("infeasible") else "failed", status)
    if name == "stopped":
        return State("stopped", status)
    try:
        require_free(directory / LOCK)  # the system frees the lock of a process that died
    except UserError:
        return State("running", status)
    return State("cut off", status)


def _checked_status(directory: Path) -> dict[str, Any]:
    """Returns the content of status.json.

    Raises:
        OSError: there is no ordinary file.
        ValueError: its content is not that of a run.
    """
    content = read_ordinary(directory / STATUS)
    if not content:  # the process died between creating and writing it
        return {"state": "running"}
    try:
        status = json.loads(content)
    except RecursionError:  # of deeply nested JSON
        status = None
    seconds = status.get("seconds", {}) if isinstance(status, dict) else None
    if not (
        # Reports and resumed runs compute with these values, so their types are checked here.
        isinstance(seconds, dict)
        and isinstance(status.get("state"), str)
        and isinstance(status.get("resumed", 0), int)
        and all(isinstance(value, int | float) for value in seconds.values())
    ):
        raise ValueError("its values are not those of a run")
    return status  # type: ignore[no-any-return]


def read_result(directory: Path) -> dict[str, Any]:
    """Reads result.json; empty if it is missing or unreadable."""
    return read_json(directory / RESULT)


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the manifest of a run; empty if it is missing or unreadable."""
    manifest = read_json(directory / MANIFEST)
    # Resuming appends to this list.
    return manifest if isinstance(manifest.get("resumed", []), list) else {}


def found_before(directory: Path) -> dict[str, int | float]:
    """Reads from a run's manifest the configuration values that finders found at its beginning.

    Only finders' keys are accepted, as somebody else may have written the file.
    """
    found = read_manifest(directory).get("found")
    found = found if isinstance(found, dict) else {}
    # Where finders set their values.
    return {k: v for k, v in found.items() if re.fullmatch(r"(optimizer|data|module)\.[a-z]\w*", k) and is_number(v)}


def read_history(directory: Path) -> list[dict[str, Any]]:
    """Reads the metrics of every validation of a run, in order; skips truncated lines."""
    return read_json_lines(directory / HISTORY)
