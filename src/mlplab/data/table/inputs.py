"""From the values of a table to tensors, the way that training fixed: which columns, which levels, in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mlplab.data.table.columns import Column
from mlplab.data.table.values import moment_part


@dataclass(frozen=True)
class NumericInput:
    """A numeric feature: a column of numbers, or one part of a column of dates."""

    column: Column
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.column.name}.{self.part}" if self.part else self.column.name

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """The feature of each row as Float64, null where missing."""
        series = frame[self.column.name]
        return moment_part(series, self.part) if self.part else series


@dataclass(frozen=True)
class CategoricalInput:
    """A categorical feature: its levels in the training part, numbered from 1; a last number for "missing"."""

    column: Column
    levels: tuple[str, ...]
    has_missing: bool

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def n_levels(self) -> int:
        """With "missing", where training had some, and without "unknown", which is 0."""
        return len(self.levels) + self.has_missing

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """The number of each row's level, Int64."""
        series = frame[self.column.name]
        if isinstance(series.dtype, pl.Enum):  # each level is looked up once
            codes = self._codes(series.dtype.categories).gather(series.to_physical())
        else:
            codes = self._codes(series)
        if series.null_count() and self.has_missing:
            codes = codes.set(series.is_null(), self.n_levels)
        return codes.fill_null(0)

    def _codes(self, levels: pl.Series) -> pl.Series:
        """Returns the numbers of some levels, null where training did not have them."""
        return levels.cast(pl.Enum(self.levels), strict=False).to_physical().cast(pl.Int64) + 1

    def n_unknown(self, frame: pl.DataFrame) -> int:
        """Rows with a level that training did not have."""
        series = frame[self.column.name]
        return len(series) - int(series.is_in(self.levels).sum()) - series.null_count()


@dataclass(frozen=True)
class TableInputs:
    """What the preprocessing takes: numeric (N, P) float64 with NaN for missing, categorical (N, Q) int64."""

    numeric: tuple[NumericInput, ...]
    categorical: tuple[CategoricalInput, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a file must have, each once."""
        inputs: list[NumericInput | CategoricalInput] = [*self.numeric, *self.categorical]
        return tuple({one.column.name: one.column for one in inputs}.values())

    def encode(self, frame: pl.DataFrame) -> tuple[Tensor, Tensor]:
        """The rows of a frame of values."""
        # Each column is written in one piece: from row to row, it would be a cache line for each cell.
        numeric = np.empty((len(self.numeric), len(frame))).T
        for position, number in enumerate(self.numeric):
            numeric[:, position] = number.of(frame).to_numpy()  # NaN for null
        codes = np.empty((len(self.categorical), len(frame)), dtype=np.int64).T
        for position, category in enumerate(self.categorical):
            codes[:, position] = category.of(frame).to_numpy()
        return torch.from_numpy(numeric), torch.from_numpy(codes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {
            "numeric": [{"column": n.column.as_dict(), "part": n.part} for n in self.numeric],
            "categorical": [
                {"column": c.column.as_dict(), "levels": list(c.levels), "has_missing": c.has_missing}
                for c in self.categorical
            ],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Sequence[Mapping[str, Any]]]) -> "TableInputs":
        """The inverse of `as_dict`."""
        return cls(
            tuple(NumericInput(Column.from_dict(n["column"]), n["part"]) for n in plain["numeric"]),
            tuple(
                CategoricalInput(Column.from_dict(c["column"]), tuple(c["levels"]), c["has_missing"])
                for c in plain["categorical"]
            ),
        )
