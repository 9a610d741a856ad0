"""Reads the metrics of every validation of a run. Imports nothing heavy."""

import json
from pathlib import Path
from typing import Any

from mlplab.runs.files import read_ordinary

FILE = "history.jsonl"


def read_history(directory: Path) -> list[dict[str, Any]]:
    """Reads the lines of a run's history in order; skips truncated ones. Empty if there is no history.

    Args:
        directory: of the run.
    """
    try:
        text = read_ordinary(directory / FILE).decode()
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
