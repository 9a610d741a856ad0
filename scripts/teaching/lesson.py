"""A computed lesson, and the runs that it is computed from."""

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

import mlplab
from mlplab.errors import RunStopped

DIGITS = 6
"""Significant digits of a number that is kept: what a page shows of it has fewer."""


@dataclass
class Lesson:
    """The content of a lesson, apart from its text.

    Attributes:
        numbers: name → number, text, or list or mapping of them, for the text.
        figures: name → figure.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def rounded(value: Any) -> Any:
    """Rounds numbers to `DIGITS` significant digits, within lists and mappings too."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def train(logs: Path, *words: str) -> mlplab.Run:
    """Trains as `python train.py WORDS` does, without figures and output."""
    quiet = ["callbacks=minimal", f"paths.logs={logs}", "trainer.accelerator=cpu"]
    config = mlplab.compose([*quiet, *words])
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            mlplab.train(config)
    except RunStopped as stopped:
        # Its own message says how to resume a run whose folder is about to go.
        raise RunStopped("stopped: pages that are written stay, this one is as it was", stopped.status) from None
    return mlplab.Run.open(config.paths.run)


def logged(run: mlplab.Run, name: str) -> tuple[list[int], list[float]]:
    """Reads what a run with `logger=csv` has logged under a name: steps and values."""
    table = pl.read_csv(run.directory / "csv" / "metrics.csv", infer_schema_length=None)
    found = table.select("step", name).drop_nulls()
    return found["step"].to_list(), found[name].to_list()
