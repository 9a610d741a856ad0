"""Imputation and scaling of a table's columns, as a module with buffers: fitted once, stored with the model."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlplab.data.preprocessing import Preprocessing
from mlplab.data.table.inputs import TableInputs

N_QUANTILES = 1024
"""A power of two, for the search by halves."""

LARGEST_SCORE = 5.199337582605575
"""Φ⁻¹(1 − 1e-7), where quantile-normalised values are cut off."""


class TablePreprocessing(Preprocessing):
    """Numbers imputed and scaled, then missing-indicators, then the numbers of levels.

    Legend: P numeric and Q categorical columns, M of the numeric ones with missing values in training.
    (B, P) float64 with NaN for missing, (B, Q) int64 -> (B, P + M + Q) float32.

    Numbers: a missing one becomes the training median; then (x − mean) / std, or with `quantiles` the normal
    score of the training quantile that x is.

    Args:
        inputs: the columns and levels.
        median, mean, std: (P,), of the training part; mean and std after imputation.
        indicated: (M,) positions of the columns that get an indicator.
        quantiles: (P, K) ascending, and
        scores: (P, K) their normal scores; None for scaling by mean and std.
        embedding_dims: (Q,) widths of learned vectors; 0 for one-hot.
    """

    name = "table"
    median: Tensor
    mean: Tensor
    std: Tensor
    indicated: Tensor
    quantiles: Tensor | None
    scores: Tensor | None

    def __init__(
        self,
        inputs: TableInputs,
        *,
        median: Tensor,
        mean: Tensor,
        std: Tensor,
        indicated: Tensor,
        embedding_dims: list[int],
        quantiles: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.embedding_dims = embedding_dims
        for name, value in (("median", median), ("mean", mean), ("std", std)):
            self.register_buffer(name, value.to(torch.float64))
        self.register_buffer("indicated", indicated.to(torch.int64))
        self.register_buffer("quantiles", quantiles)
        self.register_buffer("scores", scores)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """P + M + Q names."""
        numeric = [column.name for column in self.inputs.numeric]
        indicators = [f"{numeric[position]} is missing" for position in self.indicated.tolist()]
        return (*numeric, *indicators, *(column.name for column in self.inputs.categorical))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        is_missing = numeric.isnan()
        numbers = torch.where(is_missing, self.median, numeric)
        scaled = (numbers - self.mean) / self.std if self.quantiles is None else self._normal_scores(numbers)
        indicators = is_missing.index_select(1, self.indicated)
        return torch.cat([scaled.to(torch.float32), indicators.to(torch.float32), categorical.to(torch.float32)], dim=1)

    def _normal_scores(self, numbers: Tensor) -> Tensor:
        """Linear between the scores of the two quantiles that enclose each number, cut off at the ends.

        NOTE[DIFF]: scikit-learn's QuantileTransformer interpolates the rank and takes its normal score then.
        Between 1024 quantiles the two are alike; this one needs no inverse error function, which ONNX lacks.
        """
        assert self.quantiles is not None
        assert self.scores is not None
        columns = torch.arange(self.quantiles.shape[0], device=numbers.device).expand(numbers.shape)
        below = torch.zeros_like(numbers, dtype=torch.int64)
        step = N_QUANTILES // 2
        while step:  # the last quantile that is not above the number
            candidate = below + step
            below = torch.where(self.quantiles[columns, candidate] <= numbers, candidate, below)
            step //= 2
        above = (below + 1).clamp(max=N_QUANTILES - 1)
        low, high = self.quantiles[columns, below], self.quantiles[columns, above]
        share = ((numbers - low) / torch.where(high > low, high - low, 1.0)).clamp(0.0, 1.0)
        return self.scores[columns, below] * (1 - share) + self.scores[columns, above] * share

    def input_encoding(self) -> dict[str, Any] | None:
        categorical = self.inputs.categorical
        if not categorical:
            return None
        return {
            "name": "categories",
            "n_levels": [column.n_levels for column in categorical],
            "embedding_dims": list(self.embedding_dims),
        }

    def as_dict(self) -> dict[str, Any]:
        names = ("median", "mean", "std", "indicated", "quantiles", "scores", "embedding_dims")
        return {"name": self.name, "inputs": self.inputs.as_dict(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "TablePreprocessing":
        options = {name: value for name, value in plain.items() if name not in ("name", "inputs")}
        return cls(TableInputs.from_dict(plain["inputs"]), **options)


def quantiles_and_scores(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(K,) quantiles of the training values (N,), each value once, and the normal scores of their ranks.

    A value that makes up many ranks (a column that is mostly 0) gets the score of their middle. Where fewer than
    K values differ, the last one is repeated.

    NOTE[DIFF]: scikit-learn's QuantileTransformer gives the smallest value −5.2 and the largest 5.2 however many
    ranks they make up, so that a column that is mostly 0 has −5.2 in most rows.
    """
    shares = np.linspace(0, 1, N_QUANTILES)
    distinct, first, count = np.unique(np.quantile(values, shares), return_index=True, return_counts=True)
    middle = (shares[first] + shares[first + count - 1]) / 2
    scores = torch.special.ndtri(torch.from_numpy(middle)).clamp(-LARGEST_SCORE, LARGEST_SCORE).numpy()
    rest = N_QUANTILES - len(distinct)
    return np.pad(distinct, (0, rest), mode="edge"), np.pad(scores, (0, rest), mode="edge")


def default_embedding_dim(n_levels: int) -> int:
    """1.6 · n^0.56, at most 64: fast.ai's rule, found on its authors' tables."""
    return min(64, max(2, int(1.6 * n_levels**0.56)))
