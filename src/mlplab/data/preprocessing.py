"""Standardisation, fitted on the training part and kept with the model."""

from typing import Any

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x − mean) / std for each feature: (B, F) -> (B, F) float32.

    Statistics are computed in float64. A feature that is constant in the training part has std 0: it is only
    centred, so that it stays 0 there.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.to(torch.float64))
        self.register_buffer("std", std.to(torch.float64))

    @classmethod
    def fit(cls, features: Tensor) -> "Standardize":
        """Takes mean and standard deviation (over N, not N − 1) of the training rows (N, F)."""
        exact = features.to(torch.float64)
        return cls(exact.mean(0), exact.std(0, correction=0))

    def forward(self, features: Tensor) -> Tensor:
        # Rounding leaves a constant column with a std near 1e-16 of its size rather than 0.
        constant = self.std <= 1e-12 * self.mean.abs()
        scale = torch.where(constant, torch.ones_like(self.std), self.std)
        return ((features.to(torch.float64) - self.mean) / scale).to(torch.float32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"name": "standardize", "mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Standardize":
        """The inverse of `as_dict`."""
        return cls(plain["mean"], plain["std"])
