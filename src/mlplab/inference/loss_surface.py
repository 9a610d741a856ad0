"""Computes the loss around a run's weights, or between those of two runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from mlplab.errors import UserError, counted, rounded
from mlplab.figures.surface_figures import PART_NAMES, line_figure, plane_figure
from mlplab.inference.evaluating import objective_of
from mlplab.inference.output_files import new_directory
from mlplab.inference.trained import BATCH_ROWS, TrainedRun
from mlplab.inference.training_rows import rows_of_training
from mlplab.plots import as_png
from mlplab.runs.files import write_bytes

Array = npt.NDArray[np.float64]

BEYOND = 0.25
"""Extension of the line beyond each run, as a share of the distance between them."""

Loss = Callable[[Mapping[str, Tensor]], float]


@dataclass
class LossSurface:
    """Losses at points around a run, or on the line between two.

    Attributes:
        positions: (P,) along each direction; between two runs 0 is the first one and 1 the second.
        losses: part → (P, P), rows along the second direction, for one run; (P,) for two.
        at_runs: part → the loss of the run, or of both.
        notes: remarks on how to read it.
    """

    positions: Array
    losses: dict[str, Array]
    at_runs: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)

    @property
    def is_plane(self) -> bool:
        return next(iter(self.losses.values())).ndim == 2


def loss_around(run: TrainedRun, part: str, *, most_rows: int, n_points: int, reach: float, seed: int) -> LossSurface:
    """Computes the loss on a plane through the trained weights w: w + a·d₁ + b·d₂, with a and b in [−reach, reach].

    The directions are random and filter-normalised (Li et al. 2018, "Visualizing the loss landscape of neural nets",
    section 4): the weights that a unit sees are as long in a direction as in w. Biases and the parameters of
    normalisation stay as they are, as in the code of that paper.

    Args:
        run: its best state.
        part: of its data, train, val or test.
        most_rows: maximum of rows; of more, an evenly spaced sample.
        n_points: P.
        reach: extent; 1 moves by the length of the weights.
        seed: of the directions.

    Raises:
        UserError: as `data_of_training`.
    """
    model, notes = run.predictor.model, _notes(run)
    loss = _loss_on(run, part, most_rows, notes)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    first, second = (filter_normalized(weights, generator) for _ in range(2))
    # With an odd number of points, the trained weights are in the middle.
    positions = np.linspace(-reach, reach, n_points)
    losses = np.empty((n_points, n_points))
    for row, b in enumerate(positions):
        for column, a in enumerate(positions):
            losses[row, column] = loss({n: w + a * first[n] + b * second[n] for n, w in weights.items()})
    return LossSurface(positions, {part: losses}, {part: [loss(weights)]}, notes)


def loss_between(run: TrainedRun, other: TrainedRun, *, most_rows: int, n_points: int) -> LossSurface:
    """Computes the loss of training and validation part along the line between two runs (Goodfellow et al. 2015).

    The weights are (1 − t)·w₁ + t·w₂; running statistics of normalisation likewise.

    Args:
        run: its best state, at t = 0.
        other: at t = 1.
        most_rows: maximum of rows of each part; of more, an evenly spaced sample.
        n_points: P, for t from −`BEYOND` to 1 + `BEYOND`.

    Raises:
        UserError: the runs differ in data or in the shapes of weights; or as `data_of_training`.
    """
    require_alike(run, other)
    notes = _notes(run)
    ends = [_floating(one.predictor.model) for one in (run, other)]
    positions = np.linspace(-BEYOND, 1 + BEYOND, n_points)
    surface = LossSurface(positions, {}, {}, notes)
    for part in ("train", "val"):
        loss = _loss_on(run, part, most_rows, notes)
        along = [loss({n: torch.lerp(w, ends[1][n], t) for n, w in ends[0].items()}) for t in positions.tolist()]
        surface.losses[part] = np.array(along)
        surface.at_runs[part] = [loss(end) for end in ends]
    return surface


def require_alike(run: TrainedRun, other: TrainedRun) -> None:
    """Refuses two runs whose weights cannot be interpolated.

    Raises:
        UserError: they differ in data, split or shapes of weights.
    """
    for what, hint in (
        ("fingerprint", "the same data"),
        ("split", "the same split: data.split_seed, fractions, folds"),
    ):
        if _of_data(run, what) != _of_data(other, what):
            raise UserError(
                f"two runs must have {hint.partition(':')[0]}, as their inputs are scaled by it",
                f"{run.directory.name} and {other.directory.name} differ in it", f"runs with {hint}",
            )  # fmt: skip
    shapes = [
        {name: tuple(value.shape) for name, value in _floating(one.predictor.model).items()} for one in (run, other)
    ]
    if shapes[0] != shapes[1] or run.card["loss"]["name"] != other.card["loss"]["name"]:
        raise UserError(
            "two runs must have the same network and the same loss",
            f"those of {run.directory.name} and {other.directory.name} differ",
            "runs that differ in their seed, optimizer or regularization",
        )


def filter_normalized(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Draws a direction with rows as long as those of the weights; 0 for biases and other vectors."""
    direction = {}
    for name, weight in weights.items():
        # Drawn for all parameters, on the CPU, so that directions depend on shapes and seed alone.
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.ndim < 2:
            direction[name] = torch.zeros_like(weight)
        else:  # the last dimension is a unit's inputs
            direction[name] = drawn * weight.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    return direction


def _of_data(run: TrainedRun, what: str) -> object:
    split = run.card["data"].get(what)
    # The batch size does not matter here.
    return {n: v for n, v in split.items() if n != "batch_size"} if isinstance(split, dict) else split


def _floating(model: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and floating-point buffers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: value.detach().clone() for name, value in named if value.is_floating_point()}


def _notes(run: TrainedRun) -> list[str]:
    has_statistics = any(isinstance(one, nn.BatchNorm1d) for one in run.predictor.model.modules())
    return (
        ["batch normalisation keeps its running statistics, and does not measure them anew"] if has_statistics else []
    )


def _loss_on(run: TrainedRun, part: str, most_rows: int, notes: list[str]) -> Loss:
    """Returns a function that computes a part's mean loss from named parameters and buffers."""
    model, objective = run.predictor.model, objective_of(run)
    features, targets, weights = [], [], []
    for inputs, known, of_rows in rows_of_training(run, part):
        features.append(run.predictor.preprocessing(*inputs))
        targets.append(run.scaled_targets(known))
        weights += [] if of_rows is None else [torch.from_numpy(of_rows).float()]
    everything = [torch.cat(blocks) for blocks in (features, targets, weights) if blocks]
    n_rows = len(everything[0])
    if n_rows > most_rows:
        notes.append(f"{part}: {counted(most_rows, 'row')} of {n_rows:,}, evenly spaced")
        places = torch.linspace(0, n_rows - 1, most_rows).round().long()
        everything = [tensor[places] for tensor in everything]
    if weights:  # of mean 1, as in training
        everything[2] = everything[2] / everything[2].mean()
    batches = list(zip(*(torch.split(tensor, BATCH_ROWS) for tensor in everything), strict=True))

    def loss(values: Mapping[str, Tensor]) -> float:
        with torch.no_grad():
            total = 0.0
            for inputs, *others in batches:
                outputs = torch.func.functional_call(model, dict(values), (inputs,))
                total += float(objective(outputs, *others)) * len(inputs)
        return total / sum(len(inputs) for inputs, *_ in batches)

    return loss


def describe_surface(surface: LossSurface) -> list[str]:
    """Summarises a surface in a few lines for the terminal."""
    lines = []
    for part, losses in surface.losses.items():
        finite = losses[np.isfinite(losses)]
        span = f"{rounded(finite.min())} to {rounded(finite.max())}" if len(finite) else "nowhere finite"
        if surface.is_plane:
            lines.append(f"{part:<8}loss {rounded(surface.at_runs[part][0])} at the run, {span} around it")
            continue
        ends, height = surface.at_runs[part], rounded(barrier(surface, part))
        lines.append(f"{part:<8}loss {rounded(ends[0])} and {rounded(ends[1])} at the runs, barrier {height}")
    return lines


def barrier(surface: LossSurface, part: str) -> float:
    """Returns the maximum excess of the loss over the straight line between the two runs' losses; at least 0."""
    t, losses, (first, second) = surface.positions, surface.losses[part], surface.at_runs[part]
    between = (t >= 0) & (t <= 1)
    excess = losses[between] - ((1 - t[between]) * first + t[between] * second)
    return max(0.0, float(np.nanmax(excess, initial=0.0))) if not np.isinf(excess).any() else math.inf


def write_surface(surface: LossSurface, names: list[str], directory: Path) -> list[Path]:
    """Writes the values as CSV and the figure as PNG into a new directory; returns the paths.

    Raises:
        UserError: the directory exists, or cannot be made.
    """
    if surface.is_plane:
        ((part, losses),) = surface.losses.items()
        a, b = np.meshgrid(surface.positions, surface.positions)
        columns = {"direction_1": a.ravel(), "direction_2": b.ravel(), f"{part}_loss": losses.ravel()}
        figure = plane_figure(
            surface.positions, losses, names[0], f"{PART_NAMES[part]} part: loss {rounded(surface.at_runs[part][0])}"
        )
    else:
        columns = {"position": surface.positions} | {f"{part}_loss": v for part, v in surface.losses.items()}
        figure = line_figure(surface.positions, surface.losses, names)
    png = as_png(figure)
    with new_directory(directory):
        write_bytes(directory / "loss_surface.csv", pl.DataFrame(columns).write_csv().encode())
        write_bytes(directory / "loss_surface.png", png)
    return [directory / "loss_surface.csv", directory / "loss_surface.png"]
