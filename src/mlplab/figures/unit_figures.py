"""Pictures of single units: of hidden ones over the inputs, and of the weights of those that see an image."""

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlplab.errors import rounded
from mlplab.figures.palette import COLOURS, diverging, growing, style
from mlplab.plots import DOTS_PER_INCH, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

MOST_UNITS = 64
"""Units of a layer that are drawn."""

GAP = 0.06
"""Width of the gap between two tiles, as a share of a tile."""


def units_figure(values: Array, axes: tuple[Array, ...], names: tuple[str, ...], title: str) -> "Figure":
    """Draws what each unit of a layer computes over one or two inputs.

    Args:
        values: (H, G) or (H, G, G); of more than `MOST_UNITS` units the first ones are drawn.
        axes: (G,) for each input.
        names: of the inputs.
        title: of the figure.
    """
    n_units = len(values)
    shown = values[:MOST_UNITS]
    if n_units > len(shown):
        title += f"; the first {len(shown)} of {n_units:,} units"
    if len(axes) == 2:
        extent = "".join(
            f"\n{short_name(name)} from {rounded(axis[0], 3)} to {rounded(axis[-1], 3)}, {way}"
            for name, axis, way in zip(names, axes, ("left to right", "bottom to top"), strict=True)
        )
        return tiles_figure(shown[:, ::-1], "activation", title + extent)
    return _curves_figure(shown, axes[0], names[0], title)


def tiles_figure(tiles: Array, label: str, title: str) -> "Figure":
    """Draws images (n, h, w) side by side, all on one scale that is symmetric around 0. NaN is grey."""
    from matplotlib.figure import Figure

    n, height, width = tiles.shape
    columns = math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    gap = max(1, round(GAP * max(height, width)))
    # One large image: an axes for each of 64 tiles would take seconds to draw.
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    is_tile = np.zeros(sheet.shape, dtype=bool)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
        is_tile[top : top + height, left : left + width] = True
    finite = np.abs(sheet[np.isfinite(sheet)])
    largest = float(finite.max(initial=0.0)) or 1.0
    side = min(1.3, 4.4 / columns)
    figure = Figure(
        figsize=(max(2.6, columns * side) + 1.1, max(1.2, rows * side * height / width) + 0.9),
        dpi=DOTS_PER_INCH,
        layout="compressed",
    )
    axes = figure.add_subplot()
    image = axes.imshow(
        np.ma.masked_invalid(sheet), cmap=diverging(), vmin=-largest, vmax=largest, interpolation="nearest",
        interpolation_stage="rgba",
    )  # fmt: skip
    # White between the tiles; behind it, a value that is not there is grey.
    axes.imshow(np.ma.masked_array(np.ones(sheet.shape), is_tile), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)), label=label)
    axes.set_title(title, fontsize=9, loc="left")
    return figure


def _curves_figure(values: Array, x: Array, name: str, title: str) -> "Figure":
    """Draws a curve for each unit (H, G) over one input."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    few = len(values) <= len(COLOURS)
    colours = COLOURS if few else [growing()(place / (len(values) - 1)) for place in range(len(values))]
    for curve, colour in zip(values, colours, strict=False):
        axes.plot(x, curve, color=colour, linewidth=1.4, alpha=1.0 if few else 0.7)
    axes.set(xlabel=short_name(name, 30), ylabel="activation", xlim=(x[0], x[-1]))
    axes.set_title(title, fontsize=9, loc="left")
    style(axes)
    return figure
