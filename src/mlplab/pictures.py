"""The figures as arrays of pixels, and as PNG."""

import functools
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mlplab.figures import (
    MAX_LABELLED_CLASSES,
    empty_matrix_figure,
    predicted_against_true_figure,
    show_counts,
    size_of_counts,
)
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


def result_picture(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> tuple[str, Pixels]:
    """The picture that fits the task, with its name.

    Args:
        predicted: probabilities (N, C), or values (N,).
        targets: class indices (N,), or values (N,), in the target's own unit.
        task: what was learned.
        rows: which rows these are, for the title.
    """
    if task.kind == "regression":
        return "predicted_against_true", pixels(predicted_against_true_figure(predicted, targets, task, rows))
    counts = multiclass_confusion_matrix(predicted.argmax(1), targets, task.n_classes).numpy()
    return "confusion_matrix", matrix_sheet(task, rows, len(targets)).with_counts(counts)


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
        self._cell = self._cell_of_pixels(task.n_classes)
        for artist in self._changing():
            artist.set_visible(False)
        self.canvas.draw()
        self._common = self.canvas.copy_from_bbox(self.figure.bbox)
        for artist in self._changing():
            artist.set_visible(True)
        pixels, cells = self._cell
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
        shown = self._shown(counts)
        self._draw(counts, [part in self._drawn for part in shown])
        colours = self._canvas_of_colours()
        if len(self._drawn) > MOST_PARTS:
            self._drawn.clear()
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

    def _draw(self, counts: npt.NDArray[np.int64], is_known: Sequence[bool]) -> None:
        """All but those parts that are known."""
        numbered = ~np.array(is_known[:-1]).reshape(counts.shape) if is_known else None
        show_counts(self.figure, counts, self.rows, numbered)
        self.canvas.restore_region(self._common)
        axes: Any = self.figure.axes[0]
        image = axes.images[0]
        colours = np.ascontiguousarray(image.to_rgba(image.get_array(), bytes=True)).reshape(-1).view("<u4")
        pixels, cells = self._cell
        self._canvas_of_colours()[pixels] = colours[cells]  # drawing the image would take as long as all else
        for artist in self._changing():
            if artist is not image and not (artist is axes.title and is_known and is_known[-1]):
                artist.draw(self.canvas.get_renderer())

    def _changing(self) -> list[Any]:
        """What shows the counts, and what lies over them, from the lowest to the highest."""
        axes = self.figure.axes[0]
        return [*axes.images, *axes.lines, *axes.spines.values(), *axes.texts, axes.title]


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


def pixels(figure: "Figure") -> Pixels:
    """A figure, as large as what is written on it needs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    is_drawn = (image != image[0, 0]).any(axis=2)
    edges = np.concatenate([is_drawn[0], is_drawn[-1], is_drawn[:, 0], is_drawn[:, -1]])
    if edges.any() or not is_drawn.any():  # the layout only estimates the room for long names
        buffer = BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight", pil_kwargs={"compress_level": 0})  # read at once
        return np.asarray(Image.open(buffer).convert("RGB"))
    (top, bottom), (left, right) = (np.flatnonzero(is_drawn.any(axis=axis))[[0, -1]] for axis in (1, 0))
    padding = round(PADDING * figure.dpi)
    padded = np.empty((bottom - top + 1 + 2 * padding, right - left + 1 + 2 * padding, 3), np.uint8)
    padded[:] = image[0, 0]
    padded[padding:-padding, padding:-padding] = image[top : bottom + 1, left : right + 1]
    return padded


def as_png(image: Pixels) -> bytes:
    """A picture as a file, in a quarter of the time that Pillow takes to try what compresses each line best.

    ISO/IEC 15948: each line is stored as its difference to the one above it, of which drawings have little.
    """
    height, width, _ = image.shape
    lines = image.reshape(height, 3 * width)
    stored = np.full((height, 1 + 3 * width), 2, np.uint8)  # each begins with how it is stored: 2 is "Up"
    stored[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=stored[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # bits of a colour, and that there are three
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(stored.data, 3)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
