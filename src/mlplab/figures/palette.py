"""Colours and style that all pictures share."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

Pixels = npt.NDArray[np.float64]

COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee", "#332288", "#ee8866", "#44aa99", "#777777",
)  # fmt: skip
"""Colours that colour-blind people can tell apart (Tol 2021, "Colour schemes"); a class has the same everywhere."""

INK = "#222222"
"""Colour of lines that stand for no class."""


def diverging() -> "Colormap":
    """Returns the map for values of both signs: blue below 0, white at 0, red above."""
    from matplotlib.colors import LinearSegmentedColormap

    found = LinearSegmentedColormap.from_list("diverging", ["#2f5d8c", COLOURS[0], "#f7f7f7", COLOURS[1], "#b5404f"])
    return found.with_extremes(bad="#b8b8b8")


def growing() -> "Colormap":
    """Returns the map for time: pale at the beginning of training, dark at its end."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("growing", ["#c6d8ea", COLOURS[0], "#0c2a4a"])


def depth() -> "Colormap":
    """Returns the map for a loss: dark where it is small, nearly white where it is large."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("depth", ["#0c2a4a", COLOURS[0], "#a9c3de", "#f4f7fb"])


def style(axes: "Axes") -> None:
    """Takes the frame away above and to the right, and draws a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def mix(colours: Pixels, white: Pixels | float) -> Pixels:
    """Mixes colours (…, 3) with a share of white in [0, 1], (…, 1)."""
    mixed: Pixels = colours * (1 - white) + white
    return mixed
