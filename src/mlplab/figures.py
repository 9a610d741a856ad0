"""The pictures, as matplotlib figures. Nothing is shown on a screen and no global state is touched."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LABELLED_CLASSES = 30
"""With more classes, names and counts would overlap: the colours alone are drawn."""


def confusion_matrix_figure(predicted: Tensor, targets: Tensor, task: Task) -> "Figure":
    """Rows of each true class by the class they were taken for; (N,), (N,) class indices."""
    from matplotlib.figure import Figure  # half a second to import, at the end of a run

    counts = multiclass_confusion_matrix(predicted, targets, task.n_classes).numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = task.n_classes
    labelled = n <= MAX_LABELLED_CLASSES
    side = min(max(4.0, 0.55 * n + 1.5), 14.0) if labelled else 8.0
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    if labelled:
        # A class name is data: "$" would start mathematics in a label.
        names = [_short(name) for name in task.class_names]
        turned = max(len(name) for name in names) > 3
        axes.set_xticks(range(n), names, rotation=45 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(n), names)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    accuracy = counts.trace() / max(counts.sum(), 1)
    axes.set(xlabel=f"predicted {_short(task.target_name)}", ylabel=f"true {_short(task.target_name)}")
    axes.set_title(f"test part: {counts.trace()} of {counts.sum()} rows right ({accuracy:.1%})")
    return figure


def predicted_against_true_figure(predicted: Tensor, targets: Tensor, task: Task) -> "Figure":
    """A point for each row, in the target's own unit; (N,), (N,)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    shown = slice(None, None, max(1, len(targets) // 5000))
    x, y = targets[shown].numpy(), predicted[shown].numpy()
    axes.scatter(x, y, s=12, alpha=min(1.0, max(0.15, 300 / max(1, len(x)))), edgecolors="none")
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axes.plot([low, high], [low, high], color="black", linewidth=1, label="predicted = true")
    axes.legend(loc="upper left", frameon=False)
    unit = f" [{_short(task.unit)}]" if task.unit else ""
    rmse = float((predicted - targets).square().mean().sqrt())
    axes.set(xlabel=f"true {_short(task.target_name)}{unit}", ylabel=f"predicted {_short(task.target_name)}{unit}")
    axes.set_title(f"test part: RMSE {rmse:.4g}{unit} over {len(targets)} rows")
    axes.set_aspect("equal")
    return figure


def pixels(figure: "Figure") -> Any:
    """The figure as an array (height, width, 3) of uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def _short(text: str, limit: int = 24) -> str:
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return shortened.replace("$", r"\$")
