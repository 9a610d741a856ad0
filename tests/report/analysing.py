"""Analyses the sweeps of `sweeps.making`."""

from pathlib import Path

from mlplab.report.sweep_analysis import SweepAnalysis, conclusions
from mlplab.sweeps.reading.sweep_reading import read_sweep


def analyse(directory: Path) -> SweepAnalysis:
    """Returns the conclusions from a sweep's directory."""
    return conclusions(read_sweep(directory))
