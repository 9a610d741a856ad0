"""TabM: many perceptrons that share most of their weights, trained at once (Gorishniy et al. 2024).

"TabM: Advancing tabular deep learning with parameter-efficient ensembling". Legend: B batch, k members, F features,
H hidden, C outputs.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.models.initialization import initialize
from mlplab.models.mlp import MLP, BatchNorm, HiddenLayer, checked_arguments


class SharedLinear(nn.Linear):
    """A linear layer with shared weights for all members: (B, k, F) -> (B, k, H).

    Member i computes s_i ⊙ W(r_i ⊙ x) + b_i (Wen et al. 2020, "BatchEnsemble", eq. 5). Before training r_i and s_i are
    1, and all b_i are equal.
    """

    def __init__(self, linear: nn.Linear, k: int) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.weight = linear.weight
        self.bias = nn.Parameter(linear.bias.detach().repeat(k, 1))
        self.r = nn.Parameter(torch.ones(k, linear.in_features))
        self.s = nn.Parameter(torch.ones(k, linear.out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs * self.r, self.weight) * self.s + self.bias


class MemberLinear(nn.Module):
    """A separate linear layer for each member: (B, k, H) -> (B, k, C)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.in_features, self.out_features = layers[0].in_features, layers[0].out_features
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("bkh,kch->bkc", inputs, self.weight) + self.bias


class MemberBatchNorm(BatchNorm):
    """Batch normalisation with separate statistics for each member: (B, k, H) -> (B, k, H)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.flatten(1)).reshape(inputs.shape)


class TabM(MLP):
    """An ensemble of k perceptrons that share the weights of their hidden layers.

    In training (B, F) -> (B, k, C): the loss is the mean of the members' losses (see `Objective`). In evaluation
    (B, F) -> (B, C): outputs whose prediction is the mean of the members' predictions (see `average_members`).

    A member differs from the others in its output layer, and in its scaling vectors: those of `SharedLinear` in every
    hidden layer, or with `mini` a single vector for the features.

    Args:
        k: the number of members.
        mini: the paper's TabM-mini.
        scaling_initialization: how the vectors for the features are drawn: `random_signs` (−1 or 1), or `normal`, N(0,
            1), which the paper uses after numeric embeddings. Before training, hidden layers of the members differ only
            by them.
        column_widths: the widths of the columns: all features of an embedded or one-hot column start with the same
            scaling. None for columns of width 1.
        average_of: what is averaged over the members, see `average_members`.
        **others: as in `MLP`.
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        k: int = 32,
        mini: bool = False,
        scaling_initialization: str = "random_signs",
        column_widths: Sequence[int] | None = None,
        average_of: str = "values",
        hidden_dims: Sequence[int] = (256, 256),
        activation: str = "relu",
        initialization: str = "pytorch",
        initialization_std: float = 0.05,
        bias_initialization: str = "zeros",
        bias_std: float = 0.01,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        normalization: str = "none",
        residual: bool = False,
    ) -> None:
        arguments = dict(locals())
        of_members = {"self", "__class__", "k", "mini", "scaling_initialization", "column_widths", "average_of"}
        super().__init__(**{name: value for name, value in arguments.items() if name not in of_members})
        self.architecture = checked_arguments(arguments)
        self.k, self.average_of = k, average_of
        outputs = [nn.Linear(self.output.in_features, out_features) for _ in range(k)]
        for layer in outputs:
            initialize(
                [layer],
                weights=initialization,
                biases=bias_initialization,
                gain=1.0,
                weight_std=initialization_std,
                bias_std=bias_std,
            )
        self.output = MemberLinear(outputs)  # type: ignore[assignment]
        # A linear model is only an output layer, and needs scaling only with `mini`.
        scaling = nn.Parameter(_column_scaling(scaling_initialization, k, in_features, column_widths))
        self.scaling = scaling if mini else None
        for place, hidden in enumerate(self.hidden):
            assert isinstance(hidden, HiddenLayer)
            if not mini:
                hidden.linear = shared = SharedLinear(hidden.linear, k)
                if place == 0:
                    shared.r = scaling
            if normalization == "batch":
                hidden.normalization = MemberBatchNorm(k * hidden.linear.out_features)

    def forward(self, features: Tensor) -> Tensor:
        members = features.unsqueeze(1).expand(-1, self.k, -1)
        # Each member drops other features.
        members = functional.dropout(members, self.input_dropout, self.training)
        if self.scaling is not None:
            members = members * self.scaling
        outputs = self.output(self.hidden(members))
        return outputs if self.training else average_members(outputs, self.average_of)


def _column_scaling(method: str, k: int, in_features: int, column_widths: Sequence[int] | None) -> Tensor:
    """Draws a scaling for each member and column, and repeats it for each feature of the column: -> (k, F)."""
    drawn = torch.empty(k, in_features if column_widths is None else len(column_widths))
    if method == "normal":
        drawn.normal_()
    else:
        drawn.bernoulli_(0.5).mul_(2).sub_(1)
    if column_widths is None:
        return drawn
    # The size is given, as it cannot be computed on the meta device.
    return drawn.repeat_interleave(torch.tensor(column_widths), dim=1, output_size=sum(column_widths))


def average_members(outputs: Tensor, average_of: str) -> Tensor:
    """Averages the predictions of the members; returns raw outputs with that prediction: (B, k, C) -> (B, C).

    Args:
        outputs: of the members.
        average_of: `values` returns the mean of the outputs, for regression; `softmax` the logarithm of the mean
            probabilities; `sigmoid` the logit of the mean probability, for one logit or several labels.
    """
    if average_of == "values":
        return outputs.mean(dim=1)
    # In logarithms, as a probability can be too small for float32.
    if average_of == "softmax":
        return torch.log_softmax(outputs, dim=-1).logsumexp(dim=1) - math.log(outputs.shape[1])
    # The −log k of both means cancel.
    is_true, is_false = functional.logsigmoid(outputs), functional.logsigmoid(-outputs)
    return is_true.logsumexp(dim=1) - is_false.logsumexp(dim=1)
