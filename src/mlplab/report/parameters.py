"""A swept parameter as an axis: a scale of numbers, or a list of choices; and the buckets that it falls into."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.report.finished_runs import as_number
from mlplab.report.formatting import number
from mlplab.report.ranked_settings import value_text
from mlplab.sweeps.ledger import canonical

Values = npt.NDArray[np.float64]

MANY = 12
"""More distinct numbers than this are gathered in buckets."""

BUCKETS = 8
LEAST_LOG_RATIO = 30.0
"""Between the largest and the smallest, below which a logarithmic axis shows little more."""


@dataclass(frozen=True)
class Axis:
    """A parameter's values as places.

    Attributes:
        name: of the parameter.
        choices: texts of what it takes, in order, at places 0, 1, 2, …; none of a scale of numbers.
        is_log: places are decadic logarithms.
        is_int: only whole numbers are on it.
        edges: (K+1,) bounds of its buckets, as places.
        middles: (K,) where each bucket is drawn.
        texts: what each bucket holds: a choice, a number, or from where to where.
        is_bucketed: whether a bucket holds a stretch rather than a value.
        space: low and high, as places, of what a search draws from, or of the numbers that a grid takes.
    """

    name: str
    choices: tuple[str, ...]
    is_log: bool
    is_int: bool
    edges: Values
    middles: Values
    texts: tuple[str, ...]
    is_bucketed: bool
    space: tuple[float, float] | None

    def places(self, values: Sequence[Any]) -> Values:
        """Values as places; NaN where the axis has none. (N,) -> (N,)."""
        if self.choices:
            index = {choice: float(place) for place, choice in enumerate(self.choices)}
            return np.array([index.get(value_text(value), math.nan) for value in values], dtype=np.float64)
        return np.array([self._place(as_number(value)) for value in values], dtype=np.float64)

    def _place(self, value: float | None) -> float:
        if value is None:
            return math.nan
        if self.is_log:
            return math.log10(value) if value > 0 else math.nan
        return value

    def buckets(self, places: Values) -> npt.NDArray[np.int64]:
        """Which bucket each place falls into; -1 for NaN. (N,) -> (N,)."""
        inside = np.clip(np.searchsorted(self.edges, places, side="right") - 1, 0, len(self.edges) - 2)
        return np.asarray(np.where(np.isnan(places), -1, inside), dtype=np.int64)

    @property
    def n_buckets(self) -> int:
        return len(self.texts)

    def text_at(self, place: float) -> str:
        """What the bucket at a place holds."""
        return self.texts[int(self.buckets(np.array([place]))[0])]

    def number(self, place: float) -> float:
        """The number at a place of a scale."""
        return float(10.0**place if self.is_log else place)


def axis_of(name: str, values: Sequence[Any], space: Mapping[str, Any]) -> Axis:
    """The axis that fits what a parameter took.

    Args:
        name: of the parameter.
        values: of every run that has it.
        space: what it was asked to take; may be empty.
    """
    numbers = [as_number(value) for value in values]
    found = np.array(sorted({value for value in numbers if value is not None}), dtype=np.float64)
    if len(found) < 3 or None in numbers:
        return _choices(name, values, space)
    ends = ends_of(found, space)
    is_log = ends[0] > 0 and found[0] > 0 and (bool(space.get("log")) or _is_even_in_log(found))
    is_int = space.get("kind") == "int" or all(isinstance(value, int) for value in values)
    low, high = (math.log10(end) if is_log else end for end in ends)
    is_bucketed = len(found) > MANY
    if is_bucketed:
        edges = np.linspace(low, high, BUCKETS + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        bounds = [number(float(f"{10.0**edge if is_log else edge:.2g}")) for edge in edges]
        texts = tuple(f"{a}–{b}" for a, b in pairwise(bounds))
    else:
        middles = np.log10(found) if is_log else found
        edges = np.array([middles[0] - 1, *(middles[1:] + middles[:-1]) / 2, middles[-1] + 1], dtype=np.float64)
        texts = tuple(number(float(value)) for value in found)
    return Axis(name, (), is_log, is_int, edges, middles, texts, is_bucketed, (low, high))


def ends_of(found: Values, space: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of what was asked, or as far as it went beyond them."""
    listed = space.get("values")
    asked = [as_number(value) for value in (listed if isinstance(listed, list) else [])]
    asked += [as_number(space.get("low")), as_number(space.get("high"))]
    known = [value for value in asked if value is not None]
    return float(min([found[0], *known])), float(max([found[-1], *known]))


def _is_even_in_log(found: Values) -> bool:
    """Whether sorted positive numbers span much and lie more evenly by their logarithms."""
    if found[0] <= 0 or found[-1] / found[0] < LEAST_LOG_RATIO:
        return False

    def unevenness(places: Values) -> float:
        return abs(float(np.median(places)) - float(places[0] + places[-1]) / 2) / float(places[-1] - places[0])

    return unevenness(np.log10(found)) < unevenness(found)


def _choices(name: str, values: Sequence[Any], space: Mapping[str, Any]) -> Axis:
    asked = space.get("values")
    kinds = {canonical(value): value for value in [*(asked if isinstance(asked, list) else []), *values]}
    present = {value_text(value) for value in values}
    ordered = list(kinds.values())
    numbers = [as_number(value) for value in ordered]
    if None not in numbers:
        ordered.sort(key=float)
    texts = tuple(dict.fromkeys(value_text(v) for v in ordered if value_text(v) in present))
    places = np.arange(len(texts) + 1, dtype=np.float64)
    return Axis(name, texts, False, False, places - 0.5, places[:-1], texts, False, None)
