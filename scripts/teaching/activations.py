"""Activations: their curves and derivatives, and gradients that vanish with depth."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from mlplab.models.activations import ACTIVATIONS
from teaching.drawing import BLUE, GREEN, INK, RED, panels
from teaching.lesson import Lesson, logged, train

SHOWN = ("sigmoid", "tanh", "relu", "leaky_relu", "gelu", "silu")
"""Activations that are drawn."""

DEEP = {"sigmoid": RED, "tanh": GREEN, "relu": BLUE}
"""Activations of experiment=vanishing_gradients → their colours."""

LAYERS = 8


def compute(logs: Path) -> Lesson:
    largest = {name: float(derivative(name, torch.linspace(-6, 6, 12001)).max()) for name in SHOWN}
    norms, accuracies, tests = {}, {}, {}
    for name in DEEP:
        run = train(
            logs, "experiment=vanishing_gradients", f"model.activation={name}", "logger=csv",
            "+callbacks.gradient_norms._target_=mlplab.callbacks.GradientNorms",
        )  # fmt: skip
        layers = [*(f"hidden.{number}.linear" for number in range(LAYERS)), "output"]
        norms[name] = [logged(run, f"gradient_norm/{layer}")[1][0] for layer in layers]
        accuracies[name] = run.history["val/accuracy"].to_list()
        tests[name] = run.result["test"]["test/accuracy"]
    return Lesson(
        numbers={
            "n_layers": LAYERS,
            "largest": largest,
            "first": {name: values[0] for name, values in norms.items()},
            "last": {name: values[-2] for name, values in norms.items()},
            "test": tests,
            "epochs": len(accuracies["relu"]),
        },
        figures={"activations_curves": draw_curves(), "activations_vanishing": draw_vanishing(norms, accuracies)},
    )  # fmt: skip


def derivative(name: str, inputs: torch.Tensor) -> torch.Tensor:
    inputs = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ACTIVATIONS[name].function(inputs).sum(), inputs)
    return gradient


def draw_curves() -> Figure:
    figure, axes = panels(2, 3, height=2.2, sharex=True, sharey=True)
    inputs = torch.linspace(-4, 4, 401)
    for panel, name in zip(axes, SHOWN, strict=True):
        panel.axhline(0, color=INK, linewidth=0.6)
        panel.plot(inputs, ACTIVATIONS[name].function(inputs), color=BLUE, label="f(z)")
        panel.plot(inputs, derivative(name, inputs), color=RED, linestyle="--", label="its derivative f′(z)")
        panel.set(title=name, ylim=(-1.15, 2.6))
    for panel in axes[3:]:
        panel.set_xlabel("z")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_vanishing(norms: dict[str, list[float]], accuracies: dict[str, list[float]]) -> Figure:
    figure, (left, right) = panels(1, 2)
    for name, colour in DEEP.items():
        left.plot(range(1, LAYERS + 2), norms[name], color=colour, marker="o", markersize=4, label=name)
        right.plot(range(1, len(accuracies[name]) + 1), accuracies[name], color=colour)
    left.set(
        yscale="log", xlabel=f"layer ({LAYERS + 1}: the output)", title="gradient norm at the first step",
        xticks=range(1, LAYERS + 2),
    )  # fmt: skip
    right.set(xlabel="epoch", title="validation accuracy", ylim=(0, 1))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(DEEP))
    return figure
