"""A swept parameter as an axis: a scale of numbers or a list of choices, and the buckets into which values fall."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.report.charts import LARGEST, ChartAxis
from mlplab.sweeps.job_values import canonical
from mlplab.sweeps.reading.formatting import number, value_text, words_of
from mlplab.sweeps.reading.sweep_records import Values, as_list, as_number

MANY = 12  # more distinct numbers than this are grouped in buckets

BUCKETS = 8
LEAST_LOG_RATIO = 30.0  # ratio of the largest to the smallest number below which a logarithmic axis gains little


@dataclass(frozen=True)
class ParameterAxis:
    """Maps a parameter's values to places on an axis."""

    name: str
    choices: tuple[str, ...]  # texts of its values, at places 0, 1, 2, …; empty for a scale of numbers
    is_log: bool  # places are decadic logarithms
    edges: Values  # (K+1,) bounds of its buckets, as places
    texts: tuple[str, ...]  # content of each bucket: a choice, a number, or a range
    ends: tuple[float, float]  # as places, of the search space or of the values of a grid
    numbers: tuple[float, ...] = ()  # its values, if they are few and were given

    def places(self, values: Sequence[Any]) -> Values:
        """Returns the places of values; NaN for values that are not on the axis. (N,) -> (N,)."""
        if self.choices:
            # By their texts, as lists and mappings cannot be keys.
            index = {choice: place for place, choice in enumerate(self.choices)}
            return np.array([index.get(value_text(value), math.nan) for value in values], dtype=np.float64)
        found = np.array([as_number(value) for value in values], dtype=np.float64)
        return np.log10(np.where(found > 0, found, np.nan)) if self.is_log else found

    def buckets(self, places: Values) -> npt.NDArray[np.int64]:
        """Returns the bucket of each place; -1 for NaN. (N,) -> (N,)."""
        # The last edge belongs to the last bucket, and what lies beyond the ends to the outermost ones.
        inside = np.clip(np.searchsorted(self.edges, places, side="right") - 1, 0, len(self.edges) - 2)
        return np.asarray(np.where(np.isnan(places), -1, inside), dtype=np.int64)

    @property
    def n_buckets(self) -> int:
        return len(self.texts)

    def value(self, place: float) -> float:
        """Returns the number at a place."""
        # Beyond these ends 10 to the power of a place overflows.
        return float(10.0 ** min(max(place, -300.0), 300.0) if self.is_log else place)

    def chart_axis(self) -> ChartAxis:
        """Returns the axis of a figure that shows this parameter, if it is a scale of numbers."""
        low, high = (min(max(end, -LARGEST), LARGEST) for end in self.ends)
        # Marks at the very ends would be cut in half.
        margin = 0.04 * (high - low) or 0.5
        return ChartAxis(words_of(self.name), self.value(low - margin), self.value(high + margin), self.is_log)


def axis_of(name: str, values: Sequence[Any], spaces: Sequence[Mapping[str, Any]]) -> ParameterAxis:
    """Builds the axis that fits the values of a parameter.

    Args:
        name: of the parameter.
        values: of every setting that has it.
        spaces: its search space, or that of each arm; may be empty.
    """
    known = [as_number(value) for value in values]
    found = np.array(sorted({value for value in known if value is not None}), dtype=np.float64)
    # Two numbers are a choice between two, and no scale.
    if len(found) < 3 or None in known:
        # In the order of the search space, but numbers by size.
        asked = [value for space in spaces for value in as_list(space.get("values"))]
        ordered = list({canonical(value): value for value in [*asked, *values]}.values())
        if all(as_number(value) is not None for value in ordered):
            ordered.sort(key=float)
        present = {value_text(value) for value in values}
        choices = tuple(dict.fromkeys(text for text in map(value_text, ordered) if text in present))
        ends = 0.0, max(len(choices) - 1.0, 1.0)
        return ParameterAxis(name, choices, False, np.arange(len(choices) + 1, dtype=np.float64) - 0.5, choices, ends)
    low, high = ends_of(found, spaces)
    # A list of values seldom says that it is logarithmic, so their spacing decides too.
    is_log = low > 0 and found[0] > 0 and (any(space.get("log") for space in spaces) or _is_even_in_log(found))
    middles = np.log10(found) if is_log else found
    low, high = (math.log10(low), math.log10(high)) if is_log else (low, high)
    if len(found) > MANY:
        # Equal stretches of the space, not of the values: a search is dense where it found something.
        edges = np.linspace(low, high, BUCKETS + 1)
        bounds = [number(float(10.0**edge if is_log else edge), 2) for edge in edges]
        texts = tuple(f"{a}–{b}" for a, b in pairwise(bounds))
    else:
        # Halfway between neighbours; the outermost only have to lie beyond the values.
        edges = np.array([middles[0] - 1, *(middles[1:] + middles[:-1]) / 2, middles[-1] + 1], dtype=np.float64)
        texts = tuple(number(float(value)) for value in found)
    # Numbers that a search has drawn are no ticks.
    is_drawn = len(found) > MANY or any("low" in space for space in spaces)
    return ParameterAxis(name, (), is_log, edges, texts, (low, high), () if is_drawn else tuple(found.tolist()))


def ends_of(found: Values, spaces: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Returns the ends of the search spaces, extended to sorted values beyond them."""
    asked = [v for space in spaces for v in (*as_list(space.get("values")), space.get("low"), space.get("high"))]
    known = [number for value in asked if (number := as_number(value)) is not None]
    return float(min([found[0], *known])), float(max([found[-1], *known]))


def _is_even_in_log(found: Values) -> bool:
    """Checks whether sorted positive numbers span much and are spaced more evenly in their logarithms."""

    def unevenness(places: Values) -> float:
        # 0 if the median is in the middle, as with even spacing; at most a half.
        return abs(float(np.median(places)) - float(places[0] + places[-1]) / 2) / float(places[-1] - places[0])

    # Over less than a decade and a half both kinds of axis look alike.
    return bool(found[-1] / found[0] >= LEAST_LOG_RATIO) and unevenness(np.log10(found)) < unevenness(found)
