"""Names the files of a run's directory, and reads those that somebody else may have written. Imports nothing heavy."""

import json
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.runs.files import read_json, read_ordinary

LOCK = ".lock"
STATUS = "status.json"
MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
LOG = "train.log"
CONFIG = Path(".hydra") / "config.yaml"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
TENSORBOARD = "tensorboard"

BEFORE_TRAINING = {STATUS, LOG, MANIFEST, CHECKPOINTS, FIGURES, TENSORBOARD, "csv", "data.json"}
"""Files and folders that a run may make before it has written both manifest and configuration."""


def read_status(directory: Path) -> dict[str, Any]:
    """Reads and checks the status.json of a run.

    Raises:
        UserError: the file is missing, or a run has not written it.
    """
    path = directory / STATUS
    try:
        status = json.loads(read_ordinary(path))
        seconds = status.get("seconds", {})
        if not (
            # Reports and resumed runs compute with these values, so their types are checked once, here.
            isinstance(status.get("state"), str)
            and isinstance(status.get("resumed", 0), int)
            and isinstance(seconds, dict)
            and all(isinstance(value, int | float) for value in seconds.values())
        ):
            raise ValueError("its values are not those of a run")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        if path.is_file() and path.stat().st_size == 0:  # the process died between creating and writing it
            return {"state": "running"}
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            "the directory of a run must have its status.json", f"{path}: {reason}", "the directory of another run"
        ) from None
    return status  # type: ignore[no-any-return]


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the manifest of a run; empty if it is missing or unreadable."""
    manifest = read_json(directory / MANIFEST)
    # Resuming appends to this list.
    return manifest if isinstance(manifest.get("resumed", []), list) else {}


def read_history(directory: Path) -> list[dict[str, Any]]:
    """Reads the metrics of every validation of a run, in order; skips truncated lines."""
    try:
        text = read_ordinary(directory / HISTORY).decode()
    except (OSError, UnicodeDecodeError):
        return []
    lines = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        # A kill may have cut the last line off.
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines
