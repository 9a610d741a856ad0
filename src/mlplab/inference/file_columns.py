"""Detects number and date formats in a new file that differ from the training file."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from mlplab.data.table.column import Column, Hints, read_strings
from mlplab.data.table.column_inference import infer_column
from mlplab.data.table.datetime_strings import UNAMBIGUOUS, as_datetimes
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.strings import are_read
from mlplab.errors import UserError, first_of

MARKS = {".": ("", ",", " ", "'"), ",": ("", ".", " ")}
"""Decimal mark → marks between thousands."""


def columns_of_file(
    columns: Sequence[Column], frame: pl.DataFrame, decimal: str = "auto", date_format: str | None = None
) -> tuple[dict[str, Column], list[str]]:
    """Returns how to read each column of a file, by name, and notes on differences from training.

    A decimal comma is assumed if strings cannot be read as in training and only one reading is possible. It then holds
    for all columns of the file: 1.234 is 1234 beside 0,5.

    Args:
        columns: as read in training.
        frame: the first rows of the file, with null for missing values.
        decimal: the user's decimal mark, or "auto".
        date_format: the user's; it applies to the columns that it fits.
    """
    found = {column.name: column for column in columns}
    notes = []
    for column in columns:
        text = frame[column.name]
        if column.kind == "datetime" and text.dtype == pl.String:
            found[column.name], note = _date_column(column, text, date_format)
            notes += note
    plain, note = _without_units(columns, frame)
    found |= plain
    notes += note
    numeric = [
        column
        for column in columns
        if column.kind == "numeric" and frame[column.name].dtype == pl.String and column.name not in plain
    ]
    if decimal == "auto":
        unread = [column for column in numeric if not are_read(frame[column.name], _numbers(frame, column))]
        marks = {mark for mark in (_only_mark(frame, column) for column in unread) if mark}
        if len(marks) != 1:
            return found, notes
        decimal = marks.pop()
    changed = []
    for column in numeric:
        for thousands in MARKS[decimal]:
            other = replace(column, decimal=decimal, thousands=thousands)
            if are_read(frame[column.name], _numbers(frame, other)):
                if not _numbers(frame, other).equals(_numbers(frame, column)):
                    found[column.name] = other
                    changed.append(column.name)
                break
    if not changed:
        return found, notes
    mark = {",": "comma", ".": "point"}[decimal]
    told = f"numbers with a decimal {mark}, or other marks than in training, are read in {first_of(changed, 5)}"
    return found, [*notes, told]


def _date_column(column: Column, text: pl.Series, date_format: str | None) -> tuple[Column, list[str]]:
    """Returns how to read a column's dates: by the user's format, training's, or the only one that fits.

    Ambiguous strings keep the format of training, which refuses them later.
    """
    if date_format and are_read(text, as_datetimes(text, date_format)):
        return replace(column, date_format=date_format, other_formats=()), []
    known = [as_datetimes(text, form) for form in UNAMBIGUOUS]
    if text.null_count() == len(text) or any(are_read(text, read) for read in (read_strings(text, column), *known)):
        return column, []
    try:
        other = infer_column(text, Hints())
    except UserError:  # some strings are not dates
        return column, []
    if other.kind != "datetime" or other.note:
        return column, []
    return replace(column, date_format=other.date_format, other_formats=other.other_formats), [
        f"dates of the form {other.date_format} are read in {column.name}, where training had {column.date_format}"
    ]


def _without_units(columns: Sequence[Column], frame: pl.DataFrame) -> tuple[dict[str, Column], list[str]]:
    """Finds columns of plain numbers for which training had 12% or 1:30; they are read as plain numbers.

    A spreadsheet stores 12 % as 0.12, which looks like 0.12 %: hence the note.
    """
    found, shown = {}, []
    for column in columns:
        text = frame[column.name]
        unit = column.compound or column.unit
        if column.kind != "numeric" or not unit or not text.count() or text.dtype.is_temporal():
            continue
        marks = {(column.decimal, column.thousands), (".", ""), (",", "")}
        if text.dtype == pl.String and not any(are_read(text, plain_numbers(text, *mark)) for mark in marks):
            continue
        first = text.drop_nulls()[0]
        shown.append(f"{column.name} ({first} is taken for {first} {unit})")
        if column.compound:
            found[column.name] = replace(column, compound="")
    note = f"numbers without the unit that they had in training are read in {first_of(shown, 3)}"
    return found, [note] if shown else []


def _only_mark(frame: pl.DataFrame, column: Column) -> str | None:
    """Returns the decimal mark with which a column can be read; None if there is none, or the readings differ."""
    readings = {
        mark: numbers
        for mark, between in MARKS.items()
        for thousands in reversed(between)
        if are_read(frame[column.name], numbers := _numbers(frame, replace(column, decimal=mark, thousands=thousands)))
    }
    values = list(readings.values())
    # 1,234 may be over a thousand or little more than 1.
    return next(iter(readings)) if values and all(one.equals(values[0]) for one in values) else None


def _numbers(frame: pl.DataFrame, column: Column) -> pl.Series:
    return read_strings(frame[column.name], column)
