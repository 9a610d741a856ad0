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

WIDTH = 6.0
"""Width of a row, in inches."""

MOST_LETTERS = 18
"""Letters of the name of a class that are shown."""


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

    # The longest line is of the predicted class and its probability, in letters of about 0.073 inches.
    longest = min(max(map(len, [*true, *predicted]), default=1), MOST_LETTERS) + len("said , 100%")
    width = max(0.95, 0.073 * longest)
    columns = min(int(WIDTH / width), max(len(images), 3))
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(columns * width + 0.2, rows * 1.3 + 0.4), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, of_row, made, probability in zip(grid.flat, images, true, predicted, probabilities, strict=False):
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        axes.text(
            0,
            -0.04,
            f"true {short_name(of_row, MOST_LETTERS)}",
            transform=axes.transAxes,
            va="top",
            fontsize=8,
            color=INK,
        )
        axes.text(
            0, -0.2, f"said {short_name(made, MOST_LETTERS)}, {probability:.0%}",
            transform=axes.transAxes, va="top", fontsize=8, color=COLOURS[1], fontweight="bold",
        )  # fmt: skip
    # Room for the two lines below each image.
    figure.get_layout_engine().set(hspace=0.32, h_pad=0.02)  # type: ignore[union-attr,call-arg]
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure
