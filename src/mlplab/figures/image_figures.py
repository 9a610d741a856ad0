"""Pictures of the images that a network takes for something else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlplab.figures.palette import COLOURS, INK
from mlplab.plots import DOTS_PER_INCH, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

COLUMNS = 8
"""Images in a row."""


def mistakes_figure(
    images: Array, true: Sequence[str], predicted: Sequence[str], probabilities: Sequence[float], title: str
) -> "Figure":
    """Draws images with their true class, the one that was predicted, and its probability.

    Args:
        images: (n, h, w), light where they are 0; n may be 0.
        true: names of classes, (n,).
        predicted: likewise.
        probabilities: of the predicted class.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(len(images), 3))
    rows = max(1, -(-len(images) // columns))
    longest = max(map(len, [*true, *predicted]), default=1)
    # Long names need room, and stand below each other in any case.
    width = 0.86 if longest <= 3 else min(0.5 + 0.075 * min(longest, 18), 1.6)
    figure = Figure(figsize=(columns * width + 0.2, rows * 1.16 + 0.4), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, of_row, made, probability in zip(grid.flat, images, true, predicted, probabilities, strict=False):
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        axes.text(0, -0.04, f"true {short_name(of_row, 18)}", transform=axes.transAxes, va="top", fontsize=7, color=INK)
        axes.text(
            0, -0.2, f"said {short_name(made, 18)}, {probability:.0%}",
            transform=axes.transAxes, va="top", fontsize=7, color=COLOURS[1], fontweight="bold",
        )  # fmt: skip
    # Room for the two lines below each image.
    figure.get_layout_engine().set(hspace=0.32, h_pad=0.02)  # type: ignore[union-attr,call-arg]
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure
