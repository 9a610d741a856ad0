"""Defines what searches and reports rank and bound runs by: objectives, and bounds on their values."""

from dataclasses import dataclass
from typing import Any

OF_RUNS = ("parameters", "seconds", "epochs")
"""Objectives beside validation metrics: the size of a model, and how long its training takes."""


@dataclass(frozen=True)
class Objective:
    """A value that is minimized or maximized.

    Attributes:
        metric: a validation metric, or one of `OF_RUNS`.
        mode: `min` or `max`.
    """

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """Returns the factor by which values are multiplied so that smaller is better."""
        return -1 if self.mode == "max" else 1


@dataclass(frozen=True)
class Bound(Objective):
    """A constraint of trials, or the target of runs: `min` is at most `value`, and `max` at least."""

    value: float = 0.0

    def excess(self, found: Any) -> Any:
        """Returns by how much a value, or each of an array, violates the bound; 0 or less if it keeps it."""
        return self.sign * (found - self.value)

    def __str__(self) -> str:
        """Formats the bound: `parameters ≤ 10000`."""
        return f"{self.metric} {'≤' if self.mode == 'min' else '≥'} {self.value:.12g}"
