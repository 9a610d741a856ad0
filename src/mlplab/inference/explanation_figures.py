"""Draws the results of `mlplab.inference.feature_effects`."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.errors import counted, rounded
from mlplab.figures.palette import COLOURS, style
from mlplab.plots import DOTS_PER_INCH, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlplab.inference.feature_effects import Dependence, Explanation

MOST_CLASSES = len(COLOURS)
"""Maximum of classes to draw, unless more are named."""

MOST_BARS = 30
"""Maximum of columns whose importance is drawn; the table lists all."""

FEW_TICKS = 4
"""Maximum of a number's values with a tick each."""

FEW_VALUES = 12
"""Maximum of a number's values with a point each on the curve."""


def importance_figure(explanation: "Explanation") -> "Figure":
    """Draws a bar for each column, longest at the top, with the standard deviation over permutations."""
    from matplotlib.figure import Figure

    task = explanation.task
    bars = explanation.importances[:MOST_BARS]
    figure = Figure(figsize=(6.4, 1.3 + 0.27 * len(bars)), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(bars))
    axes.barh(places, [one.mean for one in bars], 0.62, color=COLOURS[0])
    axes.errorbar(
        [one.mean for one in bars], places, xerr=[one.std for one in bars], fmt="none", ecolor="#222222", elinewidth=1.1
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [short_name(one.column, 40) for one in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    unit = short_name(str(task.unit)) if task.unit and explanation.score in ("rmse", "mae") else ""
    spread = f", mean ± std of {explanation.repeats}" if explanation.repeats > 1 else ""
    axes.set_xlabel(
        f"{explanation.change} of {explanation.score}{f' [{unit}]' if unit else ''} when the column is permuted{spread}"
    )
    style(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    title = f"{short_name(explanation.rows, 40)}, {counted(explanation.n_rows, 'row')}: "
    title += f"{explanation.score} {rounded(explanation.base)} {unit}".rstrip()
    if len(bars) < len(explanation.importances):
        title += f"\nthe {len(bars)} most important of {len(explanation.importances):,} columns"
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def dependence_figure(explanation: "Explanation") -> "Figure":
    """Draws a panel for each input, on a common scale, so that large effects look large."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    task = explanation.task
    panels = explanation.dependences
    n_columns = min(len(panels), 3)
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(3.1 * n_columns + 0.7, 2.7 * n_rows + 0.6), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    colours = {number: COLOURS[place % len(COLOURS)] for place, number in enumerate(explanation.classes)}
    for axes, one in zip(grid.flat, panels, strict=False):
        _draw(axes, one, colours)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    low, high = (float(end) for end in grid[0, 0].get_ylim())
    # Leaves room below the curves for the distribution of the data.
    grid[0, 0].set_yticks([tick for tick in grid[0, 0].get_yticks() if low <= tick <= high])
    grid[0, 0].set_ylim(low - 0.2 * (high - low), high)
    classes = [task.class_names[number] for number in explanation.classes] if task.class_names else []
    title = f"{short_name(explanation.rows, 40)}, {counted(explanation.n_rows, 'row')}"
    unit = f" [{short_name(str(task.unit))}]" if task.unit else ""
    what = f"mean prediction of {short_name(task.target_name, 40)}{unit}"
    if len(classes) == 1:
        what = f"mean probability of {short_name(task.target_name)} = {short_name(classes[0])}"
    elif classes:
        what = f"mean probability of each {short_name(task.target_name, 40)}"
    figure.supylabel(what, fontsize=10)
    entries: list[Any] = []
    if len(classes) > 1:
        entries = [
            Line2D([], [], color=colours[number], linewidth=2, label=short_name(name, 30))
            for number, name in zip(explanation.classes, classes, strict=True)
        ]
    if any(not one.categories and np.isnan(one.values[-1]) for one in panels):
        entries.append(Line2D([], [], color="#555555", linestyle=":", label="value is missing"))
    if entries:
        most = max(len(str(entry.get_label())) for entry in entries)
        # As many side by side as fit the width.
        beside = max(1, min(len(entries), int(11 * figure.get_figwidth() / (most + 5))))
        figure.legend(
            handles=entries, loc="outside upper center", ncols=beside, frameon=False, fontsize=9, title=title,
            title_fontsize=10,
        )  # fmt: skip
    else:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw(axes: "Axes", one: "Dependence", colours: dict[int, str]) -> None:
    """Draws the curves of one input, and the frequencies of its values."""
    from matplotlib.ticker import MaxNLocator

    is_numeric = not one.categories
    known = ~np.isnan(one.values)
    x = one.values[known] if is_numeric else np.arange(len(one.categories))
    marker = "o" if len(x) <= FEW_VALUES else ""
    for number, colour in colours.items():
        y = one.predicted[:, number]
        axes.plot(
            x,
            y[known],
            color=colour,
            linewidth=1.8 if is_numeric else 0,
            marker=marker,
            markersize=4 + 2 * (not is_numeric),
        )
        if not known.all():
            axes.axhline(float(y[-1]), color=colour, linestyle=":", linewidth=1.2)
    counts = axes.twinx()
    if is_numeric:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=bool((x % 1 == 0).all())))
        within = one.data[(one.data >= min(x, default=0)) & (one.data <= max(x, default=0))]
        if len(x) > 1 and np.isin(within, x).all():  # a bar at each value, and none between them
            heights = np.array([(within == value).sum() for value in x])
            width = (0.3 if marker else 0.8) * float(np.diff(x).min())
            counts.bar(x, heights, width, color="#999999", alpha=0.45, linewidth=0)
            if len(x) <= FEW_TICKS:
                axes.set_xticks(x, [rounded(float(value)) for value in x])
        else:
            heights, edges = np.histogram(within, bins=30)
            counts.stairs(heights, edges, fill=True, color="#999999", alpha=0.45, linewidth=0)
    else:
        heights = one.data
        counts.bar(x, heights, 0.6, color="#999999", alpha=0.45, linewidth=0)
        labels = ["(missing)" if category is None else short_name(category, 16) for category in one.categories]
        is_turned = sum(map(len, labels)) > 22
        axes.set_xticks(x, labels, rotation=40 if is_turned else 0, ha="right" if is_turned else "center")
        axes.set_xlim(-0.6, len(x) - 0.4)
    counts.set_ylim(0, max(1, *heights) * 6)
    counts.set_axis_off()
    axes.set_zorder(counts.get_zorder() + 1)
    axes.patch.set_visible(False)
    shown = f" ({len(one.categories)} of {one.n_categories})" if len(one.categories) < one.n_categories else ""
    axes.set_xlabel(short_name(one.name, 34 - len(shown)) + shown)
    style(axes)
