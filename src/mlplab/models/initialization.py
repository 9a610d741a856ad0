"""Initialises weights and biases.

Legend: a weight matrix has shape (fan_out, fan_in); g is the gain of the activation that follows the layer
(1 for the output layer, which none follows).

| method | weights |
|---|---|
| normal | N(0, std²) |
| uniform | U(−√3·std, √3·std), which has the standard deviation std |
| xavier_uniform | U(−a, a), a = g·√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16) |
| xavier_normal | N(0, g²·2 / (fan_in + fan_out)) (eq. 12) |
| kaiming_uniform | U(−a, a), a = g·√(3 / fan_in) (He et al. 2015, section 2.2) |
| kaiming_normal | N(0, g² / fan_in) |
| orthogonal | g times a random (semi-)orthogonal matrix (Saxe et al. 2014) |
| pytorch | what `torch.nn.Linear` does: U(−a, a), a = √(1 / fan_in), for weights and biases alike |
| zeros | 0: every hidden unit then computes, and learns, the same |
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from mlplab.errors import Refusal

Method = Callable[[Tensor, float, float], object]


def _kaiming_std(weight: Tensor, gain: float) -> float:
    return gain / math.sqrt(weight.shape[1])


WEIGHT_METHODS: dict[str, Method] = {
    "normal": lambda weight, gain, std: nn.init.normal_(weight, 0.0, std),
    "uniform": lambda weight, gain, std: nn.init.uniform_(weight, -math.sqrt(3) * std, math.sqrt(3) * std),
    "xavier_uniform": lambda weight, gain, std: nn.init.xavier_uniform_(weight, gain),
    "xavier_normal": lambda weight, gain, std: nn.init.xavier_normal_(weight, gain),
    "kaiming_uniform": lambda weight, gain, std: nn.init.uniform_(
        weight, -math.sqrt(3) * _kaiming_std(weight, gain), math.sqrt(3) * _kaiming_std(weight, gain)
    ),
    "kaiming_normal": lambda weight, gain, std: nn.init.normal_(weight, 0.0, _kaiming_std(weight, gain)),
    "orthogonal": lambda weight, gain, std: nn.init.orthogonal_(weight, gain),
    "zeros": lambda weight, gain, std: nn.init.zeros_(weight),
}

BIAS_METHODS: dict[str, Callable[[Tensor, float], object]] = {
    "zeros": lambda bias, std: nn.init.zeros_(bias),
    "normal": lambda bias, std: nn.init.normal_(bias, 0.0, std),
    "uniform": lambda bias, std: nn.init.uniform_(bias, -math.sqrt(3) * std, math.sqrt(3) * std),
}


def initialize(
    layers: list[nn.Linear],
    *,
    weights: str,
    biases: str,
    gain: float,
    weight_std: float = 0.05,
    bias_std: float = 0.01,
) -> None:
    """Initialises linear layers in place, drawing from PyTorch's default generator in their order.

    Args:
        layers: from input to output; the last one is the output layer, whose gain is 1.
        weights: a name of `WEIGHT_METHODS`, or "pytorch", which draws the biases too.
        biases: a name of `BIAS_METHODS`.
        gain: of the activation between the layers.
        weight_std: standard deviation for the methods normal and uniform.
        bias_std: the same for the biases.

    Raises:
        Refusal: a method of that name does not exist.
    """
    if weights != "pytorch" and weights not in WEIGHT_METHODS:
        names = ", ".join([*WEIGHT_METHODS, "pytorch"])
        raise Refusal(
            f"initialization must be one of {names}",
            f"initialization={weights!r}",
            "initialization=kaiming_uniform",
        )
    if biases not in BIAS_METHODS:
        raise Refusal(
            f"bias_initialization must be one of {', '.join(BIAS_METHODS)}",
            f"bias_initialization={biases!r}",
            "bias_initialization=zeros",
        )
    for position, layer in enumerate(layers, start=1):
        if weights == "pytorch":
            layer.reset_parameters()
            continue
        WEIGHT_METHODS[weights](layer.weight, gain if position < len(layers) else 1.0, weight_std)
        BIAS_METHODS[biases](layer.bias, bias_std)


def linear_layers(dims: list[int]) -> list[nn.Linear]:
    """Builds the len(dims) − 1 fully connected layers between consecutive widths of `dims`."""
    return [nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(dims)]
