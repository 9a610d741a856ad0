"""A table as a data set: fits the preprocessing on the training rows, and describes what its columns became."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.data.split import Rows, Split, SplitRules
from mlplab.data.table.column import Column
from mlplab.data.table.column_values import DATETIME_PARTS
from mlplab.data.table.table_description import Description, describe_column, describe_target
from mlplab.data.table.table_preprocessing import (
    CategoricalInput,
    NumericInput,
    TableInputs,
    TablePreprocessing,
    default_embedding_dim,
    quantiles_and_scores,
)
from mlplab.data.table.table_warnings import find_warnings, warnings_of_unknown
from mlplab.data.table.targets import AnyTarget, Target, Targets, columns_of
from mlplab.data.threads import for_each
from mlplab.errors import UserError, counted, first_of


@dataclass(frozen=True)
class TableDataset:
    """Rows of a table, each with a target.

    Attributes:
        name: for people.
        values: the feature columns, and the weights if there are some, as values: Float64, Enum or String, or
            Datetime; null where missing.
        columns: all columns of the file but the target, also those that are no features.
        target: what is predicted.
        targets: (N,) class indices int64, or float64; of several targets (N, T) likewise.
        weight: the column of `values` with the weights of the rows; None where they have none.
        fingerprint: SHA-256 of the files.
        unit: of the target, or of each of several.
        split_rules: constraints of columns and files on the split.
        numeric_scaling: `standardize`, `quantile_normal` or `robust_smooth_clip`.
        one_hot_levels: up to so many categories are one-hot, more are embeddings.
        embedding_dim: width of the embeddings, or "auto".
        reading: how another file is read like this one, as plain values.
        notes: what was detected in reading, for people.
        known: the preprocessing of a run that goes on, which is not fitted again.
        warnings: values that could not be read, for people.
        roles: uses of the columns that are no features.
    """

    name: str
    values: pl.DataFrame
    columns: tuple[Column, ...]
    target: AnyTarget
    targets: npt.NDArray[np.generic]
    fingerprint: str
    weight: Column | None = None
    unit: str | tuple[str, ...] = ""
    split_rules: SplitRules = field(default_factory=SplitRules)
    numeric_scaling: str = "standardize"
    one_hot_levels: int = 10
    embedding_dim: int | str = "auto"
    reading: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    known: TablePreprocessing | None = None
    warnings: tuple[str, ...] = ()
    roles: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["classification", "regression", "multilabel"]:
        if self.label_names:
            return "multilabel"
        return "classification" if self.target.class_names else "regression"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.target.class_names

    @property
    def target_name(self) -> str:
        return self.target.name

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.target.names if isinstance(self.target, Targets) else ()

    @property
    def label_names(self) -> tuple[tuple[str, ...], ...]:
        return self.target.label_names if isinstance(self.target, Targets) else ()

    @property
    def weights(self) -> npt.NDArray[np.float64] | None:
        return None if self.weight is None else self.values[self.weight.name].to_numpy()

    def fit(self, rows: Rows) -> TablePreprocessing:
        """Fits medians, means and categories on these rows alone.

        Raises:
            UserError: no column varies in them.
        """
        if self.known is not None:
            return self.known
        features = [column for column in self.columns if column.is_feature and column.name not in self.roles]
        numeric: list[_Fitted] = []
        categorical: list[CategoricalInput] = []
        indicated: list[int] = []
        for fitted in for_each(features, lambda column: self._fit_column(column, rows)):
            if isinstance(fitted, CategoricalInput):
                # One category in all training rows tells the network nothing.
                categorical += [fitted] if fitted.n_categories > 1 else []
                continue
            if any(one.has_missing for one in fitted):  # once for all parts of a date
                indicated.append(len(numeric))
            numeric += fitted
        if not numeric and not categorical:
            raise UserError(
                f"{self.name} must have a feature that varies in the training part",
                f"none of its {len(self.columns)} columns beside the target does",
                "another file, or data.categorical=[…] for columns that were taken for text",
            )
        # In float64 up to the scaling: float32 would round 1e9 + 1 to 1e9.
        statistics = [(one.median, one.mean, one.std) for one in numeric]
        # The reshape gives (0, 3) where there are no numeric features.
        median, mean, std = torch.tensor(statistics, dtype=torch.float64).reshape(-1, 3).T.contiguous()
        quantiles = scores = None
        if numeric and self.numeric_scaling == "quantile_normal":
            pairs = [one.quantiles_and_scores for one in numeric]
            quantiles, scores = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
        return TablePreprocessing(
            TableInputs(tuple(one.input for one in numeric), tuple(categorical)),
            median=median,
            mean=mean,
            std=std,
            indicated=torch.tensor(indicated, dtype=torch.int64),
            embedding_dims=[self._embedding_dim(column) for column in categorical],
            quantiles=quantiles,
            scores=scores,
            smooth_clip=self.numeric_scaling == "robust_smooth_clip",
        )

    def _fit_column(self, column: Column, rows: Rows) -> "CategoricalInput | list[_Fitted]":
        """Returns the categories of a column in these rows, or the statistics of each feature of it that varies."""
        known = self.values[column.name][rows]
        if column.kind in ("categorical", "boolean"):
            # Sorted, as `unique` has no fixed order: the same rows must give the same codes.
            categories = tuple(sorted(known.drop_nulls().unique().to_list()))
            # "Missing" has a code only where training has such rows, as its embedding would never be learned otherwise.
            return CategoricalInput(column, categories, known.null_count() > 0)
        found: list[_Fitted] = []
        for part in DATETIME_PARTS if column.kind == "datetime" else ("",):
            one = NumericInput(column, part)
            series = one.of(known.to_frame())
            numbers = series.drop_nulls().to_numpy()
            n_missing = series.null_count()
            # Missing values make a constant vary: once in a date.
            if len(numbers) == 0 or (numbers.min() == numbers.max() and (not n_missing or found)):
                continue
            median = _median(numbers)
            # `forward` imputes before it scales, so mean and std are those of the imputed values.
            imputed = np.concatenate([numbers, np.full(n_missing, median)]) if n_missing else numbers
            mean, std = float(imputed.mean()), float(imputed.std())
            if std <= 1e-12 * abs(mean):
                # Rounding leaves a constant column with a std near 1e-16 of its size; from its median on, with none.
                mean, std = float(median + (imputed - median).mean()), float((imputed - median).std()) or 1.0
            if self.numeric_scaling == "robust_smooth_clip":
                mean, std = median, _spread(imputed)
            is_normal = self.numeric_scaling == "quantile_normal"
            quantiles = quantiles_and_scores(numbers) if is_normal else None
            # Quantiles are those of the known values: imputed medians would be a step in the middle.
            found.append(_Fitted(one, median, mean, std, n_missing > 0, quantiles))
        return found

    def _embedding_dim(self, column: CategoricalInput) -> int:
        # Width 0 stands for one-hot.
        if column.n_categories <= self.one_hot_levels:
            return 0
        width = self.embedding_dim
        return default_embedding_dim(column.n_categories) if isinstance(width, str) else width

    def inputs(self, rows: Rows, preprocessing: TablePreprocessing) -> tuple[Tensor, Tensor]:
        """Returns these rows as inputs of the preprocessing: numeric (n, P), categorical (n, Q)."""
        return preprocessing.inputs.encode(self.values[rows])

    def without_classes(self, classes: tuple[int, ...]) -> "TableDataset":
        """Leaves out the rows of some classes, which says a note."""
        assert isinstance(self.target, Target)  # several labels have no classes
        kept = ~np.isin(self.targets, classes)
        left = [number for number in range(len(self.class_names)) if number not in classes]
        names = first_of([repr(self.class_names[number]) for number in classes], 5)
        note = f"left out for their class, of which there are too few rows ({names})"
        return replace(
            self,
            values=self.values.filter(pl.Series(kept)),
            # The classes that are left are numbered anew, in their order.
            targets=np.searchsorted(left, self.targets[kept]),
            target=replace(self.target, class_names=tuple(self.class_names[number] for number in left)),
            split_rules=self.split_rules.of_rows(kept),
            notes=(*self.notes, f"{counted(int((~kept).sum()), 'row')} {note}"),
        )

    def names_after(self, preprocessing: TablePreprocessing) -> tuple[str, ...]:
        """Returns the names of the preprocessed features."""
        return preprocessing.feature_names

    def describe(self, split: Split, preprocessing: TablePreprocessing) -> Description:
        """Describes what the columns hold and what becomes of them."""
        uses = {name: ", ".join(parts) for name, parts in preprocessing.uses_of_columns().items()}
        values = {series.name: series for series in self.values}
        read = (*(one.column for one in columns_of(self.target)), *self.columns)
        notes = [*self.notes, *(f"{one.name}: {one.note}" for one in read if one.note), *self._note_of_rare(split)]
        if self.weights is not None and self.weights.min() == self.weights.max():
            notes.append("every row has the same weight, which is the same as none")

        def use_of(column: Column) -> str:
            # Roles first: their columns have no kind of a feature, and would be said to be left out.
            if column.name in self.roles:
                return self.roles[column.name]
            if not column.is_feature:
                return f"left out: {column.reason}"
            return uses.get(column.name, "left out: constant in the training part")

        return Description(
            name=self.name,
            n_rows=len(self.targets),
            parts={part: len(getattr(split, part)) for part in ("train", "val", "test")},
            columns=for_each(
                self.columns, lambda column: describe_column(column, values.get(column.name), use_of(column))
            ),
            target=describe_target(self.target, self.targets, self.unit),
            notes=notes,
            warnings=[
                *warnings_of_unknown(self.values, preprocessing.inputs.categorical, split),
                *self.warnings,
                *find_warnings(self.values, self.columns, self.targets, self.target, split, set(self.roles)),
            ],
        )

    def _note_of_rare(self, split: Split) -> list[str]:
        if not split.rare:
            return []
        counts = np.bincount(self.targets.astype(np.int64))
        names = [f"{self.class_names[number]!r} ({counted(int(counts[number]), 'row')})" for number in split.rare]
        return [
            f"classes with too few rows to be in every part are in training alone: {first_of(names, 5)}; "
            "data.rare_classes=drop leaves them out"
        ]


@dataclass(frozen=True)
class _Fitted:
    """Statistics of a numeric feature in the training rows, by which it is scaled: (x − mean) / std.

    Mean and std are those with the median in place of missing values; or, for a robust scaling, median and spread.
    """

    input: NumericInput
    median: float
    mean: float
    std: float
    has_missing: bool
    quantiles_and_scores: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None


def _spread(numbers: npt.NDArray[np.float64]) -> float:
    """Returns the distance of the quartiles; where it is 0, half the range; 1 for a constant.

    Holzmüller et al. 2024, section 3: of a column that is mostly 0, the quartiles are equal.
    """
    first, third = np.quantile(numbers, (0.25, 0.75))
    return float(third - first) or float(numbers.max() - numbers.min()) / 2 or 1.0


def _median(numbers: npt.NDArray[np.float64]) -> float:
    """Computes the median to the last bit of `np.median`, but partitions once, which takes a quarter of the time."""
    middle = len(numbers) // 2
    parted = np.partition(numbers, middle)
    if len(numbers) % 2:
        return float(parted[middle])
    return float((parted[:middle].max() + parted[middle]) / 2)
