"""A table as a data set: its values, its target, what its columns say about the split, and how to prepare it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.data.split import Rows, Split, SplitRules
from mlplab.data.table.columns import Column
from mlplab.data.table.description import ColumnDescription, Description, describe_column
from mlplab.data.table.inputs import CategoricalInput, NumericInput, TableInputs
from mlplab.data.table.preprocessing import (
    N_QUANTILES,
    TablePreprocessing,
    default_embedding_dim,
    quantiles_and_scores,
)
from mlplab.data.table.target import Target
from mlplab.data.table.values import MOMENT_PARTS
from mlplab.data.table.warnings import find_warnings
from mlplab.data.threads import for_each
from mlplab.errors import UserError


@dataclass(frozen=True)
class TableOptions:
    """How columns become features.

    Attributes:
        numeric_scaling: `standardize` or `quantile_normal`.
        one_hot_levels: up to so many levels are one-hot, more are learned vectors.
        embedding_dim: of those, or "auto".
    """

    numeric_scaling: str = "standardize"
    one_hot_levels: int = 10
    embedding_dim: int | str = "auto"


@dataclass(frozen=True)
class TableDataset:
    """Rows of a table, each with a target.

    Attributes:
        name: for people.
        values: the feature columns as values: Float64, Enum or String, or Datetime; null where missing.
        columns: all columns of the file but the target, also those that are no features.
        target: what is predicted.
        targets: (N,) class indices int64, or float64.
        fingerprint: SHA-256 of the files.
        unit: of the target.
        split_rules: what columns and files say about the split.
        options: how columns become features.
        reading: what must be known to read another file alike, in plain values.
        notes: what was detected in reading, for people.
        roles: for columns that are no features, what they are used for.
    """

    name: str
    values: pl.DataFrame
    columns: tuple[Column, ...]
    target: Target
    targets: npt.NDArray[np.generic]
    fingerprint: str
    unit: str = ""
    split_rules: SplitRules = field(default_factory=SplitRules)
    options: TableOptions = field(default_factory=TableOptions)
    reading: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    roles: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "classification" if self.target.class_names else "regression"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.target.class_names

    @property
    def target_name(self) -> str:
        return self.target.name

    def fit(self, rows: Rows) -> TablePreprocessing:
        """Medians, means, levels: all from these rows alone.

        Raises:
            UserError: no column varies in them.
        """
        features = [column for column in self.columns if column.is_feature and column.name not in self.roles]
        numeric: list[_Fitted] = []
        categorical: list[CategoricalInput] = []
        indicated: list[int] = []
        for fitted in for_each(features, lambda column: self._fit_column(column, rows)):
            if isinstance(fitted, CategoricalInput):
                categorical += [fitted] if fitted.n_levels > 1 else []
                continue
            if any(one.is_indicated for one in fitted):  # once for all parts of a date
                indicated.append(len(numeric))
            numeric += fitted
        if not numeric and not categorical:
            raise UserError(
                f"{self.name} must have a feature that varies in the training part",
                f"none of its {len(self.columns)} columns beside the target does",
                "another file, or data.categorical=[…] for columns that were taken for text",
            )
        statistics = [(one.median, one.mean, one.std) for one in numeric]
        median, mean, std = torch.tensor(statistics, dtype=torch.float64).reshape(-1, 3).T.contiguous()
        quantiles = [one.quantiles for one in numeric if one.quantiles is not None]
        return TablePreprocessing(
            TableInputs(tuple(one.input for one in numeric), tuple(categorical)),
            median=median,
            mean=mean,
            std=std,
            indicated=torch.tensor(indicated, dtype=torch.int64),
            embedding_dims=[self._embedding_dim(column) for column in categorical],
            quantiles=_stacked([q for q, _ in quantiles]) if quantiles else None,
            scores=_stacked([s for _, s in quantiles]) if quantiles else None,
        )

    def _fit_column(self, column: Column, rows: Rows) -> "CategoricalInput | list[_Fitted]":
        """Returns the levels of a column in these rows, or the statistics of each feature of it that varies."""
        cells = self.values[column.name][rows]
        if column.kind in ("categorical", "boolean"):
            return CategoricalInput(
                column, tuple(sorted(cells.drop_nulls().unique().to_list())), cells.null_count() > 0
            )
        found: list[_Fitted] = []
        for part in MOMENT_PARTS if column.kind == "datetime" else ("",):
            one = NumericInput(column, part)
            series = one.of(cells.to_frame())
            numbers = series.drop_nulls().to_numpy()
            n_missing = series.null_count()
            if len(numbers) == 0 or (numbers.min() == numbers.max() and (not n_missing or found)):
                continue
            median = _median(numbers)
            imputed = np.concatenate([numbers, np.full(n_missing, median)]) if n_missing else numbers
            mean, std = float(imputed.mean()), float(imputed.std())
            # Rounding leaves a constant column with a std near 1e-16 of its size rather than 0.
            std = std if std > 1e-12 * abs(mean) else 1.0
            is_normal = self.options.numeric_scaling == "quantile_normal"
            quantiles = quantiles_and_scores(numbers) if is_normal else None
            found.append(_Fitted(one, median, mean, std, n_missing > 0, quantiles))
        return found

    def _embedding_dim(self, column: CategoricalInput) -> int:
        if column.n_levels <= self.options.one_hot_levels:
            return 0
        width = self.options.embedding_dim
        return default_embedding_dim(column.n_levels) if isinstance(width, str) else width

    def inputs(self, rows: Rows, preprocessing: TablePreprocessing) -> tuple[Tensor, Tensor]:
        """These rows as the preprocessing takes them: numeric (n, P), categorical (n, Q)."""
        return preprocessing.inputs.encode(self.values[rows])

    def names_after(self, preprocessing: TablePreprocessing) -> tuple[str, ...]:
        """The names of the preprocessed features."""
        return preprocessing.feature_names

    def describe(self, split: Split, preprocessing: TablePreprocessing) -> Description:
        """What the table holds, and what is done with it."""
        used = {column.name: "" for column in self.columns}
        for one in preprocessing.inputs.numeric:
            before = used[one.column.name]
            used[one.column.name] = f"{before}, {one.part}" if before else one.part or "scaled"
        names = [one.column.name for one in preprocessing.inputs.numeric]
        for position in preprocessing.indicated.tolist():
            used[names[position]] += ", missing: median and an indicator"
        for category, width in zip(preprocessing.inputs.categorical, preprocessing.embedding_dims, strict=True):
            how = f"vectors of {width}" if width else "one-hot"
            used[category.name] = f"{category.n_levels} levels, {how}"
        values = {series.name: series for series in self.values}

        def described(column: Column) -> ColumnDescription:
            if column.name in self.roles:
                use = self.roles[column.name]
            elif not column.is_feature:
                use = f"left out: {column.reason}"
            else:
                use = used[column.name] or "left out: constant in the training part"
            return describe_column(column, values.get(column.name), use)

        return Description(
            name=self.name,
            n_rows=len(self.targets),
            parts={part: len(getattr(split, part)) for part in ("train", "val", "test")},
            columns=for_each(self.columns, described),
            target=self._describe_target(),
            notes=[*self.notes, *(f"{column.name}: {column.note}" for column in self.columns if column.note)],
            warnings=find_warnings(self.values, self.columns, self.targets, self.target, split, set(self.roles)),
        )

    def _describe_target(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"name": self.target.name, "task": self.kind, "because": self.target.reason}
        if self.class_names:
            counts = np.bincount(self.targets.astype(np.int64), minlength=len(self.class_names))
            return {**plain, "classes": dict(zip(self.class_names, counts.tolist(), strict=True))}
        numbers = self.targets.astype(np.float64)
        return {
            **plain,
            "unit": self.unit,
            "smallest": float(numbers.min()),
            "largest": float(numbers.max()),
            "mean": float(numbers.mean()),
            "std": float(numbers.std()),
        }


@dataclass(frozen=True)
class _Fitted:
    """Statistics of a numeric feature in the training rows; mean and std with the median in the gaps."""

    input: NumericInput
    median: float
    mean: float
    std: float
    is_indicated: bool
    quantiles: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None


def _median(numbers: npt.NDArray[np.float64]) -> float:
    """Returns what `np.median` does, to the last bit: that parts about two places, which takes four times as long."""
    middle = len(numbers) // 2
    parted = np.partition(numbers, middle)
    if len(numbers) % 2:
        return float(parted[middle])
    return float((parted[:middle].max() + parted[middle]) / 2)


def _stacked(rows: Sequence[npt.NDArray[np.float64]]) -> Tensor:
    stacked = torch.from_numpy(np.stack(rows))
    assert stacked.shape[1] == N_QUANTILES
    return stacked
