"""Initialises weights and biases.

Legend: a weight matrix has shape (fan_out, fan_in); g is the gain of the activation after the layer (1 for the output
layer, which has none).

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
| constant | std, each of them: every hidden unit then computes, and learns, the same |
| zeros | 0: the same, and with relu nothing moves but the biases of the output |

PyTorch is imported only when weights are drawn, as the command line's checks read the names in this module.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def _xavier_std(weight: "Tensor", gain: float) -> float:
    # The shape of an nn.Linear's weight is (fan_out, fan_in).
    return gain * math.sqrt(2 / sum(weight.shape))


def _kaiming_std(weight: "Tensor", gain: float) -> float:
    return gain / math.sqrt(weight.shape[1])


def _orthogonal(weight: "Tensor", gain: float, std: float) -> object:
    # Imported here, as the command line reads this module without PyTorch.
    from torch.nn.init import orthogonal_

    return orthogonal_(weight, gain)


def _uniform(tensor: "Tensor", std: float) -> object:
    bound = math.sqrt(3) * std  # U(−a, a) has the standard deviation a/√3
    return tensor.uniform_(-bound, bound)


WEIGHT_METHODS: "dict[str, Callable[[Tensor, float, float], object]]" = {
    "normal": lambda weight, gain, std: weight.normal_(0.0, std),
    "uniform": lambda weight, gain, std: _uniform(weight, std),
    "xavier_uniform": lambda weight, gain, std: _uniform(weight, _xavier_std(weight, gain)),
    "xavier_normal": lambda weight, gain, std: weight.normal_(0.0, _xavier_std(weight, gain)),
    "kaiming_uniform": lambda weight, gain, std: _uniform(weight, _kaiming_std(weight, gain)),
    "kaiming_normal": lambda weight, gain, std: weight.normal_(0.0, _kaiming_std(weight, gain)),
    "orthogonal": _orthogonal,
    "constant": lambda weight, gain, std: weight.fill_(std),
    "zeros": lambda weight, gain, std: weight.zero_(),
}
"""Name → function of weights, gain and standard deviation; it sets the weights in place."""

BIAS_METHODS: "dict[str, Callable[[Tensor, float], object]]" = {
    "zeros": lambda bias, std: bias.zero_(),
    "normal": lambda bias, std: bias.normal_(0.0, std),
    "uniform": _uniform,
}


def initialize(
    layers: "list[nn.Linear]",
    *,
    weights: str,
    biases: str,
    gain: float,
    weight_std: float = 0.05,
    bias_std: float = 0.01,
) -> None:
    """Initialises linear layers in place and in order, drawing from PyTorch's default generator.

    Args:
        layers: from input to output; the last one is the output layer, whose gain is 1.
        weights: a name of `WEIGHT_METHODS`, or "pytorch", which draws the biases too.
        biases: a name of `BIAS_METHODS`.
        gain: of the activation between the layers.
        weight_std: standard deviation for the methods normal and uniform; for constant, the weight itself.
        bias_std: the same for the biases.
    """
    import torch

    for position, layer in enumerate(layers, start=1):
        # PyTorch draws weights and biases together, in this order.
        if weights == "pytorch":
            layer.reset_parameters()
            continue
        # Autograd refuses in-place changes of parameters that require gradients.
        with torch.no_grad():
            # No activation follows the output layer.
            WEIGHT_METHODS[weights](layer.weight, gain if position < len(layers) else 1.0, weight_std)
            BIAS_METHODS[biases](layer.bias, bias_std)
