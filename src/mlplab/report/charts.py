"""Charts as data: tables of plain rows with the marks and axes that show them. Nothing here draws."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.report.formatting import number
from mlplab.report.learning_curves import thinned

Values = npt.NDArray[np.float64]
Row = Mapping[str, Any]

INK, MUTED, FAULT = "#1f2328", "#59636e", "#c4301d"
SERIES = ("#2c68b0", "#bf5b17", "#2a7f62", "#7b52ab", "#a8780f", "#5b6470")

MOST_MARKS = 600
"""Points of a layer; of more, evenly spaced ones are kept."""

LEAST_DECADES = 1.3
"""Decades between the best value and most of the others from which an axis is logarithmic."""

LARGEST = 1e290
"""Larger values are drawn as this one, so that margins stay finite."""


@dataclass(frozen=True)
class ChartAxis:
    """An axis of a chart.

    Attributes:
        label: written beside it.
        low: its lower end; values beyond the ends are drawn at them.
        high: its upper end.
        is_log: whether it is logarithmic.
        categories: for an axis of names instead of numbers, in order; rows then hold these names.
        unit: `number`, `integer` or `percent`, for its ticks.
        n_beyond: number of values beyond its ends.
    """

    label: str
    low: float = -math.inf
    high: float = math.inf
    is_log: bool = False
    categories: tuple[str, ...] = ()
    unit: str = "number"
    n_beyond: int = 0

    def transformed(self, values: Values) -> Values:
        """Returns values such that their differences are distances on the axis; (N,) -> (N,)."""
        # First, as a value beyond the axis may be 0, which has no logarithm, or so large that it hides all others.
        clipped = np.clip(values, self.low, self.high)
        return np.asarray(np.log10(clipped)) if self.is_log else clipped

    def at(self, share: float) -> float:
        """Returns the value at a share of the axis's length."""
        if self.is_log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    def note(self) -> str:
        """Returns a sentence for a caption if there are values beyond the ends."""
        if not self.n_beyond:
            return ""
        return f" {number(self.n_beyond)} beyond the axis {'is' if self.n_beyond == 1 else 'are'} drawn at its edge."


@dataclass(frozen=True)
class Layer:
    """Rows shown by one kind of mark.

    Attributes:
        mark: `point`, `cross`, `line`, `step`, `band` (rows hold `low` and `high`), `bar`, `tick` (across a category)
            or `cell` (rows hold `shade`, from 0 to 1 for the best); bars and cells show the `text` of their row.
        rows: with `x` and `y`.
        colour: of the marks.
        label: in the legend; None leaves the layer out of it.
        is_dashed: of a line.
        offset: from the middle of a category, as a share of its width.
    """

    mark: str
    rows: Sequence[Row]
    colour: str = SERIES[0]
    label: str | None = None
    is_dashed: bool = False
    offset: float = 0.0


@dataclass(frozen=True)
class Chart:
    """A chart: the name of its files, its texts, its axes, its layers from back to front, and its height in inches."""

    name: str
    title: str
    caption: str
    x: ChartAxis
    y: ChartAxis
    layers: tuple[Layer, ...]
    height: float = 3.0


def rows_of(x: Iterable[Any], y: Iterable[Any]) -> list[Row]:
    """Makes rows of two columns, and thins out more than can be told apart."""
    # Python's own numbers, so that rows can be written as JSON.
    columns = [[v.item() if isinstance(v, np.generic) else v for v in column] for column in (x, y)]
    pairs = [{"x": a, "y": b} for a, b in zip(*columns, strict=True)]
    return [pairs[index] for index in thinned(len(pairs), MOST_MARKS)] if pairs else []


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
