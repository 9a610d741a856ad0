"""The column that is to be predicted: which task it makes, and its values as the network is taught them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.cells import as_numbers, present
from mlplab.data.table.columns import Column, numeric_text, understand
from mlplab.data.table.values import values
from mlplab.errors import UserError

FEW_CLASSES = 20
"""Whole numbers are classes if there are at most this many of them, with `ROWS_PER_CLASS` rows each, …"""

ROWS_PER_CLASS = 10
VERY_FEW_CLASSES = 10
"""… or at most so many, with two rows each."""


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        column: how its cells are read.
        class_names: of a classification, in the order of their indices; empty for regression.
        reason: why it is that task, for people.
    """

    column: Column
    class_names: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        return self.column.name

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {**asdict(self), "column": self.column.as_dict(), "class_names": list(self.class_names)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Target":
        """The inverse of `as_dict`."""
        return cls(Column.from_dict(plain["column"]), tuple(plain["class_names"]), plain["reason"])


def understand_target(
    cells: pl.Series, *, task: str, decimal: str, prefers_comma: bool, kept: tuple[str, ...]
) -> Target:
    """The task that a column of `present` cells makes.

    Args:
        cells: of the target, null where missing.
        task: `classification` or `regression`, or `auto`: text, truth values and few whole numbers are classes.
        decimal: the decimal mark, or "auto".
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        kept: missing markers that are levels here.

    Raises:
        UserError: the column cannot be what `task` says, or there is nothing to learn in it.
    """
    name = str(cells.name)
    known = cells.drop_nulls()
    if len(known) == 0:
        raise UserError(f"the target {name!r} must have a value in some row", "all are missing", "another data.target")
    column = Column(name, "categorical", kept=kept)
    numbers = _numbers(cells, decimal, prefers_comma)
    if numbers is None:
        if cells.dtype.is_temporal() or cells.dtype.is_nested() or cells.dtype in (pl.Binary, pl.Object):
            raise UserError(
                f"the target {name!r} must hold numbers or classes", f"{cells.dtype}", "another data.target"
            )
        if task != "classification" and cells.dtype == pl.String:
            _require_no_mistakes(cells, decimal, prefers_comma)
        if task == "regression":
            raise _text_for_numbers(cells, decimal, prefers_comma)
        return _classes(cells, column, "truth values" if cells.dtype == pl.Boolean else "text")
    number_column, given = numbers
    if not bool(given.is_finite().all()):
        row = int((~given.is_finite()).fill_null(False).arg_true()[0])
        count = int((~given.is_finite()).sum())
        raise UserError(
            f"every target in column {name!r} must be finite",
            f"{count} of {len(given)} {'is' if count == 1 else 'are'} not, the first is {given[row]} in row {row + 1}",
            "data.missing_values=[inf,-inf] data.drop_missing_target=true",
        )
    is_whole = bool((given % 1 == 0).all())
    if task == "classification" and not is_whole:
        row = int((given % 1 != 0).fill_null(False).arg_true()[0])
        raise UserError(
            f"classes in column {name!r} must be text, truth values or whole numbers",
            f"{given[row]:g} in row {row + 1}",
            "data.task=regression",
        )
    if given.min() == given.max():
        raise UserError(
            f"the target {name!r} must vary", f"every row has {given.drop_nulls()[0]:g}", "another data.target"
        )
    n_distinct = given.drop_nulls().n_unique() if is_whole else len(known)
    per_class = len(known) / n_distinct
    few = is_whole and (
        (n_distinct <= FEW_CLASSES and per_class >= ROWS_PER_CLASS)
        or (n_distinct <= VERY_FEW_CLASSES and per_class >= 2)
    )
    if task == "classification" or (task == "auto" and few):
        return _classes(cells, column, f"{n_distinct} whole numbers" if task == "auto" else "data.task")
    values(cells, number_column, [])  # refuses what does not fit into 32 bits
    return Target(number_column, reason="data.task" if task == "regression" else "numbers")


def _numbers(cells: pl.Series, decimal: str, prefers_comma: bool) -> tuple[Column, pl.Series] | None:
    """The column as numbers; None where it is text, or truth values."""
    if cells.dtype == pl.String:
        column = numeric_text(cells, decimal, prefers_comma)
        if column is None:
            return None
        return column, as_numbers(cells, column.decimal, column.thousands, column.prefix, column.suffix)
    if not cells.dtype.is_numeric():
        return None
    return Column(str(cells.name), "numeric"), cells.cast(pl.Float64)


def _text_for_numbers(cells: pl.Series, decimal: str, prefers_comma: bool) -> UserError:
    if cells.dtype != pl.String:
        return UserError(
            f"the target of a regression, {cells.name!r}, must hold numbers", f"{cells.dtype}", "data.task=auto"
        )
    try:
        understand(cells, said="numeric", decimal=decimal, prefers_comma=prefers_comma, date_format=None, kept=())
    except UserError as refusal:
        return UserError(
            f"the target of a regression, {cells.name!r}, must hold numbers", refusal.actual, "data.task=auto"
        )
    raise AssertionError


def _require_no_mistakes(cells: pl.Series, decimal: str, prefers_comma: bool) -> None:
    """Refuses numbers with a few cells that are none, which would pass for so many classes."""
    try:
        understand(cells, said=None, decimal=decimal, prefers_comma=prefers_comma, date_format=None, kept=())
    except UserError as refusal:
        markers = refusal.hint.partition(" if ")[0]
        raise UserError(
            refusal.requirement,
            refusal.actual,
            f"{markers} data.drop_missing_target=true if there is no target in such rows, or data.task=classification",
        ) from None


def _classes(cells: pl.Series, column: Column, reason: str) -> Target:
    labels = values(cells, column, []).drop_nulls().unique().to_list()
    names = sorted(labels, key=_in_order)
    if len(names) == 1:
        raise UserError(
            f"the target {column.name!r} must have at least two classes",
            f"every row has {names[0]!r}",
            "another data.target",
        )
    n_rows = len(cells) - cells.null_count()
    if len(names) == n_rows or len(names) > 0.5 * n_rows:
        raise UserError(
            f"the classes in column {column.name!r} must each have several rows",
            f"there are {len(names)} different labels in {n_rows} rows",
            "another data.target",
        )
    return Target(column, tuple(names), reason)


def _in_order(label: str) -> tuple[int, float, str]:
    """Numbers by size, then text by alphabet."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def target_values(
    cells: pl.Series, target: Target, missing_values: Sequence[str], first_row: int = 1
) -> tuple[npt.NDArray[np.generic], list[str]]:
    """Class indices (N,) int64 with −1 where missing, or values (N,) float64 with NaN; and notes for people.

    A label that is no class is taken for the one that it equals but for capitals, blanks and a full stop at its
    end; that is counted in the notes.

    Raises:
        UserError: a label is no class, or a value no finite number.
    """
    cells = present(cells, target.column.kept, missing_values)
    if not target.class_names:
        numbers = values(cells, target.column, missing_values, first_row)
        return numbers.fill_null(float("nan")).to_numpy(), []
    labels = values(cells, target.column, missing_values, first_row)
    names, notes = list(target.class_names), []
    plain = {_plainly(name): name for name in names}
    distinct = labels.drop_nulls().unique(maintain_order=True)
    unknown = distinct.filter(~distinct.is_in(names)).to_list()
    for label in unknown:
        name = plain.get(_plainly(label)) if len(plain) == len(names) else None
        places = (labels == label).fill_null(False)
        if name is None:
            row, count = int(places.arg_true()[0]), int(places.sum())
            near = nearest_name(label, names)
            raise UserError(
                f"every label in column {target.name!r} must be one of the {len(names)} classes that are learned",
                f"{label!r} in {count} {'row' if count == 1 else 'rows'}, the first is row {first_row + row}",
                f"{near!r}, or leaving those rows out" if near else "leaving those rows out",
            )
        notes.append(
            f"{int(places.sum()):,} {'row has' if places.sum() == 1 else 'rows have'} the label {label!r}, "
            f"which is taken for {name!r}"
        )
        labels = labels.set(places, name)
    codes = labels.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64)
    return codes.fill_null(-1).to_numpy(), notes


def _plainly(label: str) -> str | float:
    text = label.strip().rstrip(".").strip().casefold()
    try:
        return float(text)
    except ValueError:
        return text
