"""Losses: their curves and gradients, what an outlier does to each, and cross-entropy by hand."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from teaching.drawing import BLUE, GREEN, INK, PURPLE, RED, YELLOW, panels
from teaching.lesson import Lesson

REGRESSION = {"mse": (mse, BLUE), "mae": (mae, RED), "huber": (huber, GREEN)}
VALUES = (1.0, 2.0, 3.0, 3.5, 100.0)
"""Targets of which the last is an outlier."""

LOGITS, CLASS = (2.0, 1.0, 0.0), 0
SMOOTHING = 0.1


def compute(logs: Path) -> Lesson:
    logits = torch.tensor([LOGITS], dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([CLASS]))
    (gradient,) = torch.autograd.grad(loss, logits)
    wrong = torch.tensor([-6.0], dtype=torch.float64)  # the logit of class 1, whose row is of class 1
    return Lesson(
        numbers={
            "values": list(VALUES),
            "best": {name: best_constant(function) for name, (function, _) in REGRESSION.items()},
            "logits": list(LOGITS),
            "probabilities": softmax(LOGITS),
            "loss": loss.item(),
            "by_hand": -math.log(softmax(LOGITS)[CLASS]),
            "gradient": gradient.squeeze(0).tolist(),
            "chance": math.log(10),
            "wrong": wrong.item(),
            "wrong_bce": slope(bce, wrong).item(),
            "wrong_squared": slope(squared, wrong).item(),
            "smoothing": SMOOTHING,
            "lowest_smoothed": lowest_smoothed(),
        },
        figures={"losses_regression": draw_regression(), "losses_classification": draw_classification()},
    )


def softmax(logits: tuple[float, ...]) -> list[float]:
    exponentials = [math.exp(z) for z in logits]
    return [one / sum(exponentials) for one in exponentials]


def best_constant(function: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Finds the one prediction for all of `VALUES` that has the smallest loss, on a grid of thousandths."""
    grid = torch.arange(0, 101_000, dtype=torch.float64) / 1000
    losses = torch.stack([_each(function, grid, target) for target in VALUES]).mean(0)
    return float(grid[losses.argmin()])


def _each(function: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, target: float) -> Tensor:
    """Computes the loss of each output by itself: the project's losses are means over a batch."""
    return torch.func.vmap(function)(outputs[:, None, None], torch.full_like(outputs, target)[:, None, None])


def bce(logits: Tensor) -> Tensor:
    """Binary cross-entropy of rows of class 1."""
    one = torch.ones(1, dtype=torch.int64)
    return torch.stack([binary_cross_entropy(z.reshape(1, 1), one) for z in logits])


def smoothed(logits: Tensor) -> Tensor:
    one = torch.ones(1, dtype=torch.int64)
    return torch.stack([binary_cross_entropy(z.reshape(1, 1), one, label_smoothing=SMOOTHING) for z in logits])


def squared(logits: Tensor) -> Tensor:
    """The squared error of the probability, which no choice of `loss` is."""
    return (torch.sigmoid(logits) - 1).square()


def slope(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    inputs = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(inputs).sum(), inputs)
    return gradient


def lowest_smoothed() -> float:
    """Finds the logit with the smallest smoothed loss, on a grid of thousandths."""
    grid = torch.arange(0, 8000, dtype=torch.float64) / 1000
    return float(grid[smoothed(grid).argmin()])


def draw_regression() -> Figure:
    figure, (left, right) = panels(1, 2)
    errors = torch.linspace(-3, 3, 601)
    for name, (function, colour) in REGRESSION.items():

        def of_errors(values: Tensor, function: Callable[[Tensor, Tensor], Tensor] = function) -> Tensor:
            return _each(function, values, 0.0)

        left.plot(errors, of_errors(errors), color=colour, label=name)
        right.plot(errors, slope(of_errors, errors), color=colour)
    left.set(xlabel="error e = ŷ − y", title="loss of a row", ylim=(0, 5))
    right.set(xlabel="error e = ŷ − y", title="its derivative by ŷ", ylim=(-4, 4))
    right.axhline(0, color=INK, linewidth=0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_classification() -> Figure:
    figure, (left, right) = panels(1, 2)
    logits = torch.linspace(-6, 6, 241)
    curves = {
        "binary_cross_entropy": (bce, BLUE),
        f"the same, label_smoothing={SMOOTHING}": (smoothed, PURPLE),
        "squared error of the probability": (squared, YELLOW),
    }
    for name, (function, colour) in curves.items():
        left.plot(logits, function(logits), color=colour, label=name)
        right.plot(logits, slope(function, logits), color=colour)
    left.set(xlabel="logit z of a row of class 1", title="loss of the row")
    right.set(xlabel="logit z of a row of class 1", title="its derivative by z")
    right.axhline(0, color=INK, linewidth=0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
