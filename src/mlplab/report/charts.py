"""The parts that figures share: axes, colours and marks. Nothing here draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.sweeps.job_values import canonical
from mlplab.sweeps.reading.formatting import digits_of, number, value_text, words_of
from mlplab.sweeps.reading.sweep_records import Values, as_list, as_number

# Colours on a light page, each with the one that stands for it on a dark page.
SERIES = {
    "#2c68b0": "#6ea8ee", "#bf5b17": "#ec9a5c", "#2a7f62": "#5fbf9d", "#7b52ab": "#b594e6", "#a8780f": "#d9b24c",
    "#b03a7a": "#ee86bd", "#0f7f92": "#4fc4d8", "#6b7a12": "#b7c653", "#8a4b2f": "#cf9377", "#5b6470": "#98a2ae",
}  # fmt: skip
INK, MUTED, GRID = "#1f2328", "#59636e", "#e3e6ea"
DARK = {**SERIES, INK: "#e4e7eb", MUTED: "#9aa4af", GRID: "#2b3138", "#ffffff": "#14171b"}

# State → outline of its mark, between -1 and 1. Infeasible are runs that violate a constraint of their search.
MARKS = {
    "finished": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",  # a circle
    "pruned": "M0,1L-1,-.8L1,-.8Z",  # a triangle on its tip
    "infeasible": "M-.85,-.85L.85,-.85L.85,.85L-.85,.85Z",  # a square
    "diverged": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",  # a cross
    "failed": "M-.28,-1L.28,-1L.28,-.28L1,-.28L1,.28L.28,.28L.28,1L-.28,1L-.28,.28L-1,.28L-1,-.28L-.28,-.28Z",  # a plus
    "damaged": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",  # a diamond
}
# Appearance of figures in files and on a light page.
CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": INK, "gridColor": GRID, "domainColor": MUTED, "tickColor": MUTED,
        "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8, "labelLimit": 150,
        "titleLimit": 340, "ticks": False, "labelPadding": 6, "labelOverlap": "greedy", "labelFlush": False,
    },
    "legend": {
        "labelColor": INK, "titleColor": MUTED, "orient": "bottom", "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "labelLimit": 160, "columns": 4,
    },
    "text": {"color": INK},
    "rule": {"color": INK},
}  # fmt: skip
LEAST_DECADES = 1.3  # decades between the best value and most of the others from which an axis is logarithmic
LARGEST = 1e290  # larger values are drawn as this one, so that margins stay finite
MANY = 12  # more distinct numbers than this are grouped in buckets

BUCKETS = 8
LEAST_LOG_RATIO = 30.0  # ratio of the largest to the smallest number below which a logarithmic axis gains little


@dataclass(frozen=True)
class ChartAxis:
    """An axis of a chart; values beyond its ends are drawn at them."""

    label: str
    low: float = -math.inf
    high: float = math.inf
    is_log: bool = False
    n_beyond: int = 0  # number of values beyond its ends

    def transformed(self, values: Values) -> Values:
        """Returns values such that their differences are distances on the axis; (N,) -> (N,)."""
        # First, as a value beyond the axis may be 0, which has no logarithm, or so large that it hides all others.
        clipped = np.clip(values, self.low, self.high)
        return np.asarray(np.log10(clipped)) if self.is_log else clipped

    @property
    def ends(self) -> tuple[float, float]:
        """Returns its ends, transformed."""
        low, high = self.transformed(np.array([self.low, self.high])).tolist()
        return low, high

    def at(self, share: float) -> float:
        """Returns the value at a share of the axis's length."""
        whole = self.high / self.low if self.is_log else self.high - self.low
        return float(self.low * whole**share) if self.is_log else self.low + share * whole

    def note(self) -> str:
        """Returns a sentence for a caption if there are values beyond the ends."""
        are = "is" if self.n_beyond == 1 else "are"
        return f" {number(self.n_beyond)} beyond the axis {are} drawn at its edge." if self.n_beyond else ""


@dataclass(frozen=True)
class Chart:
    """A figure."""

    name: str  # of its files
    title: str
    caption: str
    spec: Mapping[str, Any]  # of Vega-Lite, with the rows `runs` or `marked` of `run_rows.py`
    is_wide: bool = False  # spans the page


def value_axis(label: str, values: Values, sign: int, *, is_whole: bool = False) -> ChartAxis:
    """Chooses an axis on which most of the values can be told apart, the best ones above all.

    Args:
        label: of the axis.
        values: (N,); NaN is left out.
        sign: 1 if small is good, -1 if large is.
        is_whole: whether the worst must be within it too, as for curves.
    """
    # A loss can be so large that its margin would overflow.
    found = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if not len(found):
        return ChartAxis(label, 0.0, 1.0)
    positive = found[found > 0]
    # A few zeros or negative values do not keep the others from a logarithmic axis.
    decades = np.log10(np.maximum(positive, 1 / LARGEST))
    # Without its worst 20th, as one diverged value alone is no reason for a logarithmic axis.
    span = np.quantile(decades, 1.0 if is_whole else 0.95) - decades.min() if len(positive) else 0.0
    is_log = bool(len(positive) >= 0.8 * len(found) and span > LEAST_DECADES)
    places = sign * (decades if is_log else found)
    # The sign has made small values good, so the quantiles count from the best.
    best, middle, worst = (float(q) for q in np.quantile(places, [0, 0.75, 1]))
    # A few diverging values must not squeeze all others into a line.
    reach = worst if is_whole else min(worst, max(best + 4 * (middle - best), float(np.quantile(places, 0.9))))
    # Equal values still need an axis of some length.
    margin = 0.05 * (reach - best) or 0.05 * abs(best) or 0.5
    ends = sorted((sign * (best - margin), sign * (reach + margin)))
    # Beyond these ends 10 to the power of an end overflows, or is 0.
    low, high = (10.0 ** min(max(end, -300.0), 300.0) if is_log else float(end) for end in ends)
    return ChartAxis(label, low, high, is_log, n_beyond=int(((found < low) | (found > high)).sum()))


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
        texts = tuple(number(value, digits_of(value)) for value in found.tolist())
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
