"""Numeric embeddings: each numeric column becomes a vector, before the first layer of the network.

Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning". A single neuron of the first
layer sees a number x only as w·x. Of an embedding it sees any function that is piecewise linear, or periodic, in x.

| name | embedding of x, with weights of each column's own |
|---|---|
| linear | ReLU(w x + b), the paper's LR |
| piecewise | V e(x) + b, where e_t(x) is the share of bin t that lies below x (section 3.2, eq. 1) |
| periodic | ReLU(V [cos 2πcx, sin 2πcx] + b), where the frequencies c are learned (section 3.3, eq. 2) |
| pbld | [V cos(2πcx + φ) + b, x], where the phases φ are learned too (Holzmüller et al. 2024, section 3) |

Legend: B batch, F numeric columns, D width of an embedding, K bins or frequencies of a column. All columns are embedded
by one operation: nothing here goes through them one by one.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlplab.errors import UserError
from mlplab.models.inputs import InputLayer


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Draws a parameter from U(−a, a), a = √(1 / fan_in), as the authors do, and nn.Linear."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class ColumnwiseLinear(nn.Module):
    """Applies a linear layer of its own to each column: (B, F, K) -> (B, F, D)."""

    def __init__(self, n_columns: int, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = _uniform(n_columns, in_features, out_features, fan_in=in_features)
        self.bias = _uniform(n_columns, out_features, fan_in=in_features) if bias else None

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.einsum("bfk,fkd->bfd", inputs, self.weight)
        return outputs if self.bias is None else outputs + self.bias


class ColumnwiseLine(nn.Module):
    """Computes w x + b with weights of its own for each column: (B, F) -> (B, F, D)."""

    def __init__(self, n_columns: int, out_features: int) -> None:
        super().__init__()
        self.slope = _uniform(n_columns, out_features, fan_in=out_features)
        self.bias = _uniform(n_columns, out_features, fan_in=out_features)

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers.unsqueeze(-1) * self.slope + self.bias


class LinearEmbedding(nn.Module):
    """Computes ReLU(w x + b): (B, F) -> (B, F, D).

    Without the ReLU the first layer of the network would make a linear function of x out of it again.
    """

    def __init__(self, *, n_columns: int, d_embedding: int = 32) -> None:
        super().__init__()
        self.out_features = d_embedding
        self.line = ColumnwiseLine(n_columns, d_embedding)

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.relu(self.line(numbers))


class PiecewiseEmbedding(nn.Module):
    """Encodes each number by its bins, then applies a linear layer: (B, F) -> (B, F, D).

    With bin t from e_{t−1} to e_t, the encoding has (x − e_{t−1}) / (e_t − e_{t−1}), cut off at 0 and 1. The first bin
    is not cut off below, nor the last one above: beyond the range of the training part the encoding goes on as a line.

    Args:
        n_columns: F.
        n_bins: K, of the column that has most; for a column with fewer, the others are 0.
        d_embedding: D.
        piecewise_version: `A`, with a ReLU behind the linear layer, is that of the paper. `B` (Gorishniy et al. 2024)
            adds w x + b instead, and its weights of the bins are 0 before training: the embedding begins as a line.
    """

    left: Tensor
    width: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, *, n_columns: int, n_bins: int, d_embedding: int = 16, piecewise_version: str = "B") -> None:
        super().__init__()
        self.out_features = d_embedding
        # Buffers, so that bins are saved, moved and exported with the weights.
        for name, value in (("left", 0.0), ("width", 1.0), ("lowest", 0.0), ("highest", 0.0)):
            self.register_buffer(name, torch.full((n_columns, n_bins), value))
        # In this order, so that the authors' package draws the same numbers.
        self.line = ColumnwiseLine(n_columns, d_embedding) if piecewise_version == "B" else None
        self.linear = ColumnwiseLinear(n_columns, n_bins, d_embedding, bias=piecewise_version == "A")
        if piecewise_version == "B":
            nn.init.zeros_(self.linear.weight)

    def set_edges(self, edges: Sequence[Tensor]) -> None:
        """Sets the bins of each column by its edges, ascending and at least two."""
        for column, of_column in enumerate(edges):
            n = len(of_column) - 1
            self.left[column, :n], self.width[column, :n] = of_column[:-1], of_column.diff()
            self.highest[column, :n] = 1.0
            # Not infinity: weight averaging subtracts buffers too, and inf - inf is NaN.
            finite = torch.finfo(self.lowest.dtype)
            self.lowest[column, 0], self.highest[column, n - 1] = finite.min, finite.max

    def encode(self, numbers: Tensor) -> Tensor:
        """Returns the share of each bin that lies below the number: (B, F) -> (B, F, K)."""
        shares = (numbers.unsqueeze(-1) - self.left) / self.width
        return torch.clamp(shares, self.lowest, self.highest)

    def forward(self, numbers: Tensor) -> Tensor:
        embedded: Tensor = self.linear(self.encode(numbers))
        return torch.relu(embedded) if self.line is None else embedded + self.line(numbers)


class PeriodicEmbedding(nn.Module):
    """Encodes each number by waves, then applies a linear layer and ReLU: (B, F) -> (B, F, D).

    Args:
        n_columns: F.
        d_embedding: D.
        n_frequencies: K; each gives a cosine and a sine.
        frequency_scale: the standard deviation σ of the frequencies before training, the most important option: small
            for smooth functions, large for functions that change within a small share of a column's range.
        lite: whether all columns share the linear layer (Gorishniy et al. 2023, "TabR", section 3).
    """

    def __init__(
        self,
        *,
        n_columns: int,
        d_embedding: int = 24,
        n_frequencies: int = 48,
        frequency_scale: float = 0.01,
        lite: bool = True,
    ) -> None:
        super().__init__()
        self.out_features = d_embedding
        # NOTE[DIFF]: cut off at three standard deviations, as in the authors' package and not in the paper.
        self.frequencies = nn.Parameter(torch.empty(n_columns, n_frequencies))
        bound = 3 * frequency_scale
        nn.init.trunc_normal_(self.frequencies, std=frequency_scale, a=-bound, b=bound)
        self.linear: nn.Module = (
            nn.Linear(2 * n_frequencies, d_embedding)
            if lite
            else ColumnwiseLinear(n_columns, 2 * n_frequencies, d_embedding)
        )

    def forward(self, numbers: Tensor) -> Tensor:
        angles = 2 * math.pi * self.frequencies * numbers.unsqueeze(-1)
        return torch.relu(self.linear(torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)))


class PBLDEmbedding(nn.Module):
    """Encodes each number by waves with phases, a linear layer, and the number itself: (B, F) -> (B, F, D).

    "Periodic bias linear DenseNet", the embedding of RealMLP. Its weights learn at a tenth of the rate.

    Args:
        n_columns: F.
        d_embedding: D, of which one is the number itself.
        n_frequencies: K.
        frequency_scale: the standard deviation σ of the frequencies before training.
    """

    def __init__(
        self, *, n_columns: int, d_embedding: int = 4, n_frequencies: int = 16, frequency_scale: float = 0.1
    ) -> None:
        super().__init__()
        if d_embedding < 2:
            raise UserError("d_embedding of pbld must be 2 or more", f"d_embedding={d_embedding}", "d_embedding=4")
        self.out_features = d_embedding
        self.frequencies = nn.Parameter(frequency_scale * torch.randn(n_columns, n_frequencies))
        self.phases = nn.Parameter(torch.empty(n_columns, n_frequencies).uniform_(-math.pi, math.pi))
        self.linear = ColumnwiseLinear(n_columns, n_frequencies, d_embedding - 1)
        self.rate_factors = {"frequencies": 0.1, "phases": 0.1, "linear.weight": 0.1, "linear.bias": 0.1}

    def forward(self, numbers: Tensor) -> Tensor:
        waves = torch.cos(2 * math.pi * self.frequencies * numbers.unsqueeze(-1) + self.phases)
        return torch.cat([self.linear(waves), numbers.unsqueeze(-1)], dim=-1)


# A closed table: importing any name from a checkpoint would let it run code.
NUMERIC_EMBEDDINGS: dict[str, type[LinearEmbedding | PiecewiseEmbedding | PeriodicEmbedding | PBLDEmbedding]] = {
    "linear": LinearEmbedding,
    "piecewise": PiecewiseEmbedding,
    "periodic": PeriodicEmbedding,
    "pbld": PBLDEmbedding,
}
"""Name → embedding. A checkpoint cannot name any other."""


class EmbeddedInputs(nn.Module):
    """Embeds the numeric columns, which come first, and passes the others on: (B, F) -> (B, out_features).

    Args:
        inputs: the input layer that first expands categories or pixels; None if there is none.
        n_features: F.
        name: of `NUMERIC_EMBEDDINGS`.
        n_columns: how many of the first columns are numeric.
        **options: of the embedding.
    """

    def __init__(
        self, inputs: InputLayer | None, *, n_features: int, name: str, n_columns: int, **options: Any
    ) -> None:
        super().__init__()
        if name not in NUMERIC_EMBEDDINGS:
            known = ", ".join(NUMERIC_EMBEDDINGS)
            raise UserError(f"a numeric embedding must be one of {known}", f"{name!r}", "another checkpoint")
        if not 0 < n_columns <= n_features:
            raise UserError(f"an embedding must have 1 to {n_features} columns", str(n_columns), "another checkpoint")
        # Plain values, from which a checkpoint builds the embedding again.
        self.options: dict[str, Any] = {"name": name, "n_columns": n_columns, **options}
        self.inputs = inputs
        self.embedding = NUMERIC_EMBEDDINGS[name](n_columns=n_columns, **options)
        self._n_features = n_features
        others = (n_features if inputs is None else inputs.out_features) - n_columns
        self.out_features: int = n_columns * self.embedding.out_features + others

    @property
    def column_widths(self) -> list[int]:
        """Returns the width of each column of the outputs."""
        n_columns = self.options["n_columns"]
        widths = [1] * self._n_features if self.inputs is None else self.inputs.column_widths
        return [self.embedding.out_features] * n_columns + widths[n_columns:]

    def forward(self, features: Tensor) -> Tensor:
        expanded = features if self.inputs is None else self.inputs(features)
        n_columns = self.options["n_columns"]
        embedded = self.embedding(expanded[:, :n_columns]).flatten(1)
        return torch.cat([embedded, expanded[:, n_columns:]], dim=1)
