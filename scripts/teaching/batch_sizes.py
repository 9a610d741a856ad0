"""Batch sizes: validation loss against epochs and against steps, and the noise of a batch's gradient."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

import mlplab
from mlplab.building import build_data
from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from teaching.drawing import BLUE, GREEN, INK, RED, YELLOW, panels
from teaching.lesson import Lesson, train

SIZES = {"4": (RED, 0.05), "32": (YELLOW, 0.25), "256": (GREEN, 1.0), "full": (BLUE, 1.0)}
"""Rows of a batch → colour, and the share of an epoch after which is validated."""

RATE, EPOCHS = 0.05, 25
GOAL = 0.9
"""Validation accuracy to which epochs and steps are counted."""

SAME_STEP = EPOCHS
"""Step at which the losses are compared: the last one of all rows, which make one in an epoch."""

NOISE_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
N_BATCHES = 200


def compute(logs: Path) -> Lesson:
    shared = ("optimizer=sgd", f"optimizer.lr={RATE}", f"trainer.max_epochs={EPOCHS}", "~callbacks.early_stopping")
    histories, per_epoch = {}, {}
    for size, (_, interval) in SIZES.items():
        choices = (f"data.batch_size={size}", f"trainer.val_check_interval={interval}", "logger=none")
        histories[size] = train(logs, *shared, *choices).history.filter(pl.col("val/loss").is_not_null())
        per_epoch[size] = histories[size]["step"][-1] / EPOCHS
    noise = gradient_noise()
    first, last = NOISE_SIZES[0], NOISE_SIZES[-1]
    return Lesson(
        numbers={
            "rate": RATE, "epochs": EPOCHS, "goal": GOAL,
            "steps_per_epoch": {size: round(steps) for size, steps in per_epoch.items()},
            # Steps until the goal is reached; none where it is not.
            "reached": {
                size: table.filter(pl.col("val/accuracy") >= GOAL)["step"].min() for size, table in histories.items()
            },
            "same_step": SAME_STEP,
            "loss_there": {
                size: float(np.interp(SAME_STEP, table["step"], table["val/loss"])) for size, table in histories.items()
            },
            "end": {size: table["val/loss"][-1] for size, table in histories.items()},
            "accuracy": {size: table["val/accuracy"][-1] for size, table in histories.items()},
            "noise": {str(size): value for size, value in noise.items()},
            "exponent": math.log(noise[last] / noise[first]) / math.log(last / first),
            "n_batches": N_BATCHES,
        },
        figures={
            "batch_sizes_curves": draw_curves({
                size: (table["step"] / per_epoch[size], table["step"], table["val/loss"])
                for size, table in histories.items()
            }),
            "batch_sizes_noise": draw_noise(noise),
        },
    )  # fmt: skip


def gradient_noise() -> dict[int, float]:
    """Measures how far the gradient of a batch is from that of all rows, before training: size → ‖g_B − g‖ / ‖g‖.

    The root of the mean square over `N_BATCHES` batches, whose rows are drawn with replacement.
    """
    data = build_data(mlplab.compose())
    data.setup()
    features, targets = data.part("train")[:2]
    torch.manual_seed(0)
    model = MLP(in_features=features.shape[1], out_features=10)

    def gradient(rows: Tensor | slice) -> Tensor:
        loss = cross_entropy(model(features[rows]), targets[rows])
        return torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(model.parameters()))])

    whole = gradient(slice(None))
    generator = torch.Generator().manual_seed(0)
    noise = {}
    for size in NOISE_SIZES:
        batches = torch.randint(len(features), (N_BATCHES, size), generator=generator)
        squares = torch.stack([(gradient(rows) - whole).square().sum() for rows in batches])
        noise[size] = float((squares.mean() / whole.square().sum()).sqrt())
    return noise


def draw_curves(curves: dict[str, tuple[pl.Series, pl.Series, pl.Series]]) -> Figure:
    figure, (left, right) = panels(1, 2, sharey=True)
    for size, (epochs, steps, losses) in curves.items():
        left.plot(epochs, losses, color=SIZES[size][0], label="all rows" if size == "full" else f"{size} rows")
        right.plot(steps, losses, color=SIZES[size][0])
    left.set(yscale="log", xlabel="epoch", ylabel="validation loss", title="by epochs: rows seen")
    right.set(xscale="log", xlabel="step", title="by steps: updates made")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(SIZES))
    return figure


def draw_noise(noise: dict[int, float]) -> Figure:
    figure, (axes,) = panels(height=3.0)
    axes.plot(list(noise), list(noise.values()), color=BLUE, marker="o", label="measured")
    expected = [noise[1] / math.sqrt(size) for size in noise]
    axes.plot(list(noise), expected, color=INK, linestyle=":", linewidth=1.2, label="1/√B, from the first point")
    axes.set(
        xscale="log", yscale="log", xlabel="batch size B", ylabel="‖g_B − g‖ / ‖g‖", xticks=list(noise),
        xticklabels=list(noise), yticks=(0.5, 1, 2, 5), yticklabels=(0.5, 1, 2, 5),
    )  # fmt: skip
    axes.minorticks_off()
    axes.legend()
    return figure
