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
from mlplab.data.table.description import Description, describe_column
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
from mlplab.errors import Refusal


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
        values: the feature columns as values: Float64, String or Datetime, null where missing.
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
            Refusal: no column varies in them.
        """
        numeric: list[NumericInput] = []
        categorical: list[CategoricalInput] = []
        statistics: list[tuple[float, float, float]] = []
        quantiles = []
        indicated: list[int] = []
        for column in (column for column in self.columns if column.is_feature and column.name not in self.roles):
            cells = self.values[column.name][rows]
            if column.kind in ("categorical", "boolean"):
                found = CategoricalInput(
                    column, tuple(sorted(cells.drop_nulls().unique().to_list())), cells.null_count() > 0
                )
                if found.n_levels > 1:
                    categorical.append(found)
                continue
            is_indicated = False
            for part in MOMENT_PARTS if column.kind == "datetime" else ("",):
                one = NumericInput(column, part)
                series = one.of(cells.to_frame())
                numbers = series.drop_nulls().to_numpy()
                n_missing = series.null_count()
                if len(numbers) == 0 or (numbers.min() == numbers.max() and (not n_missing or is_indicated)):
                    continue
                if n_missing and not is_indicated:  # once for all parts of a date
                    indicated.append(len(numeric))
                    is_indicated = True
                median = float(np.median(numbers))
                imputed = np.concatenate([numbers, np.full(n_missing, median)]) if n_missing else numbers
                mean, std = float(imputed.mean()), float(imputed.std())
                # Rounding leaves a constant column with a std near 1e-16 of its size rather than 0.
                statistics.append((median, mean, std if std > 1e-12 * abs(mean) else 1.0))
                if self.options.numeric_scaling == "quantile_normal":
                    quantiles.append(quantiles_and_scores(numbers))
                numeric.append(one)
        if not numeric and not categorical:
            raise Refusal(
                f"{self.name} must have a feature that varies in the training part",
                f"none of its {len(self.columns)} columns beside the target does",
                "another file, or data.categorical=[…] for columns that were taken for text",
            )
        median, mean, std = torch.tensor(statistics, dtype=torch.float64).reshape(-1, 3).T.contiguous()
        return TablePreprocessing(
            TableInputs(tuple(numeric), tuple(categorical)),
            median=median,
            mean=mean,
            std=std,
            indicated=torch.tensor(indicated, dtype=torch.int64),
            embedding_dims=[self._embedding_dim(column) for column in categorical],
            quantiles=_stacked([q for q, _ in quantiles]) if quantiles else None,
            scores=_stacked([s for _, s in quantiles]) if quantiles else None,
        )

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
        columns, values = [], {series.name: series for series in self.values}
        for column in self.columns:
            if column.name in self.roles:
                use = self.roles[column.name]
            elif not column.is_feature:
                use = f"left out: {column.reason}"
            else:
                use = used[column.name] or "left out: constant in the training part"
            columns.append(describe_column(column, values.get(column.name), use))
        return Description(
            name=self.name,
            n_rows=len(self.targets),
            parts={part: len(getattr(split, part)) for part in ("train", "val", "test")},
            columns=columns,
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


def _stacked(rows: Sequence[npt.NDArray[np.float64]]) -> Tensor:
    stacked = torch.from_numpy(np.stack(rows))
    assert stacked.shape[1] == N_QUANTILES
    return stacked
