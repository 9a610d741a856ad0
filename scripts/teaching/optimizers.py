"""Optimizers: paths down a long valley of two weights, by the optimizers of conf/optimizer/."""

from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from matplotlib.figure import Figure
from torch import Tensor, nn

import mlplab
from mlplab.optimization.optimizers import build_optimizer
from teaching.drawing import BLUE, CYAN, FAINT, GREEN, INK, PURPLE, RED, YELLOW, panels
from teaching.lesson import Lesson

STEEP = 25.0
"""Curvature across the valley; along it, it is 1."""

START = (-9.0, 2.0)
N_STEPS = 50

PATHS = {
    "sgd, small": (("optimizer=sgd", "optimizer.lr=0.01"), BLUE),
    "sgd, near the limit": (("optimizer=sgd", "optimizer.lr=0.075"), RED),
    "momentum": (("optimizer=momentum", "optimizer.lr=0.02", "optimizer.momentum=0.8"), GREEN),
    "rmsprop": (("optimizer=rmsprop", "optimizer.lr=0.3", "optimizer.alpha=0.9"), YELLOW),
    "adagrad": (("optimizer=adagrad", "optimizer.lr=1.5"), PURPLE),
    "adam": (("optimizer=adam", "optimizer.lr=0.5"), CYAN),
}
"""Label → choices, colour."""


class Valley(nn.Module):
    """f(w) = ½(w₁² + `STEEP`·w₂²)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(START))

    def forward(self) -> Tensor:
        return 0.5 * (self.weight[0] ** 2 + STEEP * self.weight[1] ** 2)


def compute(logs: Path) -> Lesson:
    walks = {name: walk(*words) for name, (words, _) in PATHS.items()}
    beyond = walk("optimizer=sgd", "optimizer.lr=0.082")
    return Lesson(
        numbers={
            "steep": STEEP, "start": list(START), "n_steps": N_STEPS, "limit": 2 / STEEP,
            "rates": {name: float(words[1].partition("=")[2]) for name, (words, _) in PATHS.items()},
            "first": walks["adam"][1][0],
            "last": {name: heights[-1] for name, (_, heights) in walks.items()},
            # Sizes of the first step along and across the valley.
            "first_step": {
                name: [abs(float(b - a)) for a, b in zip(path[0], path[1], strict=True)]
                for name, (path, _) in walks.items()
            },
            # How far beyond the minimum a path comes along the valley.
            "overshoot": {name: float(path[:, 0].max()) for name, (path, _) in walks.items()},
            "beyond_rate": 0.082, "beyond": beyond[1][-1],
        },
        figures={"optimizers_paths": draw_paths(walks), "optimizers_steps": draw_steps(walks)},
    )  # fmt: skip


def walk(*words: str) -> tuple[np.ndarray, list[float]]:
    """Takes `N_STEPS` steps with an optimizer of conf/optimizer/; returns the weights (steps, 2), and f at each."""
    valley = Valley()
    optimizer = build_optimizer(instantiate(mlplab.compose(words).optimizer), valley)
    path, heights = [], []
    for step in range(N_STEPS + 1):
        optimizer.zero_grad()
        height = valley()
        path.append(valley.weight.detach().clone().numpy())
        heights.append(float(height.detach()))
        height.backward()
        if step < N_STEPS:
            optimizer.step()
    return np.stack(path), heights


def draw_paths(walks: dict[str, tuple[np.ndarray, list[float]]]) -> Figure:
    figure, axes = panels(3, 2, height=1.95, sharex=True, sharey=True)
    angle = np.linspace(0, 2 * np.pi, 91)
    for panel, (name, (path, _)) in zip(axes, walks.items(), strict=True):
        for level in (0.5, 2, 6, 14, 28, 50, 80):  # lines of equal height are ellipses
            radius = (2 * level) ** 0.5
            panel.plot(radius * np.cos(angle), radius / STEEP**0.5 * np.sin(angle), color=FAINT, linewidth=0.9)
        panel.plot(*path.T, color=PATHS[name][1], marker="o", markersize=2.5, linewidth=1.2)
        panel.plot(0, 0, marker="+", color=INK, markersize=9)
        panel.set(xlim=(-10, 4), ylim=(-2.6, 2.6))
        panel.set(title=f"{name}: {' '.join(word.partition('.')[2] for word in PATHS[name][0][1:])}")
        panel.grid(False)
    for panel in axes[4:]:
        panel.set_xlabel("w₁, along the valley")
    axes[2].set_ylabel("w₂, across the valley")
    return figure


def draw_steps(walks: dict[str, tuple[np.ndarray, list[float]]]) -> Figure:
    figure, (axes,) = panels(height=3.2)
    for name, (_, heights) in walks.items():
        axes.plot(heights, color=PATHS[name][1], label=name)
    axes.set(yscale="log", xlabel="step", ylabel="f(w)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure
