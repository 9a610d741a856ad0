"""The axis of what is compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlplab.report.figure_style import short
from mlplab.report.formatting import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]


LEAST_DECADES = 1.3
"""Between the best and most of the others, from which on the axis is logarithmic."""

LARGEST = 1e290
"""What is larger is drawn as this."""


@dataclass(frozen=True)
class Scale:
    """An axis of values to be compared.

    Attributes:
        is_log: whether it is logarithmic.
        low: its lower end.
        high: its upper end; what lies beyond either is drawn at it.
        n_beyond: values that do.
    """

    is_log: bool
    low: float
    high: float
    n_beyond: int

    def clipped(self, values: Values) -> Values:
        """Values brought within the ends; NaN stays. (N,) -> (N,)."""
        return np.clip(values, self.low, self.high)

    def transformed(self, values: Values) -> Values:
        """What distances on the axis are proportional to; (N,) -> (N,)."""
        clipped = self.clipped(values)
        return np.asarray(np.log10(clipped)) if self.is_log else clipped

    def note(self) -> str:
        """For a caption."""
        return (
            f" {number(self.n_beyond)} beyond the axis {'is' if self.n_beyond == 1 else 'are'} drawn at its edge."
            * bool(self.n_beyond)
        )


def scale_of(values: Values, sign: int, *, whole: bool = False) -> Scale:
    """A scale on which most of the values can be told apart, the best ones first of all.

    Args:
        values: (N,); NaN is left out.
        sign: 1 where small is good, -1 where large is.
        whole: whether the worst must be within it too, as of curves.
    """
    found = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if not len(found):
        return Scale(False, 0.0, 1.0, 0)
    positive = found[found > 0]
    high = 1.0 if whole else 0.95
    decades = np.log10(np.maximum(positive, 1 / LARGEST))
    is_log = len(positive) >= 0.8 * len(found) and np.quantile(decades, high) - decades.min() > LEAST_DECADES
    places = sign * (decades if is_log else found)
    best, middle, worst = (float(q) for q in np.quantile(places, [0, 0.75, 1]))
    reach = worst if whole else min(worst, max(best + 4 * (middle - best), float(np.quantile(places, 0.9))))
    margin = 0.05 * (reach - best) or 0.05 * abs(best) or 0.5
    ends = sorted((sign * (best - margin), sign * (reach + margin)))
    low, high = (10.0 ** min(max(end, -300.0), 300.0) if is_log else float(end) for end in ends)
    return Scale(bool(is_log), low, high, int(((found < low) | (found > high)).sum()))


def set_values(axes: "Axes", scale: Scale, name: str, *, on: str = "y") -> None:
    """Gives an axis the scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis = axes.yaxis if on == "y" else axes.xaxis
    axes.set(**{f"{on}scale": "log" if scale.is_log else "linear", f"{on}lim": (scale.low, scale.high)})
    axes.set(**{f"{on}label": short(name)})
    if scale.is_log:
        decades = np.log10(scale.high / scale.low)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=9))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
