"""K multilayer perceptrons of one shape at once: batched matrix products on stacked weights.

Legend: K members, B batch, F features, H hidden, C outputs. Every product, sum and mask belongs to one member, so
that no number of one reaches another, a NaN no more than any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.engine.kernels import ACTIVATION_KERNELS, ActivationKernel
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.stacked.networks.dropout_masks import StackedMasks


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

    @cached_property
    def weight_gradient(self) -> Tensor:
        """Memory for it, the same at every step."""
        return torch.empty_like(self.weight)

    def __call__(self, inputs: Tensor) -> Tensor:
        """(K, B, F) -> (K, B, H)."""
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.transpose(1, 2))


@dataclass(frozen=True)
class StackedLayer:
    """A hidden layer of all members; what a member may have for itself, its share of dropout, is in the masks."""

    linear: StackedLinear
    normalization: StackedNormalization | None
    kernel: ActivationKernel
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
        self.has_kernels = all(layer.normalization is None for layer in self.layers)
        places = [(first.architecture["in_features"], [network.input_dropout for network in networks])]
        for depth, layer in enumerate(self.layers):
            shares: list[float] = [network.hidden[depth].dropout for network in networks]  # type: ignore[misc]
            places.append((layer.linear.weight.shape[1], shares))
        self.masks = StackedMasks(places)

    def by_autograd(self, features: Tensor, masks: Sequence[Tensor | None], is_training: bool) -> Tensor:
        """Outputs (K, B, C) for features (K, B, F) or (B, F)."""
        inputs = self.first_inputs(features, masks[0])
        for layer, mask in zip(self.layers, masks[1:], strict=True):
            outputs = layer.linear(inputs)
            if layer.normalization is not None:
                outputs = layer.normalization(outputs, is_training)
            outputs = self._activate(layer, outputs)
            if mask is not None:
                outputs = outputs * mask
            inputs = outputs + inputs if layer.residual else outputs
        return self.output(inputs)

    def _activate(self, layer: StackedLayer, sums: Tensor) -> Tensor:
        """In the memory of the sums where nobody needs them: new memory takes as long to get as they to compute."""
        if torch.is_grad_enabled() or layer.kernel.in_place is None:
            return layer.kernel.forward(sums)
        return layer.kernel.in_place[0](sums)

    def first_inputs(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """What reaches the first layer: (K, B, F)."""
        if mask is not None:
            return features * mask
        return features if features.ndim == 3 else features.expand(self.n_members, -1, -1)


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
    kernel = ACTIVATION_KERNELS[layer.activation]
    return StackedLayer(linear, normalization, kernel, layer.residual)
