"""Initialisation: the size of the signal through a deep network, and units that are born equal."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import mlplab
from mlplab.building import build_data
from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from teaching.drawing import BLUE, CYAN, GREEN, RED, YELLOW, panels
from teaching.lesson import Lesson, train

DEPTH, WIDTH, ROWS = 10, 64, 256
RULES = {
    "normal, 0.01": ({"initialization": "normal", "initialization_std": 0.01}, BLUE),
    "pytorch": ({"initialization": "pytorch"}, CYAN),
    "xavier_uniform": ({"initialization": "xavier_uniform"}, GREEN),
    "orthogonal": ({"initialization": "orthogonal"}, YELLOW),
    "normal, 1": ({"initialization": "normal", "initialization_std": 1.0}, RED),
}
"""Label → options of the MLP, colour."""

UNITS = 8
EPOCHS = 30
SYMMETRY = (
    f"model.hidden_dims=[{UNITS}]", f"trainer.max_epochs={EPOCHS}", "logger=none", "~callbacks.early_stopping"
)  # fmt: skip


def compute(logs: Path) -> Lesson:
    signals, gradients = {}, {}
    for name, (options, _) in RULES.items():
        signals[name], gradients[name] = sizes(options)
    trained = {rule: train(logs, *SYMMETRY, f"model.initialization={rule}") for rule in ("constant", "kaiming_uniform")}
    weights = {rule: first_weights(run) for rule, run in trained.items()}
    return Lesson(
        numbers={
            "depth": DEPTH, "width": WIDTH, "n_units": UNITS, "epochs": EPOCHS,
            "first_signal": {name: values[1] for name, values in signals.items()},
            "last_signal": {name: values[-1] for name, values in signals.items()},
            "first_gradient": {name: values[0] for name, values in gradients.items()},
            "constant_accuracy": trained["constant"].result["test"]["test/accuracy"],
            "random_accuracy": trained["kaiming_uniform"].result["test"]["test/accuracy"],
            # The largest difference between two units in any of their incoming weights.
            "constant_difference": spread(weights["constant"]),
            "random_difference": spread(weights["kaiming_uniform"]),
        },
        figures={
            "initialization_signal": draw_sizes(signals, gradients),
            "initialization_symmetry": draw_units(weights),
        },
    )  # fmt: skip


def sizes(options: dict[str, object]) -> tuple[list[float], list[float]]:
    """Measures a deep tanh network before training, on rows of digits.

    Returns:
        The standard deviation of the features and of each hidden layer's outputs; the gradient norm of each layer's
        weights.
    """
    data = build_data(mlplab.compose())
    data.setup()
    features, targets = (part[:ROWS] for part in data.part("train")[:2])
    torch.manual_seed(0)
    model = MLP(in_features=WIDTH, out_features=10, hidden_dims=[WIDTH] * DEPTH, activation="tanh", **options)
    outputs = [features]
    for layer in model.hidden:
        outputs.append(layer(outputs[-1]))
    cross_entropy(model.output(outputs[-1]), targets).backward()
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    norms = [float(layer.weight.grad.norm()) for layer in linear if layer.weight.grad is not None]
    return [float(values.detach().std()) for values in outputs], norms


def first_weights(run: mlplab.Run) -> Tensor:
    """Returns the incoming weights of the hidden units, (units, pixels)."""
    return run.model.hidden[0].linear.weight.detach()  # type: ignore[index,union-attr]


def spread(weights: Tensor) -> float:
    return float((weights.amax(0) - weights.amin(0)).max())


def draw_sizes(signals: dict[str, list[float]], gradients: dict[str, list[float]]) -> Figure:
    figure, (left, right) = panels(1, 2)
    for name, (_, colour) in RULES.items():
        left.plot(range(DEPTH + 1), signals[name], color=colour, marker="o", markersize=3)
        right.plot(range(1, DEPTH + 2), gradients[name], color=colour, marker="o", markersize=3, label=name)
    left.set(yscale="log", xlabel="hidden layer (0: the features)", title="standard deviation of the outputs")
    right.set(yscale="log", xlabel=f"layer ({DEPTH + 1}: the output)", title="norm of the gradient of the weights")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(RULES))
    return figure


def draw_units(weights: dict[str, Tensor]) -> Figure:
    figure, axes = panels(2, UNITS, height=1.3)
    for row, (rule, of_units) in enumerate(weights.items()):
        largest = float(of_units.abs().max())
        for unit, image in enumerate(of_units):
            panel = axes[row * UNITS + unit]
            panel.imshow(image.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="none")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            panel.grid(False)
            if row:
                panel.set_xlabel(f"unit {unit + 1}")
        axes[row * UNITS].set_ylabel(rule)
    return figure
