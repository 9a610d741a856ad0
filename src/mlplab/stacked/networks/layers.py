"""Computes K multilayer perceptrons of one shape, and their input layers, by batched products.

Legend: K members, B batch, F features, H hidden, C outputs. Every product, sum and mask belongs to one member, so no
value affects another member, not even a NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.engine.kernels import ACTIVATION_KERNELS, ActivationKernel
from mlplab.models.inputs import CategoryInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.stacked.networks.stacked_tensors import Workspace


class StackedMasks:
    """Draws dropout masks, each member's from its own seed: 0 drops a value, 1/(1 − p) keeps it.

    Args:
        places: width and each member's share p (K,) for each position with dropout, in forward order.
    """

    def __init__(self, places: Sequence[tuple[int, Sequence[float]]]) -> None:
        # The kept share, for `bernoulli_`.
        self.places = [(width, [1 - share for share in shares]) for width, shares in places]
        self.n_members = len(self.places[0][1])

    @property
    def draws(self) -> bool:
        """Returns whether anything is dropped anywhere."""
        return any(min(kept) < 1 for _, kept in self.places)

    def none(self) -> list[Tensor | None]:
        """Returns the masks of a step without dropout."""
        return [None] * len(self.places)

    def draw(self, seeds: Sequence[int] | None, like: Tensor, memory: Workspace) -> list[Tensor | None]:
        """Draws the factors (K, B, width) of each position; None if no member drops anything there.

        Each member draws from its seed in order of positions: the same bits as alone.

        Args:
            seeds: of the members for this step (K,).
            like: (K, B, F) or (B, F), for the type and number of rows.
            memory: for the masks.
        """
        masks = self.none()
        drawn = []
        for place, (width, kept) in enumerate(self.places):
            # Without dropout there is no mask.
            if min(kept) < 1:
                masks[place] = mask = memory.take((self.n_members, like.shape[-2], width))
                drawn.append((mask.unbind(0), kept))
        if not drawn:
            return masks
        assert seeds is not None, "each member must have a seed for the step"

        # A separate generator, so that the default one is not advanced; for one seed both draw the same bits.
        generator = torch.Generator(like.device)
        for member, seed in enumerate(seeds):
            generator.manual_seed(seed)
            for rows, kept in drawn:
                # Alone, a member without dropout draws nothing; a draw here would change its later masks.
                if kept[member] < 1:
                    rows[member].bernoulli_(kept[member], generator=generator)
                else:
                    rows[member].fill_(1.0)
        for factors, (_, kept) in zip(masks, self.places, strict=True):
            if factors is not None:
                # Divides in the masks' type, as `functional.dropout` does.
                factors.div_(torch.tensor(kept, dtype=torch.float64).to(factors).view(-1, 1, 1))
        return masks


@dataclass(frozen=True)
class StackedNormalization:
    """Batch or layer normalisation of K members, scale and shift (K, H).

    Batch normalisation has running statistics (K, H), and counters of their updates (K,).
    """

    scale: Tensor
    shift: Tensor
    eps: float
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
    n_tracked: Tensor | None = None
    momentum: float = 0.0

    def __call__(self, sums: Tensor, is_training: bool) -> Tensor:
        """Normalises the sums of each member's units. (K, B, H) -> (K, B, H)."""
        if self.running_mean is None or self.running_var is None or self.n_tracked is None:
            # PyTorch's kernel takes one scale for all rows, so each member's scale is applied after it.
            normalized = functional.layer_norm(sums, sums.shape[2:], eps=self.eps)
            return torch.addcmul(self.shift.unsqueeze(1), normalized, self.scale.unsqueeze(1))
        # A batch of one row has no variance, see `mlplab.models.mlp.BatchNorm`.
        is_training = is_training and sums.shape[1] > 1
        if is_training:
            # Members take the same steps, but each has its own counter, as its module would.
            self.n_tracked.add_(1)
        # For PyTorch's kernel, each unit of each member is a column.
        columns = functional.batch_norm(
            # (K, B, H) -> (B, K·H), as statistics are computed by column.
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
        """Returns memory for the gradient, reused at every step."""
        return torch.empty_like(self.weight)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Computes weighted sums. (K, B, F) -> (K, B, H)."""
        # Product and bias in one kernel.
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.transpose(1, 2))


@dataclass(frozen=True)
class StackedLayer:
    """A hidden layer of all members. Each member's own dropout is in the masks."""

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
        # All members have the first one's architecture.
        first = networks[0]
        self.layers = [
            _stacked_layer(layer, f"hidden.{depth}", stacked)
            for depth, layer in enumerate(first.hidden)
            if isinstance(layer, HiddenLayer)
        ]
        self.output = StackedLinear(stacked["output.weight"], stacked["output.bias"])
        self.n_members = len(networks)
        # Normalisation is left to autograd, as its gradient has no kernel here.
        self.has_kernels = all(layer.normalization is None for layer in self.layers)
        places = [(first.architecture["in_features"], [network.input_dropout for network in networks])]
        for depth, layer in enumerate(self.layers):
            shares: list[float] = [network.hidden[depth].dropout for network in networks]  # type: ignore[misc]
            places.append((layer.linear.weight.shape[1], shares))
        self.masks = StackedMasks(places)

    def by_autograd(self, features: Tensor, masks: Sequence[Tensor | None], is_training: bool) -> Tensor:
        """Computes outputs (K, B, C) from features (K, B, F) or (B, F)."""
        inputs = self.first_inputs(features, masks[0])
        for layer, mask in zip(self.layers, masks[1:], strict=True):
            outputs = layer.linear(inputs)
            if layer.normalization is not None:
                outputs = layer.normalization(outputs, is_training)
            outputs = layer.kernel.forward(outputs)
            if mask is not None:
                outputs = outputs * mask
            inputs = outputs + inputs if layer.residual else outputs
        return self.output(inputs)

    def first_inputs(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the inputs of the first layer (K, B, F)."""
        if mask is not None:
            return features * mask
        # Expanded, not copied: all members read the same rows.
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
            # Layer normalisation has neither momentum nor running statistics.
            getattr(own, "momentum", 0.0),
        )
    linear = StackedLinear(stacked[f"{name}.linear.weight"], stacked[f"{name}.linear.bias"])
    kernel = ACTIVATION_KERNELS[layer.activation]
    return StackedLayer(linear, normalization, kernel, layer.residual)


class StackedPixelInputs:
    """`PixelInputs` of K members, each with its own statistics: (K, B, F) or (B, F) of uint8 -> (K, B, F)."""

    def __init__(self, stacked: Mapping[str, Tensor]) -> None:
        self.mean, self.std = (stacked[name].view(-1, 1, 1) for name in ("mean", "std"))

    def __call__(self, features: Tensor) -> Tensor:
        # A copy, as the last line works in place.
        features = features.to(self.mean.dtype, copy=True)
        if features.ndim == 2:
            # Repeated, not expanded, as each member writes its own numbers.
            features = features.repeat(len(self.mean), 1, 1)
        return features.sub_(self.mean).div_(self.std)


class StackedCategoryInputs:
    """`CategoryInputs` of K members: (K, B, F) -> (K, B, H), or (B, F) -> (B, H) where no vectors are learned."""

    def __init__(self, first: CategoryInputs, stacked: Mapping[str, Tensor]) -> None:
        self.n_numeric = first.n_numeric
        # The categories of the columns belong to the architecture, and are the same for all.
        self.columns, self.levels = stacked["one_hot_column"][0], stacked["one_hot_level"][0]
        self.embedded_columns = first.embedded_columns
        self.vectors = [stacked[f"embeddings.{index}.weight"] for index in range(len(self.embedded_columns))]

    def __call__(self, features: Tensor) -> Tensor:
        if self.vectors and features.ndim == 2:
            # Members that share rows still have their own vectors.
            features = features.expand(len(self.vectors[0]), -1, -1)
        parts = [features[..., : self.n_numeric]]
        if len(self.levels):
            codes = features.index_select(-1, self.columns)
            parts.append((codes == self.levels).to(features.dtype))
        for column, vectors in zip(self.embedded_columns, self.vectors, strict=True):
            parts.append(_look_up(vectors, features[..., column].to(torch.int64)))
        return torch.cat(parts, dim=-1)


def _look_up(vectors: Tensor, codes: Tensor) -> Tensor:
    """Looks up codes (K, B) in tables (K, levels, width): -> (K, B, width). The vector of code 0 stays 0."""
    n_members, n_levels, _ = vectors.shape
    # The members' tables are concatenated, so that one call looks up all codes.
    first_rows = torch.arange(0, n_members * n_levels, n_levels, device=codes.device).unsqueeze(1)
    found = functional.embedding(codes + first_rows, vectors.flatten(0, 1))
    # Not `padding_idx`, which is a single row; here each member has such a row.
    return found * (codes != 0).unsqueeze(-1)
