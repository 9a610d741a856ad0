"""Makes a grid over one or two inputs, for figures of functions of them."""

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from mlplab.callbacks.notes import print_note
from mlplab.data.module import DataModule
from mlplab.figures.function_figures import InputGrid
from mlplab.learner import Learner
from mlplab.objectives.objective import predictions

POINTS = {1: 301, 2: 81}
"""Number of inputs → points along each."""

MARGIN = 0.08
"""Margin of the grid on each side, as a share of the data's range."""


def grid_where_possible(
    trainer: pl.Trainer, pl_module: pl.LightningModule, name: str
) -> tuple[InputGrid, Tensor] | None:
    """Returns the result of `grid_of`; None for other data, with a note, and in all processes but the first.

    Args:
        trainer: of the run.
        pl_module: its learner.
        name: of the callback, in conf/callbacks.
    """
    if not trainer.is_global_zero:
        return None
    reason = why_no_grid(trainer, pl_module)
    if reason is not None:
        print_note(f"callbacks.{name} draws nothing: {reason}")
        return None
    return grid_of(trainer.datamodule)  # type: ignore[attr-defined]


def why_no_grid(trainer: pl.Trainer, pl_module: pl.LightningModule) -> str | None:
    """Returns why a function of the inputs cannot be drawn; None if it can."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, DataModule) or not isinstance(pl_module, Learner):
        return "it takes the project's own data and learner"
    if data.task.target_names:
        return "it draws one target, and there are several"
    n = data.task.n_features
    features, _ = data.part("train")
    if n > len(POINTS) or features.ndim != 2 or data.preprocessor.n_numeric(n) != n:
        columns = "one" if n == 1 else str(n)
        return f"it draws functions of one or two numbers, and {data.name} has {columns} feature{'s' * (n > 1)}" + (
            "" if n > len(POINTS) else ", which are not all numbers"
        )
    return None


def grid_of(data: DataModule) -> tuple[InputGrid, Tensor]:
    """Returns the grid with the data in their own unit, and its points as input of the network, (G or G², D).

    Points of a plane are in rows: the first input varies fastest.
    """
    task, parts = data.task, {part: data.part(part) for part in ("train", "val")}
    features = torch.cat([inputs for inputs, _ in parts.values()])
    n_points = POINTS[features.shape[1]]
    low, high = features.min(0).values, features.max(0).values
    margin = MARGIN * torch.where(high > low, high - low, 1.0)
    scaled = [torch.linspace(float(a), float(b), n_points) for a, b in zip(low - margin, high + margin, strict=True)]
    # The last input is the first index, as in an image.
    points = torch.stack(torch.meshgrid(*scaled[::-1], indexing="ij")[::-1], dim=-1).reshape(-1, len(scaled))
    names = [task.feature_names[n] if task.feature_names else f"feature {n + 1}" for n in range(len(scaled))]
    if data.preprocessor.unscaled(points) is None:
        names = [f"{name} (scaled)" for name in names]

    def own(inputs: Tensor) -> Tensor:
        unscaled = data.preprocessor.unscaled(inputs)
        return inputs.double() if unscaled is None else unscaled

    shown = {
        part: (own(inputs).numpy(), _own_targets(targets, data).numpy().astype(np.float64))
        for part, (inputs, targets) in parts.items()
    }
    axes = own(torch.stack(scaled, dim=1)).numpy().T
    truth = None if data.truth is None else data.truth(own(points).numpy()).reshape([n_points] * len(scaled))
    return InputGrid(tuple(names), tuple(axes), task, shown, truth), points


def _own_targets(targets: Tensor, data: DataModule) -> Tensor:
    """Returns class indices (n,), or values (n,) in the target's own unit."""
    if data.task.kind == "classification":
        return targets
    return predictions(targets.double(), data.task)[:, 0]  # the network's outputs are scaled in the same way
