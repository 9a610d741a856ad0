"""Pictures of layers against their depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlplab.figures.palette import growing, style
from mlplab.plots import DOTS_PER_INCH, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 9
"""Measurements that are drawn: the first, the last, and others at equal distances between them."""

TURNED_FROM = 5
"""Layers from which on their names stand slanted."""


def gradient_depth_figure(by_epoch: Sequence[tuple[int, Mapping[str, float]]], title: str) -> "Figure":
    """Draws the size of the gradient in each layer, from the inputs to the outputs, a line for each epoch.

    Args:
        by_epoch: epoch, and layer → root mean square of the gradient of its weights; 0 is left out, as its logarithm is
            not finite.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    layers = list(by_epoch[0][1])
    figure = Figure(figsize=(5.0, 3.7), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    n_lines = min(len(by_epoch), MOST_LINES)
    shown = [by_epoch[round(place)] for place in np.linspace(0, len(by_epoch) - 1, n_lines)]
    colours, last = growing(), n_lines - 1
    for place, (epoch, sizes) in enumerate(shown):
        known = [sizes[layer] or float("nan") for layer in layers]
        # Few names: the first, the middle and the last line.
        label = f"epoch {epoch}" if epoch else "before training"
        axes.plot(
            range(len(layers)), known, color=colours(place / max(last, 1)), marker="o", markersize=3.5,
            linewidth=2 if place in (0, last) else 1.1, label=label if place in {0, last // 2, last} else None,
        )  # fmt: skip
    zeros = [size == 0 for _, sizes in shown for size in sizes.values()]
    if any(zeros):
        title += "; all are 0" if all(zeros) else "; those that are 0 have no point"
    axes.set_yscale("log")
    is_turned = len(layers) >= TURNED_FROM
    names = [short_name(name, 16) for name in layers]
    axes.set_xticks(range(len(layers)), names, rotation=30 if is_turned else 0, ha="right" if is_turned else "center")
    axes.set(ylabel="root mean square of the gradient", xlabel="layer, from the inputs to the outputs")
    axes.set_title(title, fontsize=10, loc="left")
    style(axes)
    figure.legend(frameon=False, fontsize=8, ncols=3, loc="outside lower center")  # no line is beneath it
    return figure
