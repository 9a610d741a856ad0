"""The preprocessing of a table, fitted once and stored with the model: values → tensors → imputed and scaled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.data.preprocessing import Preprocessing
from mlplab.data.table.column import Column
from mlplab.data.table.column_values import datetime_part

N_QUANTILES = 1024
"""A power of two, for the binary search."""

LARGEST_SCORE = 5.199337582605575
"""Φ⁻¹(1 − 1e-7), where normal scores are cut off."""


@dataclass(frozen=True)
class NumericInput:
    """A numeric feature: a column of numbers, or one part of a column of dates."""

    column: Column
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.column.name}.{self.part}" if self.part else self.column.name

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """Returns the feature of each row as Float64, null where missing."""
        series = frame[self.column.name]
        return datetime_part(series, self.part) if self.part else series


@dataclass(frozen=True)
class CategoricalInput:
    """A categorical feature: its categories in the training part, numbered from 1; a last number for "missing"."""

    column: Column
    categories: tuple[str, ...]
    has_missing: bool

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def n_categories(self) -> int:
        """Counts the categories with "missing", where training had some, and without "unknown", which is 0."""
        return len(self.categories) + self.has_missing

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """Returns the number of each row's category, Int64."""
        series = frame[self.column.name]
        if isinstance(series.dtype, pl.Enum):  # each category is looked up once
            codes = self._codes(series.dtype.categories).gather(series.to_physical())
        else:
            codes = self._codes(series)
        if series.null_count() and self.has_missing:
            codes = codes.set(series.is_null(), self.n_categories)
        # 0 is "unknown": a category, or a missing value, that training did not have.
        return codes.fill_null(0)

    def _codes(self, strings: pl.Series) -> pl.Series:
        """Returns the numbers of categories, null where training did not have them."""
        # Unless strict, a string that is no category becomes null.
        return strings.cast(pl.Enum(self.categories), strict=False).to_physical().cast(pl.Int64) + 1


@dataclass(frozen=True)
class TableInputs:
    """The inputs of the preprocessing: numeric (N, P) float64 with NaN for missing, categorical (N, Q) int64."""

    numeric: tuple[NumericInput, ...]
    categorical: tuple[CategoricalInput, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Returns the columns that a file must have, each once."""
        inputs: list[NumericInput | CategoricalInput] = [*self.numeric, *self.categorical]
        # The parts of a date are several features of one column.
        return tuple({one.column.name: one.column for one in inputs}.values())

    def encode(self, frame: pl.DataFrame) -> tuple[Tensor, Tensor]:
        """Encodes the rows of a frame of values."""
        # Each column is written in one piece: from row to row, it would be a cache line for each value.
        numeric = np.empty((len(self.numeric), len(frame))).T
        for position, number in enumerate(self.numeric):
            numeric[:, position] = number.of(frame).to_numpy()  # NaN for null
        codes = np.empty((len(self.categorical), len(frame)), dtype=np.int64).T
        for position, category in enumerate(self.categorical):
            codes[:, position] = category.of(frame).to_numpy()
        return torch.from_numpy(numeric), torch.from_numpy(codes)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values. Checkpoints call categories levels."""
        return {
            "numeric": [{"column": n.column.as_dict(), "part": n.part} for n in self.numeric],
            "categorical": [
                {"column": c.column.as_dict(), "levels": list(c.categories), "has_missing": c.has_missing}
                for c in self.categorical
            ],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Sequence[Mapping[str, Any]]]) -> "TableInputs":
        """Rebuilds the inputs from `as_dict`."""
        return cls(
            tuple(NumericInput(Column.from_dict(n["column"]), n["part"]) for n in plain["numeric"]),
            tuple(
                CategoricalInput(Column.from_dict(c["column"]), tuple(c["levels"]), c["has_missing"])
                for c in plain["categorical"]
            ),
        )


class TablePreprocessing(Preprocessing):
    """Imputes and scales numbers; behind them come missing-indicators, then the numbers of the categories.

    Legend: P numeric and Q categorical columns, M of the numeric ones with missing values in training.
    (B, P) float64 with NaN for missing, (B, Q) int64 -> (B, P + M + Q) float32.

    A missing number becomes the training median. Then x becomes (x − mean) / std, or with `quantiles` the normal score
    of its quantile in training. With `smooth_clip` the scaled number z becomes z / √(1 + (z/3)²), which is z near 0 and
    stays within ±3 (Holzmüller et al. 2024, section 3).

    Args:
        inputs: the columns and categories.
        median, mean, std: (P,), of the training part; mean and std after imputation. With a robust scaling the last
            two are median and distance of the quartiles.
        indicated: (M,) positions of the columns that get an indicator.
        quantiles: (P, K) ascending, and
        scores: (P, K) their normal scores; None for scaling by mean and std.
        embedding_dims: (Q,) widths of the embeddings; 0 for one-hot.
        smooth_clip: whether scaled numbers are kept within ±3.
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
        smooth_clip: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.smooth_clip = inputs, smooth_clip
        self.embedding_dims = embedding_dims
        for name, value in (("median", median), ("mean", mean), ("std", std)):
            # Buffers go with the module to another device and into exported models, and no optimizer changes them.
            self.register_buffer(name, value.to(torch.float64))
        self.register_buffer("indicated", indicated.to(torch.int64))
        self.register_buffer("quantiles", quantiles)
        self.register_buffer("scores", scores)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Returns P + M + Q names."""
        numeric = [column.name for column in self.inputs.numeric]
        indicators = [f"{numeric[position]} is missing" for position in self.indicated.tolist()]
        return (*numeric, *indicators, *(column.name for column in self.inputs.categorical))

    def uses_of_columns(self) -> dict[str, list[str]]:
        """Says of each column what becomes of it."""
        uses: dict[str, list[str]] = {}
        for one in self.inputs.numeric:
            uses.setdefault(one.column.name, []).append(one.part or "scaled")
        for position in self.indicated.tolist():
            uses[self.inputs.numeric[position].column.name].append("missing: median and an indicator")
        for category, width in zip(self.inputs.categorical, self.embedding_dims, strict=True):
            how = f"embedding of {width}" if width else "one-hot"
            uses[category.name] = [f"{category.n_categories} categories", how]
        return uses

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        is_missing = numeric.isnan()
        # In float64 up to here, so that values that differ only in late digits stay apart; rounded once, at the end.
        numbers = torch.where(is_missing, self.median, numeric)
        scaled = (numbers - self.mean) / self.std if self.quantiles is None else self._normal_scores(numbers)
        if self.smooth_clip:
            scaled = scaled / (1 + (scaled / 3).square()).sqrt()
        indicators = is_missing.index_select(1, self.indicated)
        # One tensor holds all of them: float32 is exact for codes below 2**24.
        return torch.cat([scaled.to(torch.float32), indicators.to(torch.float32), categorical.to(torch.float32)], dim=1)

    def _normal_scores(self, numbers: Tensor) -> Tensor:
        """Interpolates linearly between the scores of the two quantiles that enclose each number.

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
        # Repeated quantiles enclose nothing. Numbers beyond the outermost quantiles get the outermost score.
        share = ((numbers - low) / torch.where(high > low, high - low, 1.0)).clamp(0.0, 1.0)
        return self.scores[columns, below] * (1 - share) + self.scores[columns, above] * share

    def input_encoding(self) -> dict[str, Any] | None:
        categorical = self.inputs.categorical
        if not categorical:
            return None
        return {
            "name": "categories",
            "n_levels": [column.n_categories for column in categorical],
            "embedding_dims": list(self.embedding_dims),
        }

    def n_numeric(self, n_features: int) -> int:
        return len(self.inputs.numeric)  # behind them come indicators, which are 0 or 1

    def unscaled(self, features: Tensor) -> Tensor | None:
        if self.quantiles is not None or self.smooth_clip or features.shape[1] != len(self.mean):
            return None
        return features.to(torch.float64) * self.std + self.mean

    def as_dict(self) -> dict[str, Any]:
        names = ("median", "mean", "std", "indicated", "quantiles", "scores", "embedding_dims", "smooth_clip")
        return {"name": self.name, "inputs": self.inputs.as_dict(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "TablePreprocessing":
        options = {name: value for name, value in plain.items() if name not in ("name", "inputs")}
        return cls(TableInputs.from_dict(plain["inputs"]), **options)


def quantiles_and_scores(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns (K,) quantiles of the training values (N,), each value once, and the normal scores of their ranks.

    A value that makes up many ranks (a column that is mostly 0) gets the score of their middle. Where fewer than
    K values differ, the last one is repeated.

    NOTE[DIFF]: scikit-learn's QuantileTransformer gives the smallest value −5.2 and the largest 5.2 however many
    ranks they make up, so that a column that is mostly 0 has −5.2 in most rows.
    """
    shares = np.linspace(0, 1, N_QUANTILES)
    distinct, first, count = np.unique(np.quantile(values, shares), return_index=True, return_counts=True)
    middle = (shares[first] + shares[first + count - 1]) / 2
    # At shares of 0 and 1, ndtri is infinite.
    scores = torch.special.ndtri(torch.from_numpy(middle)).clamp(-LARGEST_SCORE, LARGEST_SCORE).numpy()
    rest = N_QUANTILES - len(distinct)
    return np.pad(distinct, (0, rest), mode="edge"), np.pad(scores, (0, rest), mode="edge")


def default_embedding_dim(n_categories: int) -> int:
    """Returns 1.6 · n^0.56, at most 64: fast.ai's rule, found on its authors' tables."""
    return min(64, max(2, int(1.6 * n_categories**0.56)))
