"""Regularisation: training and validation loss with and without it, and the weights under L1 and L2."""

import statistics
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import mlplab
from teaching.drawing import BLUE, GREEN, INK, PURPLE, RED, YELLOW, panels
from teaching.lesson import Lesson, train

EPOCHS = 150
SHARED = ("experiment=overfitting", f"trainer.max_epochs={EPOCHS}", "logger=none", "~callbacks.early_stopping")

CURES = {
    "nothing": ((), RED),
    "L2, 0.03": (("regularization.l2=0.03",), BLUE),
    "L1, 0.002": (("regularization.l1=0.002",), PURPLE),
    "dropout, 0.5": (("model.dropout=0.5",), GREEN),
    "batch normalisation": (("model.normalization=batch",), YELLOW),
}
"""Label → choices, colour."""

WEIGHED = ("nothing", "L2, 0.03", "L1, 0.002")
N_LAST = 20
SMALL = 0.001
"""Weights of a smaller size count as zero: the network predicts the same without them."""


def compute(logs: Path) -> Lesson:
    runs = {name: train(logs, *SHARED, *words) for name, (words, _) in CURES.items()}
    curves = {
        name: (run.history["train/loss"].to_list(), run.history["val/loss"].to_list()) for name, run in runs.items()
    }
    weights = {name: last_weights(runs[name]) for name in WEIGHED}
    best = {name: min(losses) for name, (_, losses) in curves.items()}
    return Lesson(
        numbers={
            "epochs": EPOCHS, "small": SMALL, "rows": runs["nothing"].manifest["data"]["rows"]["train"],
            "parameters": runs["nothing"].manifest["parameters"],
            "training": {name: losses[-1] for name, (losses, _) in curves.items()},
            # Over several epochs, as the loss of few rows jumps about.
            "n_last": N_LAST,
            "validation": {name: statistics.fmean(losses[-N_LAST:]) for name, (_, losses) in curves.items()},
            "best": best,
            "best_epoch": {name: losses.index(best[name]) + 1 for name, (_, losses) in curves.items()},
            "size": {name: float(values.square().mean().sqrt()) for name, values in weights.items()},
            "zeros": {name: float((values < SMALL).double().mean()) for name, values in weights.items()},
        },
        figures={"regularization_losses": draw_losses(curves), "regularization_weights": draw_weights(weights)},
    )  # fmt: skip


def last_weights(run: mlplab.Run) -> Tensor:
    """Returns the sizes of all weights at the end of training, ascending."""
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    weights = [values.flatten() for name, values in state.items() if name.endswith("weight")]
    return torch.cat(weights).abs().sort().values


def running_mean(values: list[float], half: int = 4) -> list[float]:
    """Averages each value with those up to `half` places before and after it."""
    return [statistics.fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def draw_losses(curves: dict[str, tuple[list[float], list[float]]]) -> Figure:
    figure, (left, right) = panels(1, 2, height=3.4)
    for name, (training, validation) in curves.items():
        epochs = range(1, len(training) + 1)
        left.plot(epochs, training, color=CURES[name][1], label=name)
        right.plot(epochs, validation, color=CURES[name][1], linewidth=0.8, alpha=0.3)
        right.plot(epochs, running_mean(validation), color=CURES[name][1])
        best = min(validation)
        # Above all lines: one of another cure runs through the dot without any.
        right.plot(validation.index(best) + 1, best, "o", color=CURES[name][1], markeredgecolor="white", zorder=3)
    left.set(yscale="log", xlabel="epoch", title="training loss, without the penalty")
    right.set(xlabel="epoch", title="validation loss, and its mean over 9 epochs", ylim=(0.34, 0.64))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(CURES))
    return figure


def draw_weights(weights: dict[str, Tensor]) -> Figure:
    figure, (axes,) = panels(height=3.2)
    for name, values in weights.items():
        share = torch.linspace(0, 1, 301, dtype=torch.float64)
        sizes = values.double().quantile(share)
        axes.plot(100 * share, sizes, color=CURES[name][1], label=name)
    axes.axhline(SMALL, color=INK, linestyle=":", linewidth=1)
    axes.set(yscale="log", ylim=(1e-6, 1), xlabel="percent of the weights, from the smallest on", ylabel="size |w|")
    axes.legend(loc="lower right")
    return figure
