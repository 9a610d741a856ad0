"""The rows of a file as values, once it is known what each column holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.table.column import Column
from mlplab.data.table.column_values import column_values, tell_markers, tell_unreadable
from mlplab.data.table.row_weights import row_weights
from mlplab.data.table.seen_categories import SeenCategories
from mlplab.data.table.spellings import Spellings
from mlplab.data.table.split_columns import require_decided
from mlplab.data.table.targets import AnyTarget, Targets, columns_of, missing_of_each, read_targets
from mlplab.data.threads import for_each
from mlplab.errors import UserError, agree, counted


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, by what becomes of them.

    Attributes:
        target: what is predicted.
        columns: all others, in the order of the file.
        roles: uses of columns that are no features.
        of_split: option that decides the split → name of its column.
        time: how the column is read that says what comes later; None without one.
        weight: how the weights of the rows are read; None without weights.
    """

    target: AnyTarget
    columns: tuple[Column, ...]
    roles: Mapping[str, str]
    of_split: Mapping[str, str]
    time: Column | None
    weight: Column | None

    @property
    def features(self) -> list[Column]:
        """Returns the features. One that decides the split may be a feature, too."""
        return [column for column in self.columns if column.is_feature and column is not self.weight]

    @property
    def needed(self) -> list[str]:
        """Returns the names of the columns that every file must have."""
        weights = [self.weight.name] if self.weight else []
        targets = [one.name for one in columns_of(self.target)]
        return [*(column.name for column in self.features), *targets, *self.of_split.values(), *weights]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values of the target and the weights, by which a run reads those of another file."""
        return {"target": self.target.as_dict(), "weight": None if self.weight is None else self.weight.as_dict()}


@dataclass(frozen=True)
class FileValues:
    """The rows of one file.

    Attributes:
        values: of the features, and of the weights as the last column where there are some.
        targets: (N,), or (N, T) of several targets.
        of_split: option that decides the split → values of its column.
        notes: what was noticed, for people.
        warnings: values that could not be read, for people.
    """

    values: pl.DataFrame
    targets: npt.NDArray[np.generic]
    of_split: dict[str, pl.Series]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def only(self, rows: npt.NDArray[np.bool_]) -> "FileValues":
        """Returns some of the rows."""
        kept = pl.Series(rows)
        of_split = {key: series.filter(kept) for key, series in self.of_split.items()}
        return replace(self, values=self.values.filter(kept), targets=self.targets[rows], of_split=of_split)

    def spelled_as_in(self, training: "FileValues", path: Path) -> "FileValues":
        """Writes the categories of a test file as the training file does, which a note tells."""

        def column(series: pl.Series) -> tuple[pl.Series, list[str]]:
            if series.dtype != pl.String:
                return series, []
            known = training.values[series.name].drop_nulls().unique().sort()
            seen = SeenCategories(series.name, Spellings(tuple(known)))
            return seen.add(series), [f"{path.name}: {note}" for note in seen.notes_on_spelling()]

        columns = for_each(self.values, column)
        notes = (*self.notes, *(note for _, notes in columns for note in notes))
        return replace(self, values=pl.DataFrame([series for series, _ in columns]), notes=notes)


def values_of_file(
    frame: pl.DataFrame, path: Path, columns: TableColumns, missing_values: Sequence[str], drop_missing_target: bool
) -> FileValues:
    """Reads the rows of a file that have a target.

    Args:
        frame: all of its rows, null where a value is missing.
        path: for messages.
        columns: how to read them.
        missing_values: strings that stand for a missing value beside the usual ones.
        drop_missing_target: leaves out rows without a target, instead of refusing them.

    Raises:
        UserError: a row has no target, or a value is not of its column's kind.
    """
    targets, notes = _read_targets(frame, path, columns.target, missing_values)
    missing = missing_of_each(targets, columns.target)
    if not drop_missing_target:
        _require_targets(missing, columns.target, path)
    # A row that lacks one of several targets is left out whole.
    has_target = ~np.logical_or.reduce(missing, axis=1)
    features = columns.features
    values = for_each(features, lambda column: column_values(frame[column.name], column, missing_values))
    warnings: list[str] = []
    for series in values:
        warnings += tell_unreadable(frame[series.name], series)
        notes += tell_markers(frame[series.name], series)
    if columns.weight is not None:
        values.append(row_weights(frame[columns.weight.name], columns.weight, missing_values, has_target))
    of_split = {key: frame[name] for key, name in columns.of_split.items()}
    for key, series in of_split.items():
        require_decided(series, key, has_target)
    if columns.time is not None:
        of_split["time_column"] = column_values(of_split["time_column"], columns.time, missing_values)
    file = FileValues(pl.DataFrame(values), targets, of_split, tuple(notes), tuple(warnings))
    n_missing = int((~has_target).sum())
    if not n_missing:
        return file
    what = "not every target" if isinstance(columns.target, Targets) else "no target"
    note = f"{counted(n_missing, 'row', 'has')} {what}: left out, of {len(targets):,} in {path.name}"
    # Rows are left out last, so that messages number them as in the file.
    return replace(file.only(has_target), notes=(*notes, note))


def _read_targets(
    frame: pl.DataFrame, path: Path, target: AnyTarget, missing_values: Sequence[str]
) -> tuple[npt.NDArray[np.generic], list[str]]:
    try:
        targets, noticed = read_targets(frame, target, missing_values)
    except UserError as error:
        # The error of a column does not say in which of the two files it is.
        raise UserError(f"{path.name}: {error.requirement}", error.actual, error.hint) from None
    return targets, [f"{counted(count, 'row', 'has')} {what}" for what, count in noticed.items()]


def _require_targets(missing: npt.NDArray[np.bool_], target: AnyTarget, path: Path) -> None:
    for one, is_missing in zip(columns_of(target), missing.T, strict=True):
        if n_missing := int(is_missing.sum()):
            raise UserError(
                f"every row of {path.name} must have a target in column {one.name!r}",
                f"{n_missing:,} of {len(is_missing):,} {agree(n_missing, 'has')} none, the first is row "
                f"{int(is_missing.argmax()) + 1}",
                "data.drop_missing_target=true, which leaves them out",
            )
