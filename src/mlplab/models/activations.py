"""Activation functions by name, each with the gain for initialising its weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def identity(inputs: Tensor) -> Tensor:
    """Returns the input itself: with it, a network of any depth is a linear model."""
    return inputs


AnyActivation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its initialisation gain.

    The gain is the factor on the standard deviation of the weights that keeps the size of the signal about
    the same from layer to layer.
    """

    function: AnyActivation
    gain: float


# Gains: identity, sigmoid, tanh, relu, leaky_relu and selu as `torch.nn.init.calculate_gain` has them
# (leaky_relu with slope 0.01). The others, for which it has none, by the rule that gives relu its √2:
# 1/√E[f(z)²] with z from the standard normal distribution (He et al. 2015, section 2.2).
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(torch.relu, 2**0.5),
    "sigmoid": Activation(torch.sigmoid, 1.0),
    # NOTE[DIFF]: 5/3 is PyTorch's convention; the rule of He et al. would give 1.59.
    "tanh": Activation(torch.tanh, 5 / 3),
    "leaky_relu": Activation(functional.leaky_relu, (2 / (1 + 0.01**2)) ** 0.5),
    "elu": Activation(functional.elu, 1.2452),
    "selu": Activation(functional.selu, 0.75),
    "gelu": Activation(functional.gelu, 1.5335),
    "silu": Activation(functional.silu, 1.6765),
    "mish": Activation(functional.mish, 1.4868),
    "softplus": Activation(functional.softplus, 1.0419),
    "identity": Activation(identity, 1.0),
}


def activation_of(chosen: str | AnyActivation) -> Activation:
    """Returns the activation of a name. The user's own function gets the gain 1/√E[f(z)²].

    The mean is over 1023 quantiles of the standard normal distribution.
    """
    if isinstance(chosen, str):
        return ACTIVATIONS[chosen]
    quantiles = torch.special.ndtri(torch.arange(1, 1024) / 1024)
    with torch.no_grad():
        size = float(chosen(quantiles).square().mean())
    return Activation(chosen, size**-0.5 if 0 < size < math.inf else 1.0)
