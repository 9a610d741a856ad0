"""Pictures of the loss over the weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlplab.figures.palette import COLOURS, INK, depth, style
from mlplab.plots import DOTS_PER_INCH, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

LEVELS = 14
"""Contours of the loss."""

LOGARITHMIC_FROM = 10.0
"""Ratio of the largest to the smallest loss from which contours are spaced evenly on a logarithmic scale."""

PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


def plane_figure(positions: Array, losses: Array, name: str, what: str) -> "Figure":
    """Draws contours of the loss (P, P) over two directions, with the run in the middle.

    Args:
        positions: (P,) along each direction.
        losses: rows along the second direction.
        name: of the run.
        what: second line of the title.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(5.2, 4.4), dpi=DOTS_PER_INCH, layout="compressed")
    axes = figure.add_subplot()
    drawn = np.ma.masked_invalid(losses)
    known = drawn.compressed()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if not high > low:
        high = low + 1.0
    is_logarithmic = low > 0 and high > LOGARITHMIC_FROM * low
    levels = np.geomspace(low, high, LEVELS + 1) if is_logarithmic else np.linspace(low, high, LEVELS + 1)
    norm = (LogNorm if is_logarithmic else Normalize)(low, high)
    colours = depth()
    filled = axes.contourf(positions, positions, drawn, levels=levels, cmap=colours, norm=norm)
    axes.contour(positions, positions, drawn, levels=levels, colors="white", linewidths=0.5, alpha=0.7)
    bar = figure.colorbar(filled, cax=axes.inset_axes((1.04, 0, 0.05, 1)), label="loss")
    bar.set_ticks(levels[::2].tolist(), labels=[f"{level:.3g}" for level in levels[::2]])
    bar.ax.minorticks_off()
    axes.plot(0, 0, marker="*", markersize=13, color=COLOURS[3], markeredgecolor=INK, markeredgewidth=0.8)
    axes.annotate(
        "the run", (0, 0), (8, 6), textcoords="offset points", fontsize=8, color=INK,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
    # The unit of both is the length of the weights.
    axes.set(xlabel="first direction (1: as long as the weights)", ylabel="second direction")
    axes.set_aspect("equal")
    axes.set_title(f"{short_name(name, 60)}\n{what}", fontsize=9, loc="left")
    return figure


def line_figure(positions: Array, losses: Mapping[str, Array], names: Sequence[str]) -> "Figure":
    """Draws the loss of each part (P,) on the line between two runs, which are at 0 and 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.7), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    for colour, (part, along) in zip(COLOURS, losses.items(), strict=False):
        axes.plot(positions, along, color=colour, linewidth=2, label=f"{PART_NAMES[part]} part")
    finite = np.concatenate([along[np.isfinite(along)] for along in losses.values()])
    if len(finite) and finite.min() > 0 and finite.max() > LOGARITHMIC_FROM * finite.min():
        axes.set_yscale("log")
    for place in (0, 1):
        axes.axvline(place, color=INK, linewidth=1, linestyle="--")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0\nfirst run", "0.25", "0.5", "0.75", "1\nsecond run"])
    axes.set(xlabel="share of the second run in the weights", ylabel="loss", xlim=(positions[0], positions[-1]))
    axes.set_title("\n".join(short_name(name, 60) for name in names), fontsize=9, loc="left")
    style(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure
