"""The input layers of K members at once: each with its own statistics and its own learned vectors.

Legend: K members, B batch, F features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mlplab.models.inputs import CategoryInputs


class StackedPixelInputs:
    """`PixelInputs`: (K, B, F) or (B, F) of uint8 -> (K, B, F)."""

    def __init__(self, stacked: Mapping[str, Tensor]) -> None:
        self.mean, self.std = (stacked[name].view(-1, 1, 1) for name in ("mean", "std"))

    def __call__(self, features: Tensor) -> Tensor:
        features = features.to(self.mean.dtype, copy=True)
        if features.ndim == 2:
            features = features.repeat(len(self.mean), 1, 1)
        return features.sub_(self.mean).div_(self.std)


class StackedCategoryInputs:
    """`CategoryInputs`: (K, B, F) -> (K, B, out_features). Shared features (B, F) stay so where nothing is learned."""

    def __init__(self, first: CategoryInputs, stacked: Mapping[str, Tensor]) -> None:
        self.n_numeric = first.n_numeric
        # Which column has which levels belongs to the architecture, and is the same for all.
        self.columns, self.levels = stacked["one_hot_column"][0], stacked["one_hot_level"][0]
        self.embedded_columns = first.embedded_columns
        self.vectors = [stacked[f"embeddings.{index}.weight"] for index in range(len(self.embedded_columns))]

    def __call__(self, features: Tensor) -> Tensor:
        if self.vectors and features.ndim == 2:
            features = features.expand(len(self.vectors[0]), -1, -1)
        parts = [features[..., : self.n_numeric]]
        if len(self.levels):
            codes = features.index_select(-1, self.columns)
            parts.append((codes == self.levels).to(features.dtype))
        for column, vectors in zip(self.embedded_columns, self.vectors, strict=True):
            parts.append(_looked_up(vectors, features[..., column].to(torch.int64)))
        return torch.cat(parts, dim=-1)


def _looked_up(vectors: Tensor, codes: Tensor) -> Tensor:
    """The vectors (K, B, width) for codes (K, B) out of (K, levels, width); that of code 0 is 0 and stays so."""
    n_members, n_levels, _ = vectors.shape
    first_rows = torch.arange(0, n_members * n_levels, n_levels, device=codes.device).unsqueeze(1)
    found = functional.embedding(codes + first_rows, vectors.flatten(0, 1))
    return found * (codes != 0).unsqueeze(-1)
