"""Input layers: expand compactly stored features, such as codes of categories and bytes of pixels.

Each batch is expanded when it is used, so the data set stays small in memory. The layers are built from plain values,
which a checkpoint can hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlplab.errors import UserError


class PixelInputs(nn.Module):
    """Standardises pixels, (x − mean) / std, with one mean and std for all pixels: (B, F) uint8 -> (B, F)."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, n_features: int, mean: float, std: float) -> None:
        super().__init__()
        self.out_features = n_features
        # Buffers, so that they follow the module to its device and dtype, and into exports.
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    @property
    def column_widths(self) -> list[int]:
        """Returns the width of each column of the outputs."""
        return [1] * self.out_features

    def forward(self, features: Tensor) -> Tensor:
        # Always a copy: the next two operations work in place, and would change the data set.
        return features.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)


class CategoryInputs(nn.Module):
    """Passes numeric features on, and encodes categories as one-hot or embedding: (B, F) -> (B, out_features).

    The last columns hold category codes: 1 to `n_levels`, and 0 for a category that is not in the training part. Code 0
    is encoded as zeros: weights of its own would stay random, as no training row updates them.

    Args:
        n_features: F.
        n_levels: number of categories of each categorical column.
        embedding_dims: width of the embedding of each categorical column, drawn from N(0, 1/width); 0 for one-hot.
    """

    one_hot_column: Tensor
    one_hot_level: Tensor

    def __init__(self, *, n_features: int, n_levels: Sequence[int], embedding_dims: Sequence[int]) -> None:
        super().__init__()
        if len(n_levels) != len(embedding_dims) or len(n_levels) > n_features:
            raise UserError(
                "every categorical column must have a number of categories and an embedding width",
                f"there are {len(n_levels)} and {len(embedding_dims)} for {n_features} features",
                "one of each for each column",
            )
        self.n_numeric = n_features - len(n_levels)
        columns = list(zip(range(self.n_numeric, n_features), n_levels, embedding_dims, strict=True))
        # Each column is listed once per category, so that a single comparison encodes all.
        one_hot = [(column, level) for column, n, width in columns if not width for level in range(1, n + 1)]
        # False: not in the state dict, as both follow from the options in the checkpoint.
        self.register_buffer("one_hot_column", torch.tensor([c for c, _ in one_hot], dtype=torch.int64), False)
        self.register_buffer("one_hot_level", torch.tensor([level for _, level in one_hot]), False)
        self.embedded_columns = [column for column, _, width in columns if width]
        # An extra row for the unknown category; `padding_idx` keeps its gradient at zero.
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, width, padding_idx=0) for _, n, width in columns if width)
        for embedding in self.embeddings:
            assert isinstance(embedding, nn.Embedding)
            with torch.no_grad():
                # The mean squared length of an embedding is then 1, as for a one-hot vector.
                embedding.weight.normal_(0.0, embedding.embedding_dim**-0.5)
                # `normal_` has just overwritten the zeros that nn.Embedding puts there.
                embedding.weight[0] = 0.0
        self._category_widths = [n for _, n, width in columns if not width] + [
            width for width in embedding_dims if width
        ]
        self.out_features = self.n_numeric + sum(self._category_widths)

    @property
    def column_widths(self) -> list[int]:
        """Returns the width of each column of the outputs: of numbers, one-hot columns, embedded columns."""
        return [1] * self.n_numeric + self._category_widths

    def forward(self, features: Tensor) -> Tensor:
        parts = [features[:, : self.n_numeric]]
        if len(self.one_hot_level):
            codes = features.index_select(1, self.one_hot_column)
            parts.append((codes == self.one_hot_level).to(features.dtype))
        for column, embedding in zip(self.embedded_columns, self.embeddings, strict=True):
            # Codes are stored as floating-point numbers; float32 is exact for whole numbers up to 2**24.
            parts.append(embedding(features[:, column].to(torch.int64)))
        return torch.cat(parts, dim=1)


class WithInputs(nn.Module):
    """A network behind its input layer: (B, F) -> (B, C)."""

    def __init__(self, inputs: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.inputs, self.network = inputs, network

    def forward(self, features: Tensor) -> Tensor:
        return self.network(self.inputs(features))  # type: ignore[no-any-return]


InputLayer = PixelInputs | CategoryInputs

# A closed table: importing any name from a checkpoint would let it run code.
INPUTS: dict[str, type[PixelInputs] | type[CategoryInputs]] = {"pixels": PixelInputs, "categories": CategoryInputs}
"""Name → input layer. A checkpoint cannot name any other."""


def build_inputs(encoding: Mapping[str, Any], n_features: int) -> InputLayer:
    """Builds the input layer that `Preprocessing.input_encoding` describes.

    Raises:
        UserError: the name is not in `INPUTS`.
    """
    options = dict(encoding)
    name = options.pop("name", None)
    if name not in INPUTS:
        raise UserError(f"an input layer must be one of {', '.join(INPUTS)}", f"{name!r}", "another checkpoint")
    return INPUTS[name](n_features=n_features, **options)
