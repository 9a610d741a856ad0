"""The passes through K plain networks of one shape at once: batched matrix products on stacked weights.

Legend: K members, B batch, F features, H hidden, C outputs. Every product, sum and mask belongs to one member, so
that no number of one reaches another, a NaN no more than any.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.backpropagation import Backward, add_gradient
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.models.written_out import ACTIVATION_BACKWARD
from mlplab.randomness import seed_generators


@dataclass(frozen=True)
class StackedNormalization:
    """Batch or layer normalisation of K members, scale and shift (K, H).

    Batch normalisation has running statistics (K, H), and the steps (K,) in which they were followed.
    """

    scale: Tensor
    shift: Tensor
    eps: float
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
    n_tracked: Tensor | None = None
    momentum: float = 0.0

    def __call__(self, sums: Tensor, is_training: bool) -> Tensor:
        """(K, B, H) -> (K, B, H)."""
        if self.running_mean is None or self.running_var is None or self.n_tracked is None:
            normalized = functional.layer_norm(sums, sums.shape[2:], eps=self.eps)
            return torch.addcmul(self.shift.unsqueeze(1), normalized, self.scale.unsqueeze(1))
        # A batch of one row has no variance, see `mlplab.models.mlp.BatchNorm`.
        is_training = is_training and sums.shape[1] > 1
        if is_training:
            self.n_tracked.add_(1)
        # Each unit of each member is one column for PyTorch's kernel.
        columns = functional.batch_norm(
            sums.transpose(0, 1).flatten(1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.scale.view(-1),
            self.shift.view(-1),
            is_training,
            self.momentum,
            self.eps,
        )
        return columns.view(-1, *self.scale.shape).transpose(0, 1)


@dataclass(frozen=True)
class StackedLinear:
    """Weights (K, H, F) and biases (K, H)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """(K, B, F) -> (K, B, H)."""
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.transpose(1, 2))

    def add_gradients(self, inputs: Tensor, gradient: Tensor) -> None:
        """From the gradient of the sums (K, B, H): the products over the batch, and its sum."""
        add_gradient(self.weight, torch.bmm(gradient.transpose(1, 2), inputs))
        add_gradient(self.bias, gradient.sum(1))


@dataclass(frozen=True)
class StackedLayer:
    """A hidden layer of all members; what a member may have for itself, its share of dropout, is in the masks."""

    linear: StackedLinear
    normalization: StackedNormalization | None
    activation_name: str
    activation: Callable[[Tensor], Tensor]
    residual: bool


class StackedMLP:
    """K multilayer perceptrons of one architecture.

    Args:
        networks: the members.
        stacked: their parameters and buffers (K, …) by name.
    """

    def __init__(self, networks: Sequence[MLP], stacked: Mapping[str, Tensor]) -> None:
        first = networks[0]
        self.layers = [
            _stacked_layer(layer, f"hidden.{depth}", stacked)
            for depth, layer in enumerate(first.hidden)
            if isinstance(layer, HiddenLayer)
        ]
        self.output = StackedLinear(stacked["output.weight"], stacked["output.bias"])
        self.n_members = len(networks)
        self.has_closed_form = first.has_closed_form()
        # Of each place where something is dropped, in the order of the pass: its width, and each member's share.
        self.drops: list[tuple[int, list[float]]] = [
            (first.architecture["in_features"], [network.input_dropout for network in networks])
        ]
        for depth, layer in enumerate(self.layers):
            shares = [network.hidden[depth].dropout for network in networks]
            self.drops.append((layer.linear.weight.shape[1], shares))  # type: ignore[arg-type]

    def draw_masks(self, seeds: Sequence[int] | None, features: Tensor) -> list[Tensor | None]:
        """For each place where something is dropped the factors (K, B, width): 0 for what falls, 1/(1 − p) else.

        Drawn member by member from its own seed, each place in its turn: the bits that it draws when alone.
        """
        masks: list[Tensor | None] = [None] * len(self.drops)
        drawn: list[tuple[Any, list[float]]] = []
        for place, (width, shares) in enumerate(self.drops):
            if any(shares):
                mask = features.new_ones((self.n_members, features.shape[-2], width))
                masks[place] = mask
                drawn.append((mask.unbind(0), [1 - share for share in shares]))
        if drawn:
            assert seeds is not None, "each member must have a seed for the step"
            for member, seed in enumerate(seeds):
                seed_generators(seed, features.device)
                for rows, kept in drawn:
                    if kept[member] < 1:
                        rows[member].bernoulli_(kept[member]).div_(kept[member])
        return masks

    def by_autograd(self, features: Tensor, masks: Sequence[Tensor | None], is_training: bool) -> Tensor:
        """Outputs (K, B, C) for features (K, B, F) or (B, F)."""
        inputs = self._first_inputs(features, masks[0])
        for layer, mask in zip(self.layers, masks[1:], strict=True):
            outputs = layer.linear(inputs)
            if layer.normalization is not None:
                outputs = layer.normalization(outputs, is_training)
            outputs = layer.activation(outputs)
            if mask is not None:
                outputs = outputs * mask
            inputs = outputs + inputs if layer.residual else outputs
        return self.output(inputs)

    def written_out(self, features: Tensor, masks: Sequence[Tensor | None]) -> tuple[Tensor, Backward]:
        """The outputs, and what takes their gradient (K, B, C) to `.grad` of all weights and biases.

        As `mlplab.models.written_out.pass_through` for each member.
        """
        ways_back = []
        with torch.no_grad():
            inputs = self._first_inputs(features, masks[0])
            for layer, mask in zip(self.layers, masks[1:], strict=True):
                inputs, way_back = _hidden_layer(layer, inputs, mask)
                ways_back.append(way_back)
            outputs = self.output(inputs)

        def backward(gradient: Tensor) -> None:
            self.output.add_gradients(inputs, gradient)
            if ways_back:
                gradient = torch.bmm(gradient, self.output.weight)
            for depth in range(len(ways_back) - 1, -1, -1):
                gradient = ways_back[depth](gradient, depth > 0)

        return outputs, backward

    def _first_inputs(self, features: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            return features * mask
        return features if features.ndim == 3 else features.expand(self.n_members, -1, -1)


def _hidden_layer(
    layer: StackedLayer, inputs: Tensor, mask: Tensor | None
) -> tuple[Tensor, Callable[[Tensor, bool], Tensor]]:
    """Its outputs (K, B, H), and what takes their gradient to the weights and, where it is wanted, to the inputs."""
    sums = layer.linear(inputs)
    activations = outputs = layer.activation(sums)
    if mask is not None:
        outputs = outputs * mask
    if layer.residual:
        outputs = outputs + inputs

    def backward(gradient: Tensor, wants_inputs: bool) -> Tensor:
        past = gradient  # by the residual connection
        if mask is not None:
            gradient = gradient * mask
        gradient = ACTIVATION_BACKWARD[layer.activation_name](gradient, sums, activations)
        layer.linear.add_gradients(inputs, gradient)
        if not wants_inputs:
            return gradient
        gradient = torch.bmm(gradient, layer.linear.weight)
        return gradient + past if layer.residual else gradient

    return outputs, backward


def _stacked_layer(layer: HiddenLayer, name: str, stacked: Mapping[str, Tensor]) -> StackedLayer:
    own, normalization = layer.normalization, None
    if isinstance(own, nn.BatchNorm1d | nn.LayerNorm):
        prefix = f"{name}.normalization"
        normalization = StackedNormalization(
            stacked[f"{prefix}.weight"],
            stacked[f"{prefix}.bias"],
            own.eps,
            stacked.get(f"{prefix}.running_mean"),
            stacked.get(f"{prefix}.running_var"),
            stacked.get(f"{prefix}.num_batches_tracked"),
            getattr(own, "momentum", 0.0),
        )
    linear = StackedLinear(stacked[f"{name}.linear.weight"], stacked[f"{name}.linear.bias"])
    return StackedLayer(linear, normalization, layer.activation_name, layer.activation, layer.residual)
