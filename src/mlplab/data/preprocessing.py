"""Preprocessing, fitted on the training part and saved with the model."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Preprocessing(nn.Module, ABC):
    """Transforms the `inputs` of a data set, (B, …) each, into features (B, F).

    Training applies it once to all rows. Prediction and export use the same code.
    """

    name: str
    """Name in checkpoints."""

    def input_encoding(self) -> dict[str, Any] | None:
        """Returns the options of the input layer (see `mlplab.models.inputs`); None if it needs none."""
        return None

    def n_numeric(self, n_features: int) -> int:
        """Returns the number of numeric columns, which come first among the features."""
        return n_features

    def unscaled(self, features: Tensor) -> Tensor | None:
        """Returns features (B, F) in the unit of the data, float64; None unless all are scaled numbers."""
        return None

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Returns plain values and tensors for a checkpoint."""

    @classmethod
    @abstractmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Preprocessing":
        """Rebuilds the preprocessing from `as_dict`."""


class Standardize(Preprocessing):
    """Standardises each feature, (x − mean) / std: (B, F) -> (B, F) float32.

    Statistics are computed in float64. A feature that is constant in the training part has std 0, and is only centred.
    """

    name = "standardize"
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        # Buffers, so that they are moved and exported along.
        self.register_buffer("mean", mean.to(torch.float64))
        self.register_buffer("std", std.to(torch.float64))

    @classmethod
    def fit(cls, features: Tensor) -> "Standardize":
        """Computes mean and standard deviation (over N, not N − 1) of the training rows (N, F)."""
        exact = features.to(torch.float64)
        # Over N, as in scikit-learn's StandardScaler; for one row N − 1 would divide by zero.
        return cls(exact.mean(0), exact.std(0, correction=0))

    def is_constant(self) -> Tensor:
        """Returns which features (F,) are constant in the training part."""
        # By rounding, a constant column may have a std of about 1e-16 of its size.
        return self.std <= 1e-12 * self.mean.abs()

    def scale(self) -> Tensor:
        """Returns the divisors (F,) of centred features."""
        # Dividing by 1 leaves a centred constant at 0, and other values unscaled.
        return torch.where(self.is_constant(), torch.ones_like(self.std), self.std)

    def forward(self, features: Tensor) -> Tensor:
        scale = self.scale()
        # In float64: for values far from 0, float32 would lose the digits in which they differ.
        return ((features.to(torch.float64) - self.mean) / scale).to(torch.float32)

    def unscaled(self, features: Tensor) -> Tensor:
        return features.to(torch.float64) * self.scale() + self.mean

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Standardize":
        return cls(plain["mean"], plain["std"])


class ScalePixels(Preprocessing):
    """Keeps grey values (B, F) as uint8; the input layer of the network standardises each batch.

    All pixels share one mean and one std. With its own std, a pixel that is nearly always black would get huge values
    in the few other images.
    """

    name = "pixels"

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    @classmethod
    def fit(cls, features: Tensor) -> "ScalePixels":
        """Computes mean and standard deviation over all pixels of the training rows (N, F) uint8."""
        # Counts the 256 values: a copy in float64 would be eight times as large as the pixels.
        counts = torch.bincount(features.flatten(), minlength=256).to(torch.float64)
        levels = torch.arange(256, dtype=torch.float64)
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean).square()).sum() / counts.sum())
        # Images of a single colour have a std of 0.
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
