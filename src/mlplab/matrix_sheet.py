"""The sheet that confusion matrices are drawn on: what they share is drawn once, and so is each number in each cell."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlplab.figures import MAX_LABELLED_CLASSES, empty_matrix_figure, show_counts, size_of_counts
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3)."""

PADDING = 0.1
"""Inches around what is drawn."""

MOST_PARTS = 2000
"""That are kept of a confusion matrix, a few kilobytes each."""

_Part = tuple[int, int, int, float]
"""What a cell shows: its place, its count, the count of its row, and the size of its number. The title comes last."""


class MatrixSheet:
    """What all confusion matrices of a task have in common, drawn once: the jobs of a sweep differ in counts alone.

    Args:
        task: with the names of the classes.
        rows: which rows are counted.
        n_rows: of them; the title has room for it.
    """

    def __init__(self, task: Task, rows: str, n_rows: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.rows = rows
        self.figure = empty_matrix_figure(task)
        canvas: Any = FigureCanvasAgg(self.figure)
        self.canvas = canvas
        widest = np.zeros((task.n_classes, task.n_classes), np.int64)
        widest[0, 0] = n_rows  # whose title says that all are right
        show_counts(self.figure, widest, rows)
        _fit(self.figure)
        pixels, cells = self._cell_of_pixels(task.n_classes)
        for artist in self._changing():
            artist.set_visible(False)
        self.canvas.draw()
        self._common = self.canvas.copy_from_bbox(self.figure.bbox)
        for artist in self._changing():
            artist.set_visible(True)
        for spine in self.figure.axes[0].spines.values():
            spine.draw(self.canvas.get_renderer())
        self._frame = self._canvas_of_colours().copy()  # what is beside the cells and the title
        ends = np.bincount(cells, minlength=task.n_classes**2).cumsum()[:-1]
        width = self.canvas.get_width_height()[0]
        above = np.arange(pixels.min() // width * width)  # of all cells, where the title stands
        self._pixels_of_part = [*np.split(pixels[np.argsort(cells, kind="stable")], ends), above]
        self._drawn: dict[_Part, npt.NDArray[np.uint32]] = {}

    def _cell_of_pixels(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The pixels that the matrix takes, and which of its cells each of them shows, as matplotlib places them."""
        image: Any = self.figure.axes[0].images[0]
        number = np.arange(n * n, dtype="<u4").reshape(n, n)
        shares = image.get_array()
        image.set_data(number.view(np.uint8).reshape(n, n, 4)[..., :3])  # a colour of its own for each cell
        self.canvas.get_renderer().clear()  # to transparent white
        image.draw(self.canvas.get_renderer())
        found = self._canvas_of_colours()
        pixels = np.flatnonzero(found >> 24)
        image.set_data(shares)
        return pixels, (found[pixels] & 0xFFFFFF).astype(np.int64)

    def _canvas_of_colours(self) -> npt.NDArray[np.uint32]:
        """The canvas itself, a number for the colour of each pixel."""
        return np.asarray(self.canvas.buffer_rgba()).reshape(-1).view("<u4")

    def with_counts(self, counts: npt.NDArray[np.int64]) -> Pixels:
        """The picture with counts, (C, C), in it.

        Most of them have been written into the same cell before. To write them again would take as long as all else.
        """
        if len(self._drawn) > MOST_PARTS:  # before it is asked what is known: that is not drawn
            self._drawn.clear()
        shown = self._shown(counts)
        unknown = [place for place, part in enumerate(shown) if part not in self._drawn]
        colours = self._canvas_of_colours()
        if unknown or not shown:
            self._draw(counts, unknown)
        else:
            colours[:] = self._frame
        for part, pixels in zip(shown, self._pixels_of_part, strict=bool(shown)):
            known = self._drawn.get(part)
            if known is None:
                self._drawn[part] = colours[pixels]
            else:
                colours[pixels] = known
        size = self.canvas.get_width_height()
        return np.asarray(Image.frombuffer("RGBA", size, self.canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB"))

    def _shown(self, counts: npt.NDArray[np.int64]) -> list[_Part]:
        """What decides how each cell looks, and the title; of more cells than can be numbered, nothing."""
        n = len(counts)
        if n > MAX_LABELLED_CLASSES:
            return []
        size, totals = size_of_counts(counts), np.repeat(counts.sum(axis=1), n).tolist()
        numbers = zip(counts.ravel().tolist(), totals, strict=True)
        cells = [(cell, count, total, size) for cell, (count, total) in enumerate(numbers)]
        return [*cells, (n * n, int(counts.trace()), int(counts.sum()), 0.0)]

    def _draw(self, counts: npt.NDArray[np.int64], unknown: Sequence[int]) -> None:
        """Those parts, and what lies over them; all where none is named."""
        n, canvas = len(counts), self._canvas_of_colours()
        numbered = np.isin(np.arange(n * n), unknown).reshape(n, n) if unknown else None
        show_counts(self.figure, counts, self.rows, numbered)
        self.canvas.restore_region(self._common)
        axes: Any = self.figure.axes[0]
        image = axes.images[0]
        colours = np.ascontiguousarray(image.to_rgba(image.get_array(), bytes=True)).reshape(-1).view("<u4")
        cells = [place for place in unknown if place < n * n] if unknown else range(n * n)
        for cell in cells:  # drawing the image would take as long as all else
            canvas[self._pixels_of_part[cell]] = colours[cell]
        boundaries = {place for cell in cells for place in _boundaries(cell, n)}
        lines = [line for place, line in enumerate(axes.lines) if place in boundaries]
        title = [axes.title] if not unknown or unknown[-1] == n * n else []
        for artist in (*lines, *axes.spines.values(), *axes.texts, *title):
            artist.draw(self.canvas.get_renderer())

    def _changing(self) -> list[Any]:
        """What shows the counts, and what lies over them, from the lowest to the highest."""
        axes = self.figure.axes[0]
        return [*axes.images, *axes.lines, *axes.spines.values(), *axes.texts, axes.title]


def _boundaries(cell: int, n: int) -> tuple[int, ...]:
    """The lines that may lie over a cell, where horizontal and vertical ones take turns; not all of them are there."""
    row, column = divmod(cell, n)
    return 2 * row - 2, 2 * row, 2 * column - 1, 2 * column + 1


@functools.lru_cache(maxsize=2)
def matrix_sheet(task: Task, rows: str, n_rows: int) -> MatrixSheet:
    """The sheet of a task; the last ones are kept."""
    return MatrixSheet(task, rows, n_rows)


def _fit(figure: "Figure") -> None:
    """Makes the sheet as large as what is drawn needs, and leaves all in its place there.

    The figure's own layout only estimates the room for long names.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    needed = figure.get_tightbbox().padded(PADDING)
    width, height = figure.get_size_inches()
    places = {axes: axes.get_position() for axes in figure.axes}
    figure.set_size_inches(needed.width, needed.height)
    for axes, place in places.items():
        inches = place.get_points() * (width, height) - (needed.x0, needed.y0)
        axes.set_position(Bbox(inches / (needed.width, needed.height)))
