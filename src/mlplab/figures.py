"""The pictures, as matplotlib figures. Nothing is shown on a screen and no global state is touched."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mlplab.errors import printable
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LABELLED_CLASSES = 30
"""With more classes, names and counts would overlap: the colours alone are drawn."""

MAX_POINTS = 5000
"""With twice as many rows or more, only every second, third, … one is drawn."""

DOTS_PER_INCH = 160


def confusion_matrix_figure(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> "Figure":
    """Rows of each true class by the class they were taken for; (N,), (N,) class indices."""
    counts = multiclass_confusion_matrix(predicted, targets, task.n_classes).numpy()
    figure = empty_matrix_figure(task)
    show_counts(figure, counts, rows)
    return figure


def empty_matrix_figure(task: Task) -> "Figure":
    """A confusion matrix before anything is known but the names of the classes."""
    from matplotlib.figure import Figure  # half a second to import, at the end of a run

    n = task.n_classes
    labelled = n <= MAX_LABELLED_CLASSES
    names = [_short(name) for name in task.class_names] if labelled else []
    side = _side(n)
    beside = 0.08 * max(map(len, names), default=3)  # inches that the names take, beside the matrix and below it
    figure = Figure(figsize=(side + beside + 1.6, side + beside + 0.9), dpi=DOTS_PER_INCH, layout="compressed")
    axes = figure.add_subplot()
    image = axes.imshow(
        np.zeros((n, n)), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", interpolation_stage="rgba"
    )
    # Inside the axes' own frame of reference it is exactly as high as the matrix.
    figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)), label="share of the true class")
    if labelled:
        turned = max(len(name) for name in names) > 3
        axes.set_xticks(range(n), names, rotation=45 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(n), names)
        axes.tick_params(length=0)
        for boundary in np.arange(0.5, n - 1):
            axes.axhline(boundary, color="white", linewidth=1)
            axes.axvline(boundary, color="white", linewidth=1)
    axes.set(xlabel=f"predicted {_short(task.target_name)}", ylabel=f"true {_short(task.target_name)}")
    return figure


def show_counts(
    figure: "Figure", counts: npt.NDArray[np.int64], rows: str, numbered: npt.NDArray[np.bool_] | None = None
) -> None:
    """Puts counts into a confusion matrix, in place of those that it shows.

    Args:
        figure: an empty one, or one with counts.
        counts: (C, C), true class by predicted class.
        rows: which rows these are, for the title.
        numbered: (C, C), in which cells the counts are to be written; by default in all where there are any.
    """
    axes, n = figure.axes[0], len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.images[0].set_data(shares)
    size = size_of_counts(counts)
    where = counts if numbered is None else counts * numbered
    cells = list(zip(*np.nonzero(where), strict=True)) if n <= MAX_LABELLED_CLASSES else []
    for text in axes.texts[len(cells) :]:
        text.remove()
    for _ in cells[len(axes.texts) :]:
        axes.text(0, 0, "", ha="center", va="center")
    for text, (row, column) in zip(axes.texts, cells, strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text.set(position=(column, row), text=str(counts[row, column]), color=colour, fontsize=size)
    accuracy = counts.trace() / max(counts.sum(), 1)
    axes.set_title(f"{_short(rows)}: {counts.trace()} of {_rows(counts.sum())} right ({accuracy:.1%})", fontsize=10)


def size_of_counts(counts: npt.NDArray[np.int64]) -> float:
    """Points that the numbers of a confusion matrix are high: all of the largest must fit into a cell."""
    n = len(counts)
    return float(min(10.0, 0.9 * 72 * _side(n) / n / (0.6 * len(str(counts.max())))))  # a digit is 0.6 of it wide


def _side(n_classes: int) -> float:
    """Inches of the matrix.

    TensorBoard shows pictures a few centimetres wide: the smaller the sheet, the larger what is written on it.
    """
    return min(max(2.4, 0.38 * n_classes), 10.0) if n_classes <= MAX_LABELLED_CLASSES else 4.5


def predicted_against_true_figure(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> "Figure":
    """A point for each row, in the target's own unit; (N,), (N,)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.4), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    every = max(1, len(targets) // MAX_POINTS)
    x, y = targets[::every].numpy(), predicted[::every].numpy()
    axes.scatter(x, y, s=18, alpha=min(0.7, max(0.15, 300 / max(1, len(x)))), edgecolors="none")
    values = np.concatenate([x, y])
    finite = values[np.isfinite(values)]
    if len(finite):
        ends = [float(finite.min()), float(finite.max())]
        axes.plot(ends, ends, color="black", linewidth=1, label="predicted = true")
        axes.legend(loc="upper left", frameon=False)
    rmse = float((predicted - targets).square().mean().sqrt())
    title = f"{_short(rows)}: RMSE {rmse:.4g}{f' {_short(task.unit)}' if task.unit else ''} over {_rows(len(targets))}"
    if every > 1:
        title += f"\none point for every {every} rows"
    if left_out := len(x) - int((np.isfinite(x) & np.isfinite(y)).sum()):
        title += f"\n{_rows(left_out)} not finite and not drawn"
    unit = f" [{_short(task.unit)}]" if task.unit else ""
    axes.set(xlabel=f"true {_short(task.target_name)}{unit}", ylabel=f"predicted {_short(task.target_name)}{unit}")
    axes.set_title(title, fontsize=10)
    axes.set_aspect("equal")
    return figure


def rate_range_figure(
    rates: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    smoothed: npt.NDArray[np.float64],
    suggestions: dict[str, float],
) -> "Figure":
    """The loss at each learning rate, (N,) each, with suggested rates as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#bbbbbb", linewidth=0.8, label="each batch")
    axes.plot(rates, smoothed, color="#4477aa", linewidth=2.0, label="smoothed")
    for (rule, rate), colour in zip(suggestions.items(), ("#ee6677", "#228833", "#ccbb44"), strict=False):
        axes.axvline(rate, color=colour, linestyle="--", linewidth=1.4, label=f"{rule}: {rate:.2g}")
    # What the loss becomes when it explodes would press all else flat.
    low, first = float(smoothed.min()), float(smoothed[0])
    margin = 0.4 * max(first - low, 0.1 * abs(first))
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(low - margin / 2, first + margin))
    axes.set_title("learning rate range test", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    return figure


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _short(text: str, limit: int = 24) -> str:
    """A name fit for a label: short, and with "$" as itself, which otherwise starts mathematics."""
    text = printable(text)
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return shortened.replace("$", r"\$")
