"""The figures as arrays of pixels, and as PNG."""

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mlplab.figures import predicted_against_true_figure
from mlplab.matrix_sheet import PADDING, Pixels, matrix_sheet
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    counts = multiclass_confusion_matrix(predicted.argmax(1), targets, task.n_classes, validate_args=False).numpy()
    return "confusion_matrix", matrix_sheet(task, rows, len(targets)).with_counts(counts)


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
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(stored.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
