"""Networks that are nobody's but a test's."""

import sys

import torch
from torch import Tensor, nn


class Stackable(nn.Module):
    """Says that it can be trained in a stack."""

    stackable = True

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(in_features, 6), nn.Linear(6, out_features)

    def forward(self, features: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(features)).square())  # type: ignore[no-any-return]


class Unstackable(Stackable):
    """Says that it cannot."""

    stackable = False


class Exits(Stackable):
    """Ends the process, as far as that is up to it."""

    def forward(self, features: Tensor) -> Tensor:
        sys.exit(0)


class Leaves(Stackable):
    """Raises what is no Exception."""

    def forward(self, features: Tensor) -> Tensor:
        raise GeneratorExit("planted")


class Quadratic(nn.Bilinear):
    """Has weights, but no linear layer."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, in_features, out_features)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(features, features)
