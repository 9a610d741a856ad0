"""Convergence: learning rates that are too small, right and too large, and the criterion that ends training."""

import math
from pathlib import Path

import torch
from hydra.utils import instantiate
from matplotlib.figure import Figure
from torch import nn

import mlplab
from mlplab.optimization.optimizers import build_optimizer
from teaching.drawing import BLUE, CYAN, FAINT, GREEN, INK, PURPLE, RED, YELLOW, panels
from teaching.lesson import Lesson, logged, train

CURVATURE, START, N_STEPS = 1.0, -2.0, 12
RATES = {0.1: BLUE, 1.0: GREEN, 1.8: YELLOW, 2.1: RED}
"""Learning rate on the parabola, whose limit is 2/`CURVATURE` → colour."""

ON_DIGITS = {"0.0001": CYAN, "0.001": BLUE, "0.01": GREEN, "0.1": YELLOW, "1": PURPLE, "10": RED}
EPOCHS = 20
SMOOTHING = 0.9


def compute(logs: Path) -> Lesson:
    walks = {rate: walk(rate) for rate in RATES}
    runs = {
        rate: train(logs, "experiment=learning_rates_of_sgd", f"optimizer.lr={rate}", "logger=csv",
                    "trainer.log_every_n_steps=1", "~callbacks.early_stopping", f"trainer.max_epochs={EPOCHS}")
        for rate in ON_DIGITS
    }  # fmt: skip
    stopped = train(logs, "optimizer=sgd", "logger=none")
    losses = stopped.history["val/loss"].to_list()
    best = losses.index(min(losses)) + 1
    training = stopped.history["train/loss"].to_list()
    _, highest = logged(runs["10"], "train/loss_step")
    return Lesson(
        numbers={
            "curvature": CURVATURE, "start": START, "limit": 2 / CURVATURE, "n_steps": N_STEPS,
            "factors": {str(rate): 1 - rate * CURVATURE for rate in RATES},
            "rate_epochs": EPOCHS, "lowest": min(runs["1"].history["train/loss"]),
            "ends": {str(rate): path[-1] for rate, path in walks.items()},
            "accuracy": {rate: run.result["test"]["test/accuracy"] for rate, run in runs.items()},
            "final": {rate: run.history["train/loss"][-1] for rate, run in runs.items()},
            "highest": max(highest), "highest_step": 1 + highest.index(max(highest)), "chance": math.log(10),
            "best_epoch": best, "epochs": len(losses), "best_loss": losses[best - 1],
            "training_then": training[best - 1], "training_last": training[-1],
            "patience": len(losses) - best, "ended": stopped.result["ended"],
            "reported_best_epoch": stopped.result["best_epoch"],
        },
        figures={
            "convergence_parabola": draw_parabola(walks),
            "convergence_rates": draw_rates({rate: logged(run, "train/loss_step") for rate, run in runs.items()}),
            "convergence_stop": draw_stop(training, losses, best),
        },
    )  # fmt: skip


def walk(rate: float) -> list[float]:
    """Descends f(w) = ½·`CURVATURE`·w² by `optimizer=sgd`; returns w at each step."""
    point = nn.Module()
    point.weight = nn.Parameter(torch.tensor([START]))
    chosen = mlplab.compose(["optimizer=sgd", f"optimizer.lr={rate}"]).optimizer
    optimizer = build_optimizer(instantiate(chosen), point)
    path = [START]
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        (0.5 * CURVATURE * point.weight.square().sum()).backward()
        optimizer.step()
        path.append(float(point.weight.detach()))
    return path


def draw_parabola(walks: dict[float, list[float]]) -> Figure:
    figure, axes = panels(1, len(RATES), height=2.5, sharey=True)
    titles = ("too small", "right: one step", "near the limit", "too large")
    for panel, (rate, path), title in zip(axes, walks.items(), titles, strict=True):
        points = torch.linspace(-4, 4, 161)
        panel.plot(points, 0.5 * CURVATURE * points**2, color=FAINT, linewidth=1.4)
        panel.plot(
            path, [0.5 * CURVATURE * w**2 for w in path], color=RATES[rate], marker="o", markersize=3, linewidth=1
        )
        panel.set(title=f"η = {rate}\n{title}", xlabel="w", ylim=(-0.3, 8.3), xlim=(-4.2, 4.2))
    axes[0].set_ylabel("f(w)")
    return figure


def draw_rates(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    figure, (axes,) = panels(height=3.4)
    for rate, (steps, losses) in curves.items():
        axes.plot(steps, smoothed(losses), color=ON_DIGITS[rate], linewidth=1.4, label=rate)
    axes.axhline(math.log(10), color=INK, linestyle=":", linewidth=1)
    axes.text(1.1, math.log(10) * 0.9, "guessing: ln 10", fontsize=9, va="top")
    # A rate of 10 goes up out of the picture, by many powers of ten.
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="training loss, smoothed", ylim=(0.003, 30), xlim=1)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", title="optimizer.lr")
    return figure


def smoothed(values: list[float]) -> list[float]:
    """Averages exponentially, with the correction of the first values by which Adam's moments have theirs."""
    found, mean = [], 0.0
    for count, value in enumerate(values, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        found.append(mean / (1 - SMOOTHING**count))
    return found


def draw_stop(training: list[float], validation: list[float], best: int) -> Figure:
    figure, (axes,) = panels(height=3.2)
    epochs = range(1, len(validation) + 1)
    axes.plot(epochs, training, color=BLUE, label="training")
    axes.plot(epochs, validation, color=RED, label="validation")
    axes.axvspan(best, len(validation), color=FAINT, alpha=0.4, linewidth=0)
    axes.plot(best, validation[best - 1], marker="o", color=RED, markersize=8)
    axes.annotate(
        f"best: epoch {best}", (best, validation[best - 1]), xytext=(-12, 26), textcoords="offset points", ha="right",
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8},
    )  # fmt: skip
    axes.text((best + len(validation)) / 2, max(validation) * 0.7, "patience", ha="center")
    axes.set(yscale="log", xlabel="epoch", ylabel="loss")
    axes.legend(loc="upper right")
    return figure
