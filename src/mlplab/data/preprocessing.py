"""From the values of a source to features in memory: fitted on the training part, kept with the model."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Preprocessing(nn.Module, ABC):
    """Takes what a data set's `inputs` gives, (B, …) each, and returns features (B, F) to be held in memory.

    Applied once to all rows in training, and by the same code in prediction and export.
    """

    name: str
    """Under which a checkpoint names it."""

    def input_encoding(self) -> dict[str, Any] | None:
        """How the network is to take these features, as `mlplab.models.inputs` builds it; None: as they are."""
        return None

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""

    @classmethod
    @abstractmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Preprocessing":
        """The inverse of `as_dict`."""


class Standardize(Preprocessing):
    """(x − mean) / std for each feature: (B, F) -> (B, F) float32.

    Statistics are computed in float64. A feature that is constant in the training part has std 0: it is only
    centred, so that it stays 0 there.
    """

    name = "standardize"
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
        return {"name": self.name, "mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Standardize":
        return cls(plain["mean"], plain["std"])


class ScalePixels(Preprocessing):
    """Leaves grey values as they are, (B, F) uint8, and has the network standardise each batch.

    One mean and one standard deviation serve all pixels: scaled each by its own, a pixel that is nearly always
    black would be blown up where it is not.
    """

    name = "pixels"

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    @classmethod
    def fit(cls, features: Tensor) -> "ScalePixels":
        """Takes mean and standard deviation over all pixels of the training rows (N, F) uint8."""
        counts = torch.bincount(features.flatten(), minlength=256).to(torch.float64)
        levels = torch.arange(256, dtype=torch.float64)
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean).square()).sum() / counts.sum())
        return cls(mean, variance**0.5 or 1.0)

    def forward(self, features: Tensor) -> Tensor:
        return features.to(torch.uint8)

    def input_encoding(self) -> dict[str, Any]:
        return {"name": "pixels", "mean": self.mean, "std": self.std}

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "ScalePixels":
        return cls(float(plain["mean"]), float(plain["std"]))
