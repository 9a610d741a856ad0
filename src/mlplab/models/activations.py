"""Activation functions by name, and the gain with which each wants its weights initialised.

Imports no PyTorch: the command line is checked by these names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def identity(inputs: "Tensor") -> "Tensor":
    """The input itself: with it, a network of any depth is a linear model."""
    return inputs


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its initialisation gain.

    The gain is the factor on the standard deviation of the weights that keeps the size of the signal about
    the same from layer to layer. The source is the function, or where it is imported from once it is needed.
    """

    source: "str | Callable[[Tensor], Tensor]"
    gain: float

    @property
    def function(self) -> "Callable[[Tensor], Tensor]":
        """Returns the function itself."""
        return resolve_name(self.source) if isinstance(self.source, str) else self.source


# Gains: identity, sigmoid, tanh, relu, leaky_relu and selu as `torch.nn.init.calculate_gain` has them
# (leaky_relu with slope 0.01). The others, for which it has none, by the rule that gives relu its √2:
# 1/√E[f(z)²] with z from the standard normal distribution (He et al. 2015, section 2.2).
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("torch.relu", 2**0.5),
    "sigmoid": Activation("torch.sigmoid", 1.0),
    "tanh": Activation("torch.tanh", 5 / 3),
    "leaky_relu": Activation("torch.nn.functional.leaky_relu", (2 / (1 + 0.01**2)) ** 0.5),
    "elu": Activation("torch.nn.functional.elu", 1.2452),
    "selu": Activation("torch.nn.functional.selu", 0.75),
    "gelu": Activation("torch.nn.functional.gelu", 1.5335),
    "silu": Activation("torch.nn.functional.silu", 1.6765),
    "mish": Activation("torch.nn.functional.mish", 1.4868),
    "softplus": Activation("torch.nn.functional.softplus", 1.0419),
    "identity": Activation(identity, 1.0),
}
