"""Backpropagation by hand: a network of two inputs, two hidden units and one output, in plain numbers."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from teaching.drawing import BLUE, FAINT, INK, PAPER, RED, panels
from teaching.lesson import Lesson

X = (1.0, 2.0)
Y = 1.0
W = ((0.3, -0.2), (0.5, 0.4))
"""Weights of the hidden layer: a row for each unit, a column for each input."""

B = (0.2, -0.1)
V = (0.7, -0.6)
"""Weights of the output."""

C = 0.2
RATE = 0.1


def compute(logs: Path) -> Lesson:
    now = pass_through(W, B, V, C)
    w = tuple(tuple(W[i][j] - RATE * now["dw"][i][j] for j in range(2)) for i in range(2))
    b = tuple(B[i] - RATE * now["db"][i] for i in range(2))
    v = tuple(V[i] - RATE * now["dv"][i] for i in range(2))
    c = C - RATE * now["dc"]
    after = pass_through(w, b, v, c)
    # Of one weight alone, to see that its derivative is a slope.
    nudged = pass_through(((W[0][0] + 1e-4, W[0][1]), W[1]), B, V, C)
    return Lesson(
        numbers={
            "x": list(X), "y": Y, "w": [list(row) for row in W], "b": list(B), "v": list(V), "c": C,
            "rate": RATE, **now,
            "new_w": [list(row) for row in w], "new_b": list(b), "new_v": list(v), "new_c": c,
            "new_output": after["output"], "new_loss": after["loss"],
            "slope": (nudged["loss"] - now["loss"]) / 1e-4,
        },
        figures={"backpropagation_network": draw(now)},
    )  # fmt: skip


def pass_through(w: Sequence[Sequence[float]], b: Sequence[float], v: Sequence[float], c: float) -> dict[str, Any]:
    """Goes forward and backward through the network; returns each number by its name on the page."""
    z = [w[i][0] * X[0] + w[i][1] * X[1] + b[i] for i in range(2)]
    h = [1 / (1 + math.exp(-one)) for one in z]
    output = v[0] * h[0] + v[1] * h[1] + c
    error = output - Y
    d_output = 2 * error
    dh = [d_output * v[i] for i in range(2)]
    slopes = [h[i] * (1 - h[i]) for i in range(2)]  # of the sigmoid
    dz = [dh[i] * slopes[i] for i in range(2)]
    return {
        "z": z, "h": h, "output": output, "error": error, "loss": error**2,
        "d_output": d_output, "dv": [d_output * h[i] for i in range(2)], "dc": d_output,
        "dh": dh, "slopes": slopes, "dz": dz,
        "dw": [[dz[i] * X[j] for j in range(2)] for i in range(2)], "db": dz,
    }  # fmt: skip


INPUTS, HIDDEN, OUTPUT, LOSS = ((0.0, 2.0), (0.0, 0.0)), ((3.2, 2.0), (3.2, 0.0)), (6.4, 1.0), (9.0, 1.0)
"""Places of the units."""


def draw(now: dict[str, Any]) -> Figure:
    figure, (axes,) = panels(height=4.0)
    axes.set(xlim=(-0.8, 9.9), ylim=(-0.95, 2.95), aspect="equal")
    axes.axis("off")
    for i in range(2):
        for j in range(2):
            # Away from the middle, where the edges cross.
            _edge(axes, INPUTS[j], HIDDEN[i], W[i][j], now["dw"][i][j], at=0.3)
        _edge(axes, HIDDEN[i], OUTPUT, V[i], now["dv"][i], at=0.5)
        _unit(axes, INPUTS[i], f"x{i + 1}", X[i], None)
        _unit(axes, HIDDEN[i], f"h{i + 1}", now["h"][i], now["dh"][i])
    axes.annotate("", LOSS, OUTPUT, arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 1.4}, zorder=0)
    _unit(axes, OUTPUT, "ŷ", now["output"], now["d_output"])
    _unit(axes, LOSS, "L", now["loss"], 1.0)
    axes.text(4.6, 2.85, "value, computed from left to right", color=BLUE, ha="right", fontsize=10)
    axes.text(4.8, 2.85, "derivative of L by it, from right to left", color=RED, fontsize=10)
    return figure


def _unit(axes: Axes, place: tuple[float, float], name: str, value: float, derivative: float | None) -> None:
    axes.scatter(*place, s=1500, color=PAPER, edgecolors=INK, linewidths=1.2, zorder=2)
    axes.text(*place, name, ha="center", va="center", fontsize=12, zorder=3)
    axes.text(place[0], place[1] + 0.5, _number(value), ha="center", color=BLUE, fontsize=10, zorder=3)
    if derivative is not None:
        axes.text(place[0], place[1] - 0.64, _number(derivative), ha="center", color=RED, fontsize=10, zorder=3)


def _edge(
    axes: Axes, begin: tuple[float, float], end: tuple[float, float], weight: float, derivative: float, at: float
) -> None:
    axes.plot(*zip(begin, end, strict=True), color=FAINT, linewidth=1.4, zorder=0)
    x, y = (a + at * (b - a) for a, b in zip(begin, end, strict=True))
    box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
    axes.text(x, y + 0.02, _number(weight), ha="center", va="bottom", color=BLUE, fontsize=9, bbox=box, zorder=1)
    axes.text(x, y - 0.02, _number(derivative), ha="center", va="top", color=RED, fontsize=9, bbox=box, zorder=1)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
