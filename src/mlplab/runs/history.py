"""Reads what a run has come to, validation by validation. Imports nothing heavy."""

import json
from pathlib import Path
from typing import Any

FILE = "history.jsonl"


def read_history(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run's history, in order; none where there is none, and without one that was cut off.

    Args:
        directory: of the run.
    """
    try:
        text = (directory / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    lines = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines
