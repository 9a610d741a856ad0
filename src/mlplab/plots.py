"""Draws figures with matplotlib, without a screen and without its global state."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mlplab.errors import counted, printable, rounded
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlplab.objectives.calibration import Reliability

MAX_LABELLED_CLASSES = 30
"""Maximum of classes with names and counts. With more they would overlap, so only colours are drawn."""

MAX_POINTS = 5000
"""Maximum of points, up to a factor of 2: of twice as many rows or more, every second, third, … one is drawn."""

MOST_FIGURES = 12
"""Maximum of figures for several targets, which have one each."""

DOTS_PER_INCH = 160


def result_figure(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> tuple[str, "Figure"]:
    """Draws the figure that fits the task; returns its name and the figure.

    Args:
        predicted: probabilities (N, C), or values (N,).
        targets: class indices (N,), or values (N,), in the target's own unit.
        task: what was learned.
        rows: name of these rows, for the title.
    """
    if task.kind == "regression":
        return "predicted_against_true", predicted_against_true_figure(predicted, targets, task, rows)
    return "confusion_matrix", confusion_matrix_figure(predicted.argmax(1), targets, task, rows)


def result_figures(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> dict[str, "Figure"]:
    """Draws the figure of the target, or one for each of several (the first `MOST_FIGURES`); returns them by name.

    Args:
        predicted: as for `result_figure`; of several targets, values or probabilities that labels are true, (N, T).
        targets: likewise, (N, T).
        task: what was learned.
        rows: name of these rows, for the titles.
    """
    if not task.target_names:
        return dict([result_figure(predicted, targets, task, rows)])
    figures = {}
    for place, one in enumerate(task.of_each_target()[:MOST_FIGURES]):
        of_one, true = predicted[:, place], targets[:, place]
        if task.kind == "multilabel":
            of_one, true = torch.stack([1 - of_one, of_one], dim=1), true.long()
        name, figure = result_figure(of_one, true, one, rows)
        # The number keeps apart names that become equal in a file name.
        figures[f"{name}_{place + 1}_{re.sub(r'[^a-zA-Z0-9.-]+', '_', one.target_name)[:40]}"] = figure
    return figures


def as_png(figure: "Figure") -> bytes:
    """Encodes a figure as PNG. The size is fitted to all text, as matplotlib's layouts underestimate long names."""
    buffer = BytesIO()
    with without_glyph_warnings():
        figure.savefig(buffer, format="png", bbox_inches="tight", pil_kwargs={"compress_level": 1})  # the quickest
    return buffer.getvalue()


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Silences warnings of characters that matplotlib's font lacks; each is drawn as a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def confusion_matrix_figure(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> "Figure":
    """Draws the number of rows for each true and predicted class; (N,), (N,) class indices."""
    from matplotlib.figure import Figure  # half a second to import, at the end of a run

    counts = multiclass_confusion_matrix(predicted, targets, task.n_classes, validate_args=False).numpy()
    # A class may have no row in this part.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = task.n_classes
    is_labelled = n <= MAX_LABELLED_CLASSES
    names = [short_name(name) for name in task.class_names] if is_labelled else []
    # TensorBoard shows images a few centimetres wide: the smaller the figure, the larger its text.
    side = min(max(2.4, 0.38 * n), 10.0) if is_labelled else 4.5
    beside = 0.08 * max(map(len, names), default=3)  # inches for the names beside and below the matrix
    figure = Figure(figsize=(side + beside + 1.6, side + beside + 0.9), dpi=DOTS_PER_INCH, layout="compressed")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", interpolation_stage="rgba")
    # In axes coordinates the colour bar is exactly as high as the matrix.
    figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)), label="share of the true class")
    if is_labelled:
        is_turned = max(len(name) for name in names) > 3
        axes.set_xticks(range(n), names, rotation=45 if is_turned else 0, ha="right" if is_turned else "center")
        axes.set_yticks(range(n), names)
        axes.tick_params(length=0)
        for boundary in np.arange(0.5, n - 1):
            axes.axhline(boundary, color="white", linewidth=1)
            axes.axvline(boundary, color="white", linewidth=1)
        # The largest number fits into its cell: a digit is 0.6 of its height wide.
        points = min(10.0, 0.9 * 72 * side / n / (0.6 * len(str(counts.max()))))
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=points)
    axes.set(xlabel=f"predicted {short_name(task.target_name)}", ylabel=f"true {short_name(task.target_name)}")
    n_right, n_rows = int(counts.trace()), int(counts.sum())
    right = f"{n_right:,} of {counted(n_rows, 'row')} right ({n_right / max(n_rows, 1):.1%})"
    axes.set_title(f"{short_name(rows)}: {right}", fontsize=10)
    return figure


def predicted_against_true_figure(predicted: Tensor, targets: Tensor, task: Task, rows: str = "test part") -> "Figure":
    """Draws predicted against true values, a point for each row, in the target's unit; (N,), (N,)."""
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
    # Over all rows, also those that are not drawn.
    rmse = float((predicted - targets).square().mean().sqrt())
    unit = f" {short_name(str(task.unit))}" if task.unit else ""
    title = f"{short_name(rows)}: RMSE {rounded(rmse)}{unit} over {counted(len(targets), 'row')}"
    if every > 1:
        title += f"\none point for every {every} rows"
    if left_out := len(x) - int((np.isfinite(x) & np.isfinite(y)).sum()):
        title += f"\n{counted(left_out, 'row')} not finite and not drawn"
    unit = f" [{short_name(str(task.unit))}]" if task.unit else ""
    axes.set(
        xlabel=f"true {short_name(task.target_name)}{unit}", ylabel=f"predicted {short_name(task.target_name)}{unit}"
    )
    axes.set_title(title, fontsize=10)
    axes.set_aspect("equal")
    return figure


def reliability_figure(before: "Reliability", after: "Reliability | None", title: str, temperature: float) -> "Figure":
    """Draws how often predicted classes are right, against their predicted probability.

    Args:
        before: of the network's own probabilities.
        after: of those divided by the temperature, where there is one.
        title: of the figure.
        temperature: for the legend.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 5.6), dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot((0, 1), (0, 1), color="black", linewidth=1, label="right as often as claimed")
    drawn = [(before, f"as trained: calibration error {before.error:.3f}", "#ee6677", "o")]
    if after is not None:
        label = f"with temperature {temperature:.2f}: calibration error {after.error:.3f}"
        drawn.append((after, label, "#4477aa", "s"))
    n_bins = len(before.n_rows)
    edges = np.linspace(0, 1, n_bins + 1)
    for one, label, colour, marker in drawn:
        n_rows, has_rows = one.n_rows.numpy(), one.n_rows.numpy() > 0
        x, y = one.confidence.numpy()[has_rows], one.accuracy.numpy()[has_rows]
        above.plot(x, y, color=colour, linewidth=1, alpha=0.6, clip_on=False)
        # The share of a few rows is mostly chance, so their point is small.
        size = 8 + 72 * n_rows[has_rows] / n_rows.max()
        above.scatter(x, y, size, color=colour, marker=marker, label=label, clip_on=False, zorder=3)
        below.stairs(n_rows, edges, color=colour, linewidth=1.4)
        below.stairs(n_rows, edges, color=colour, fill=True, alpha=0.2)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of rows that are right")
    # Logarithmic, as a good network puts nearly all rows into the last bin.
    below.set(xlabel=f"probability of the predicted class, in {n_bins} bins", ylabel="rows", yscale="log")
    below.set_ylim(bottom=0.7)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    legend = figure.legend(title=title, title_fontsize=10, loc="outside upper center", frameon=False, fontsize=9)
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([30])  # type: ignore[union-attr]  # not that of the first point
    return figure


def rate_range_figure(
    rates: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    smoothed: npt.NDArray[np.float64],
    suggestions: dict[str, float],
) -> "Figure":
    """Draws the loss at each learning rate, (N,) each, and the suggested rates as vertical lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#bbbbbb", linewidth=0.8, label="each batch")
    axes.plot(rates, smoothed, color="#4477aa", linewidth=2.0, label="smoothed")
    for (rule, rate), colour in zip(suggestions.items(), ("#ee6677", "#228833", "#ccbb44"), strict=False):
        axes.axvline(rate, color=colour, linestyle="--", linewidth=1.4, label=f"{rule}: {rate:.2g}")
    # The huge losses after an explosion would flatten the rest of the curve.
    low, first = float(smoothed.min()), float(smoothed[0])
    margin = 0.4 * max(first - low, 0.1 * abs(first))
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(low - margin / 2, first + margin))
    axes.set_title("learning rate range test", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    return figure


def short_name(text: str, limit: int = 24) -> str:
    """Shortens a name for a label, and escapes "$", which would start mathematics."""
    text = printable(text)
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return shortened.replace("$", r"\$")


def log_picture(loggers: Sequence[Logger], name: str, png: bytes, step: int) -> None:
    """Logs an image to TensorBoard, if it is among the loggers.

    Args:
        loggers: of the run.
        name: of the image.
        png: content of the PNG file.
        step: updates done.
    """
    width, height = Image.open(BytesIO(png)).size
    picture = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            summary = Summary(value=[Summary.Value(tag=name, image=picture)])
            logger.experiment._get_file_writer().add_summary(summary, step)
