"""The multilayer perceptron."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mlplab.errors import UserError
from mlplab.models.activations import AnyActivation, activation_of
from mlplab.models.initialization import initialize
from mlplab.models.mlp_options import OPTIONS


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that accepts a training batch of one row.

    One row has no variance, and the last batch of an epoch may be one row. Such a batch is normalised by the running
    statistics, as in evaluation, and does not update them.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and inputs.shape[0] < 2:
            # `False` takes the running statistics; a momentum of 0 would leave them as they are in any case.
            return functional.batch_norm(
                inputs, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(inputs)


NORMALIZATIONS: dict[str, type[nn.Module] | None] = {
    "none": None,
    "batch": BatchNorm,
    "layer": nn.LayerNorm,
}
"""Name → class, whose argument is the width of the layer."""


class HiddenLayer(nn.Module):
    """Applies linear layer, normalisation, activation, dropout and, with `residual`, a skip connection.

    (B, F) -> (B, H).
    """

    def __init__(
        self, linear: nn.Linear, *, activation: str | AnyActivation, normalization: str, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        normalize = NORMALIZATIONS[normalization]
        self.linear = linear
        self.normalization = None if normalize is None else normalize(linear.out_features)
        # A copy for each layer, as the user's own activation may have parameters.
        self.activation = copy.deepcopy(activation_of(activation).function)
        self.dropout = dropout
        # Without a projection, inputs and outputs can only be added if they have the same width.
        self.residual = residual and linear.in_features == linear.out_features

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.linear(inputs)
        if self.normalization is not None:
            outputs = self.normalization(outputs)
        outputs = self.activation(outputs)
        outputs = functional.dropout(outputs, self.dropout, self.training)
        return outputs + inputs if self.residual else outputs


class MLP(nn.Module):
    """A multilayer perceptron: (B, F) -> (B, C), where the outputs are raw (logits, or values on the scaled target).

    Legend: B batch, F features, H hidden, C outputs. The linear layers, by `hidden_dims`:

    - `[]`: F→C, a linear model (with cross-entropy: logistic regression);
    - `[H]`: F→H, activation, H→C;
    - `[H1, H2]`: F→H1, activation, H1→H2, activation, H2→C.

    Parameters are drawn from PyTorch's default generator: seed it first.

    Args:
        in_features: F.
        out_features: C.
        hidden_dims: the widths of the hidden layers.
        activation: a name of `ACTIVATIONS`, or the user's own function or module.
        initialization: how weights are drawn, see `mlplab.models.initialization`.
        initialization_std: for `normal` and `uniform`; with `constant`, every weight.
        bias_initialization: `zeros`, `normal` or `uniform`.
        bias_std: for the latter two.
        dropout: share p of hidden activations set to zero in training, in [0, 1); the rest is multiplied by 1/(1 − p)
            (Srivastava et al. 2014, in the inverted form).
        input_dropout: the same for the features.
        normalization: `none`, `batch` (Ioffe and Szegedy 2015) or `layer` (Ba et al. 2016), before the activation.
        residual: adds a hidden layer's input to its output where both have the same width (He et al. 2016).

    Raises:
        UserError: an argument breaks its rule in `OPTIONS`.
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        hidden_dims: Sequence[int] = (128, 64),
        activation: str | AnyActivation = "relu",
        initialization: str = "kaiming_uniform",
        initialization_std: float = 0.05,
        bias_initialization: str = "zeros",
        bias_std: float = 0.01,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        normalization: str = "none",
        residual: bool = False,
    ) -> None:
        # Before any other name: the arguments alone. From these plain values, which a checkpoint keeps,
        # `MLP(**architecture)` builds the same network again.
        arguments = dict(locals())
        super().__init__()
        self.architecture = checked_arguments(arguments)
        layers = [nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise([in_features, *hidden_dims, out_features])]
        # All layers at once, as the last one has another gain.
        initialize(
            layers,
            weights=initialization,
            biases=bias_initialization,
            gain=activation_of(activation).gain,
            weight_std=initialization_std,
            bias_std=bias_std,
        )
        self.input_dropout = input_dropout
        hidden = [
            HiddenLayer(layer, activation=activation, normalization=normalization, dropout=dropout, residual=residual)
            for layer in layers[:-1]
        ]
        self.hidden = nn.Sequential(*hidden)
        self.output = layers[-1]

    def forward(self, features: Tensor) -> Tensor:
        features = functional.dropout(features, self.input_dropout, self.training)
        # No activation after the last layer: the losses take logits, or values of any sign.
        return self.output(self.hidden(features))  # type: ignore[no-any-return]


def checked_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a network's `__init__`, its `locals()`, as plain values for a checkpoint.

    Raises:
        UserError: one breaks its rule in `OPTIONS`.
    """
    plain = {
        # Lists, as a checkpoint holds neither tuples nor configuration nodes.
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in arguments.items()
        if name not in ("self", "__class__")
    }
    for name, value in plain.items():
        # The command line applies the same rules; this check is for networks built in Python.
        if name in OPTIONS and not callable(value) and not OPTIONS[name].rule.holds(value):
            rule = OPTIONS[name].rule
            raise UserError(f"{name} must be {rule.requirement}", f"{name}={value!r}", f"{name}={rule.example}")
    return plain
