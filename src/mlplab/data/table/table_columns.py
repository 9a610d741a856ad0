"""Infers what each column of a table holds, and decides what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.data.table.column import Column, Hints
from mlplab.data.table.column_inference import infer_column
from mlplab.data.table.file_values import TableColumns
from mlplab.data.table.named_columns import NamedColumns
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.reading_options import RawTable, Reading
from mlplab.data.table.row_weights import unusable_weights
from mlplab.data.table.split_columns import time_column_of
from mlplab.data.table.strings import are_read
from mlplab.data.table.table_preprocessing import TableInputs
from mlplab.data.table.table_reading import read_grouping_points
from mlplab.data.table.target_inference import infer_targets
from mlplab.data.table.targets import AnyTarget, columns_of, target_from_dict
from mlplab.data.threads import for_each
from mlplab.errors import UserError, agree, counted, first_of


@dataclass(frozen=True)
class ColumnRules:
    """Says what is known of the columns before they are looked at.

    Attributes:
        named: the columns that the user names.
        reading: how the file is read.
        task: `auto`, `classification` or `regression`.
        date_format: of dates, where the user says it.
        unreadable_cells: the share of a column's values that may be no numbers or dates.
        roles: uses of columns that are no features.
        known_columns: the features of a run that goes on, by their names; None for a new run.
        known_target: its target.
    """

    named: NamedColumns
    reading: Reading
    task: str
    date_format: str | None
    unreadable_cells: float
    roles: Mapping[str, str]
    known_columns: Mapping[str, Column] | None = None
    known_target: AnyTarget | None = None

    def as_trained(self, card: Mapping[str, Any]) -> "ColumnRules":
        """Takes target and features from the card of a checkpoint, instead of inferring them."""
        inputs = TableInputs.from_dict(card["preprocessing"]["inputs"])
        target = target_from_dict(card["data"]["reading"]["target"])
        return replace(self, known_columns={column.name: column for column in inputs.columns}, known_target=target)

    def hints(self, name: str, prefers_comma: bool, with_commas: Sequence[str]) -> Hints:
        """Returns what is known of one column; those of `with_commas` have decimal commas."""
        decimal = "," if name in with_commas else self.reading.decimal
        kept = self.reading.kept(name)
        return Hints(self.named.kind(name), decimal, prefers_comma, self.date_format, kept, self.unreadable_cells)


def infer_columns(raw: RawTable, path: Path, rules: ColumnRules) -> tuple[RawTable, TableColumns]:
    """Infers the columns of a table.

    Returns:
        the table with more notes, and with text in place of numbers whose points group thousands; and its columns.

    Raises:
        UserError: a column is not what the user says, or none is a feature.
    """
    named = rules.named
    empty, notes = empty_columns(raw.frame, {*named.targets, *rules.roles, *named.single.values()})
    rules = replace(rules, roles={**rules.roles, **dict.fromkeys(empty, "left out: no value in any row")})
    raw = replace(raw, notes=(*raw.notes, *notes))
    target, columns = _infer(raw, rules)
    # Once one column has decimal commas, the points of others may group thousands: these are read again as text.
    if rules.reading.decimal == "auto" and any(
        column.decimal == "," for column in (*(one.column for one in columns_of(target)), *columns)
    ):
        grouped = read_grouping_points(raw.frame, path, rules.reading)
        # The target's text may have been kept.
        labels = [raw.frame[name] for name in named.targets if raw.frame[name].dtype == pl.String]
        grouped += [one for one in labels if are_read(one, plain_numbers(one, ",", "."))]
        raw = replace(raw, frame=raw.frame.with_columns(grouped))
        target, columns = _infer(raw, rules, [series.name for series in grouped])
    if rules.known_columns is None:
        require_date_format(columns, rules.date_format)
    time, time_role = time_column_of(columns, named.single, named.lists["drop"])
    weight = next((column for column in columns if column.name == named.single.get("weight_column")), None)
    found = TableColumns(target, tuple(columns), {**rules.roles, **time_role}, named.of_split, time, weight)
    if all(column.name in found.roles for column in found.features):
        raise UserError(
            f"{path.name} must have a feature beside the target",
            f"none of {counted(len(columns), 'other column')} is one",
            "data.categorical=[…] for columns that were taken for text, or fewer in data.drop",
        )
    return raw, found


def _infer(raw: RawTable, rules: ColumnRules, with_commas: Sequence[str] = ()) -> tuple[AnyTarget, list[Column]]:
    """Infers the target, and all other columns."""
    hints = partial(rules.hints, prefers_comma=raw.prefers_comma, with_commas=with_commas)
    others = [series for series in raw.frame if series.name not in rules.named.targets]

    # data.numeric, data.categorical and data.date_format are about features: the target has data.task.
    def of_target(name: str) -> Hints:
        return replace(hints(name), kind=None, date_format=None, unreadable_cells=0.0)

    target = rules.known_target or infer_targets(raw.frame, rules.named.targets, rules.task, of_target)
    return target, for_each(others, lambda series: _infer_one(series, rules, hints))


def _infer_one(series: pl.Series, rules: ColumnRules, hints: Callable[[str], Hints]) -> Column:
    name = series.name
    if name == rules.named.single.get("weight_column"):
        return _infer_weights(series, hints(name))
    known, roles = rules.known_columns, rules.roles
    if known is not None and name in known:
        return known[name]
    if known is not None and name not in (*roles, *rules.named.single.values()):
        return Column(name, "", reason="no feature when the training began")
    return Column(name, "", reason=roles[name]) if name in roles else infer_column(series, hints(name))


def _infer_weights(series: pl.Series, hints: Hints) -> Column:
    """Infers how the weights of the rows are written. Missing values must be null.

    Raises:
        UserError: the column has no value, or too many that are no numbers.
    """
    try:
        column = infer_column(series, replace(hints, kind="numeric"))
    except UserError as error:
        raise unusable_weights(str(series.name), error.actual) from None
    if column.kind != "numeric":
        found = f"all {len(series)} are missing" if column.kind == "empty" else f"it holds {column.kind} values"
        raise unusable_weights(str(series.name), found)
    return column


def empty_columns(frame: pl.DataFrame, besides: set[str]) -> tuple[list[str], list[str]]:
    """Returns the columns without a single value, but for those of `besides`, and a note that names them."""
    empty = [series.name for series in frame if series.name not in besides and series.null_count() == len(frame)]
    if not empty:
        return [], []
    n_empty = len(empty)
    are = f"{counted(n_empty, 'column', 'has')} no value and {agree(n_empty, 'is')}"
    return empty, [f"{are} left out: {first_of(empty, 5)}"]


def require_date_format(columns: Sequence[Column], date_format: str | None) -> None:
    """Refuses a date format that no column has, and names those that look like dates."""
    if date_format is None or any(column.date_format == date_format for column in columns):
        return
    dates = [f"{column.name} ({column.date_format})" for column in columns if column.date_format]
    raise UserError(
        "data.date_format must be the form of a column",
        f"{date_format!r} is that of none" + (f"; these look like dates: {first_of(dates, 5)}" if dates else ""),
        "data.date_format=null",
    )
