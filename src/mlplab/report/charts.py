"""The parts that figures share: axes, colours and marks. Nothing here draws."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlplab.sweeps.reading.formatting import number
from mlplab.sweeps.reading.sweep_records import Values

SERIES = {
    "#2c68b0": "#6ea8ee", "#bf5b17": "#ec9a5c", "#2a7f62": "#5fbf9d", "#7b52ab": "#b594e6", "#a8780f": "#d9b24c",
    "#b03a7a": "#ee86bd", "#0f7f92": "#4fc4d8", "#6b7a12": "#b7c653", "#8a4b2f": "#cf9377", "#5b6470": "#98a2ae",
}  # fmt: skip
"""Colours on a light page, each with the one that stands for it on a dark page."""

INK, MUTED, GRID = "#1f2328", "#59636e", "#e3e6ea"
DARK = {**SERIES, INK: "#e4e7eb", MUTED: "#9aa4af", GRID: "#2b3138", "#ffffff": "#14171b"}

MARKS = {
    "finished": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",  # a circle
    "pruned": "M0,1L-1,-.8L1,-.8Z",  # a triangle on its tip
    "diverged": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",  # a cross
    "failed": "M-.28,-1L.28,-1L.28,-.28L1,-.28L1,.28L.28,.28L.28,1L-.28,1L-.28,.28L-1,.28L-1,-.28L-.28,-.28Z",  # a plus
    "infeasible": "M-.85,-.85L.85,-.85L.85,.85L-.85,.85Z",  # a square
    "damaged": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",  # a diamond
}
"""State → outline of its mark, between -1 and 1. Infeasible are runs that violate a constraint of their search."""

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
"""Appearance of figures in files and on a light page."""

LEAST_DECADES = 1.3  # decades between the best value and most of the others from which an axis is logarithmic
LARGEST = 1e290  # larger values are drawn as this one, so that margins stay finite


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
    spec: Mapping[str, Any]  # of Vega-Lite; its data `runs` are the rows that all figures share (`run_rows.py`)
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
