"""Pictures of the function that a network computes over one or two inputs, with the data that it learns from.

Legend: D inputs (1 or 2), G points along each of them, C classes. Values are (C, G) or (C, G, G) probabilities, where
the last axis is the first input; or (1, G) or (1, G, G) values in the target's unit.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from mlplab.figures.palette import COLOURS, INK, diverging, mix, style
from mlplab.plots import DOTS_PER_INCH, short_name
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

MOST_POINTS = 500
"""Rows that are drawn; of more, every second, third, … one of each part."""

MOST_CLASSES = len(COLOURS)
"""Classes with a colour of their own."""

BANDS = 5
"""Shades of a class: with few of them one sees how steep the function is, and the file of the animation is small."""

SIZES = {"train": 22, "val": 17}
"""Areas of the points, in square points."""

PART_NAMES = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class InputGrid:
    """The points at which a function is drawn, and the data.

    Attributes:
        names: of the D inputs.
        axes: (G,) for each input, in the unit of the data.
        task: what is learned.
        points: part → inputs (n, D) and targets (n,), in the unit of the data.
        truth: (G,) or (G, G), the function without noise; None where it is not known.
    """

    names: tuple[str, ...]
    axes: tuple[Array, ...]
    task: Task
    points: Mapping[str, tuple[Array, Array]]
    truth: Array | None = None


class FunctionPicture(ABC):
    """One figure, drawn again with the values of each moment, as drawing all of it anew would take long.

    Args:
        grid: where the function is known, and the data.

    Attributes:
        figure: as it was drawn last.
    """

    figure: "Figure"

    def __init__(self, grid: InputGrid) -> None:
        from matplotlib.figure import Figure

        self.grid = grid
        self.figure = Figure(figsize=(4.6, 4.9 if len(grid.axes) == 2 else 3.9), dpi=DOTS_PER_INCH)
        self.figure.set_layout_engine("constrained")
        self.axes: Axes = self.figure.add_subplot()
        self._drawn: list[Any] = []
        self._prepare()
        self._name_axes()

    def draw(self, values: Array, title: str) -> None:
        """Draws the values of one moment, in the place of those before."""
        for artist in self._drawn:
            artist.remove()
        self._drawn = self._draw(values)
        self.axes.set_title(title, fontsize=10, loc="left")
        if self.figure.get_layout_engine() is not None:
            # Once is enough, and is a third of the time that drawing takes.
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    @abstractmethod
    def _prepare(self) -> None:
        """Draws what does not change."""

    @abstractmethod
    def _draw(self, values: Array) -> list[Any]:
        """Draws the values; returns the artists to remove."""

    def _rows(self, part: str) -> tuple[Array, Array]:
        """Returns inputs (n, D) and targets (n,) of the rows of a part that are drawn."""
        inputs, targets = self.grid.points[part]
        every = max(1, sum(len(known) for _, known in self.grid.points.values()) // MOST_POINTS)
        return inputs[::every], targets[::every]

    def _name_axes(self) -> None:
        names = [short_name(name, 30) for name in self.grid.names]
        self.axes.set_xlabel(names[0])
        if len(names) == 2:
            self.axes.set_ylabel(names[1])

    def _legend(self, handles: list[Any]) -> None:
        self.figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=3,
            frameon=False,
            fontsize=8,
            columnspacing=1.2,
            handletextpad=0.4,
        )


class BoundaryPicture(FunctionPicture):
    """The most probable class of each point of the plane: its colour is paler where it is less probable."""

    def _prepare(self) -> None:
        from matplotlib.lines import Line2D

        x, y = self.grid.axes
        self._extent = (x[0], x[-1], y[0], y[-1])
        self.axes.set(xlim=self._extent[:2], ylim=self._extent[2:])
        names, handles = self.grid.task.class_names, []
        for number, name in enumerate(names[:MOST_CLASSES]):
            handles.append(_dot(COLOURS[number], "o", short_name(name)))
        for part, marker, edge in (("train", "o", "white"), ("val", "D", INK)):
            inputs, targets = self._rows(part)
            for number in np.unique(targets).astype(int):
                place = inputs[targets == number]
                colour = COLOURS[number % MOST_CLASSES]
                self.axes.scatter(
                    place[:, 0],
                    place[:, 1],
                    SIZES[part],
                    color=colour,
                    marker=marker,
                    edgecolors=edge,
                    linewidths=0.7,
                    zorder=3,
                )
            handles.append(_dot("#999999", marker, f"{PART_NAMES[part]} row", edge))
        handles.append(Line2D([], [], color=INK, linewidth=1.4, label="decision boundary"))
        self._legend(handles)

    def _draw(self, values: Array) -> list[Any]:
        image = self.axes.imshow(
            boundary_colours(_finer(values)), extent=self._extent, origin="lower", aspect="auto", interpolation="none"
        )
        # How far each class leads; of two classes one line is both. A class that leads nowhere has no line.
        between = [lead for lead in leads(values)[: None if len(values) > 2 else 1] if lead.min() < 0 < lead.max()]
        lines = [self.axes.contour(*self.grid.axes, lead, levels=[0], colors=INK, linewidths=1.4) for lead in between]
        return [image, *lines]


class SurfacePicture(FunctionPicture):
    """The predicted number at each point of the plane; rows have the colour of their true value."""

    def _prepare(self) -> None:
        from matplotlib.colors import Normalize

        task, (x, y) = self.grid.task, self.grid.axes
        self._extent = (x[0], x[-1], y[0], y[-1])
        self.axes.set(xlim=self._extent[:2], ylim=self._extent[2:])
        known = np.concatenate([targets for _, targets in self.grid.points.values()])
        self._norm, self._map = Normalize(float(known.min()), float(known.max())), diverging()
        handles = []
        for part, marker, edge in (("train", "o", "white"), ("val", "D", INK)):
            inputs, targets = self._rows(part)
            dots = self.axes.scatter(
                inputs[:, 0], inputs[:, 1], SIZES[part], c=targets, cmap=self._map, norm=self._norm, marker=marker,
                edgecolors=edge, linewidths=0.7, zorder=3,
            )  # fmt: skip
            handles.append(_dot("#999999", marker, f"{PART_NAMES[part]} row", edge))
        self.figure.colorbar(dots, ax=self.axes, label=_with_unit(task), shrink=0.9)
        self._legend(handles)

    def _draw(self, values: Array) -> list[Any]:
        # As many shades as on the plane of classes.
        low, high = self._norm.vmin or 0.0, self._norm.vmax or 1.0
        step = max(high - low, 1e-12) / (4 * BANDS)
        banded = low + (np.floor((_finer(values)[0] - low) / step) + 0.5) * step
        return [
            self.axes.imshow(
                banded, extent=self._extent, origin="lower", aspect="auto", interpolation="none", cmap=self._map,
                norm=self._norm,
            )
        ]  # fmt: skip


class CurvePicture(FunctionPicture):
    """The prediction over one input: a number, or the probability of each class."""

    def _prepare(self) -> None:
        task, (x,) = self.grid.task, self.grid.axes
        self.axes.set_xlim(x[0], x[-1])
        style(self.axes)
        handles: list[Any] = []
        targets = np.concatenate([targets for _, targets in self.grid.points.values()])
        for part, marker, face in (("train", "o", "#9a9a9a"), ("val", "D", "white")):
            inputs, known = self._rows(part)
            if task.kind == "regression":
                self.axes.scatter(
                    inputs[:, 0], known, 13, color=face, marker=marker, edgecolors="#777777", linewidths=0.7, zorder=2
                )
            else:  # a row of its class has probability 1 of it; the classes are ticks above the curves
                height = 1.06 + 0.05 * known
                colours = [COLOURS[int(number) % MOST_CLASSES] for number in known]
                edge = "white" if part == "train" else INK
                self.axes.scatter(
                    inputs[:, 0], height, 13, c=colours, marker=marker, edgecolors=edge, linewidths=0.5, clip_on=False
                )
            handles.append(_dot(face if task.kind == "regression" else "#999999", marker, f"{PART_NAMES[part]} row",
                                "#777777"))  # fmt: skip
        if task.kind == "regression":
            spread = float(targets.max() - targets.min()) or 1.0
            # Fixed, so that the curve moves and not the axis.
            self.axes.set_ylim(float(targets.min()) - 0.15 * spread, float(targets.max()) + 0.15 * spread)
            self.axes.set_ylabel(_with_unit(task))
            if self.grid.truth is not None:
                handles += self.axes.plot(
                    x, self.grid.truth, color=INK, linewidth=1.2, linestyle="--", label="without noise", zorder=3
                )
            handles.append(_line(COLOURS[1], "prediction"))
        else:
            self.axes.set_ylim(-0.03, 1.12 + 0.05 * len(task.class_names))
            self.axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            self.axes.set_ylabel(f"probability of each {short_name(task.target_name)}")
            for number, name in enumerate(task.class_names[:MOST_CLASSES]):
                handles.append(_line(COLOURS[number], short_name(name)))
        self._legend(handles)

    def _draw(self, values: Array) -> list[Any]:
        (x,) = self.grid.axes
        is_regression = self.grid.task.kind == "regression"
        colours = [COLOURS[1]] if is_regression else [COLOURS[n % MOST_CLASSES] for n in range(len(values))]
        return [
            self.axes.plot(x, of_one, color=colour, linewidth=2.2, zorder=4)[0]
            for of_one, colour in zip(values, colours, strict=True)
        ]


def function_picture(grid: InputGrid) -> FunctionPicture:
    """Prepares the picture that fits inputs and task."""
    if len(grid.axes) == 1:
        return CurvePicture(grid)
    return SurfacePicture(grid) if grid.task.kind == "regression" else BoundaryPicture(grid)


def boundary_colours(probabilities: Array) -> Array:
    """Returns the colour of each point: that of its most probable class, white where no class leads: (C, …) -> (…, 3).

    With C classes a probability of 1/C is white.
    """
    from matplotlib.colors import to_rgb

    n = len(probabilities)
    # NaN, of a network that diverged, has no class.
    best = np.argmax(np.nan_to_num(probabilities, nan=-1.0), axis=0)
    colours = np.array([to_rgb(COLOURS[number % MOST_CLASSES]) for number in range(n)])[best]
    share = (np.take_along_axis(probabilities, best[None], axis=0)[0] - 1 / n) / (1 - 1 / n)
    banded = np.ceil(np.clip(np.nan_to_num(share), 0, 1) * BANDS) / BANDS
    # At most half of a colour, on which rows of the same class can be seen.
    return mix(colours, 1 - 0.5 * banded[..., None])


def leads(probabilities: Array) -> Array:
    """Returns by how much each class is more probable than the best of all others: (C, …) -> (C, …)."""
    ordered = np.sort(probabilities, axis=0)
    best, second = ordered[-1], ordered[-2]
    found: Array = probabilities - np.where(probabilities == best, second, best)
    return found


def _finer(values: Array, factor: int = 3) -> Array:
    """Interpolates a plane, so that bands of colours have smooth borders: (C, G, G) -> (C, factor·G, factor·G)."""
    finer = interpolate(torch.from_numpy(values)[None], scale_factor=factor, mode="bilinear", align_corners=True)
    found: Array = finer[0].numpy()
    return found


def _with_unit(task: Task) -> str:
    unit = f" [{short_name(str(task.unit))}]" if task.unit else ""
    return f"{short_name(task.target_name, 30)}{unit}"


def _dot(colour: str, marker: str, label: str, edge: str = "white") -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=colour, marker=marker, markersize=5.5, markeredgecolor=edge, markeredgewidth=0.8, linestyle="",
        label=label,
    )  # fmt: skip


def _line(colour: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=2.2, label=label)
