"""RealMLP: a perceptron tuned on many tables (Holzmüller et al. 2024, "Better by default", section 3).

Legend: B batch, F features, H hidden, C outputs. This file has three of its parts: the scaling layer, the
parametrisation of the weights, and the parametric activation. conf/experiment/realmlp.yaml has all others.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.models.mlp import MLP, HiddenLayer, checked_arguments

N_SIMPLEX = 5
"""Number of training rows over which a bias takes a random mean."""


class NTKLinear(nn.Linear):
    """A linear layer in the neural tangent parametrisation, x Wᵀ / √F + b: (B, F) -> (B, H) (Jacot et al. 2018).

    The weights are of size 1 whatever F is. Adam's updates are as large as the learning rate, and so have the same
    relative size in all layers.
    """

    def __init__(self, in_features: int, out_features: int, *, bias_lr_factor: float = 0.1) -> None:
        super().__init__(in_features, out_features)
        self.rate_factors = {"bias": bias_lr_factor}
        with torch.no_grad():
            self.weight.normal_()
            self.bias.normal_()

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight / math.sqrt(self.in_features), self.bias)

    @torch.no_grad()
    def initialize_from(self, inputs: Tensor) -> Tensor:
        """Draws weights and biases so that they fit the inputs (N, F) of training rows; returns the outputs (N, H).

        Each unit's weights are scaled so that its outputs have a standard deviation of 1 over the rows. Its bias is
        minus a random mean of its outputs for five of the rows ("he+5" of Steinwart 2019), so that its kink lies among
        the data.
        """
        self.weight.normal_()
        self.bias.zero_()
        sums: Tensor = self(inputs)
        # A unit with constant outputs is left as it is.
        deviation = sums.std(dim=0, correction=0)
        scale = torch.where(deviation > 0, deviation, 1.0)
        self.weight /= scale.unsqueeze(1)
        sums /= scale
        rows = torch.randint(len(inputs), (self.out_features, N_SIMPLEX))
        # Exponential numbers, divided by their sum, are uniform on the simplex.
        shares = torch.empty(self.out_features, N_SIMPLEX).exponential_()
        shares /= shares.sum(1, keepdim=True)
        self.bias.copy_(-(sums.t().gather(1, rows) * shares).sum(1))
        return sums + self.bias


class ParametricActivation(nn.Module):
    """Computes x + a·(f(x) − x), with one weight a per unit, initially 1: (B, H) -> (B, H)."""

    def __init__(self, function: object, width: int, *, lr_factor: float = 0.1) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(width))
        self.rate_factors = {"weight": lr_factor}

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.weight * (self.function(inputs) - inputs)  # type: ignore[operator,no-any-return]


class RealMLP(MLP):
    """A perceptron behind a scaling layer: (B, F) -> (B, C).

    Parameters are drawn from PyTorch's default generator: seed it first. Before training, call `initialize_from`, which
    draws them once more, to fit rows of the training part.

    NOTE[DIFF]: the authors decay weights by (rate factor)² for historical reasons; here decay goes by the group's rate.
    Their output of a regression is clamped to the range of the training part; here it is not.

    Args:
        in_features: F.
        out_features: C.
        hidden_dims: the widths of the hidden layers.
        activation: a name of `ACTIVATIONS`; the paper takes selu for classification, mish for regression.
        dropout: share of hidden activations set to zero in training.
        scaling_layer: whether each feature is multiplied by a learned weight, initially 1: a soft choice of features.
        parametric_activation: whether each unit mixes its activation with the identity.
        scale_lr_factor, bias_lr_factor, activation_lr_factor: factors on the learning rate of these parameters.
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        hidden_dims: Sequence[int] = (256, 256, 256),
        activation: str = "selu",
        dropout: float = 0.15,
        scaling_layer: bool = True,
        parametric_activation: bool = True,
        scale_lr_factor: float = 6.0,
        bias_lr_factor: float = 0.1,
        activation_lr_factor: float = 0.1,
    ) -> None:
        arguments = dict(locals())
        # The weights are drawn below, so those of MLP are not.
        super().__init__(
            in_features=in_features,
            out_features=out_features,
            hidden_dims=hidden_dims,
            activation=activation,
            dropout=dropout,
            initialization="zeros",
        )
        self.architecture = checked_arguments(arguments)
        self.scale = nn.Parameter(torch.ones(in_features)) if scaling_layer else None
        self.rate_factors = {"scale": scale_lr_factor} if scaling_layer else {}
        for layer in self._hidden_layers():
            linear = layer.linear
            layer.linear = NTKLinear(linear.in_features, linear.out_features, bias_lr_factor=bias_lr_factor)
            if parametric_activation:
                layer.activation = ParametricActivation(
                    layer.activation, linear.out_features, lr_factor=activation_lr_factor
                )
        self.output = NTKLinear(self.output.in_features, out_features, bias_lr_factor=bias_lr_factor)

    def _hidden_layers(self) -> list[HiddenLayer]:
        return [layer for layer in self.hidden if isinstance(layer, HiddenLayer)]

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features if self.scale is None else features * self.scale)

    @torch.no_grad()
    def initialize_from(self, features: Tensor) -> None:
        """Draws all weights and biases anew from the features (N, F) of training rows, layer by layer."""
        inputs = features
        for layer in self._hidden_layers():
            assert isinstance(layer.linear, NTKLinear)
            inputs = layer.activation(layer.linear.initialize_from(inputs))
        assert isinstance(self.output, NTKLinear)
        self.output.initialize_from(inputs)
