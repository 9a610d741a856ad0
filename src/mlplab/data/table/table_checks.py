"""Refuses files that do not fit what the user says of their columns."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.column import Column
from mlplab.errors import UserError, agree, counted, first_of


def require_columns(frame: pl.DataFrame, needed: Sequence[str], path: Path, key: str) -> list[str]:
    """Refuses a file that lacks a column; returns a note about the columns that it has beside.

    Raises:
        UserError: with the missing names, and the nearest to the first that is there.
    """
    there, wanted = set(frame.columns), set(needed)  # a table may have thousands of columns
    missing = [name for name in needed if name not in there]
    extra = [name for name in frame.columns if name not in wanted]
    if missing:
        near = nearest_name(missing[0], extra)
        raise UserError(
            f"{key} must have every column that the model takes",
            f"{path.name} lacks {len(missing)} of {len(needed)}: {first_of([repr(name) for name in missing], 5)}",
            f"renaming {near!r}" if near else "a file with the columns of the training file",
        )
    if not extra:
        return []
    are = agree(len(extra), "is")
    return [f"{path.name} has {counted(len(extra), 'column')} that {are} not used: {first_of(extra, 5)}"]


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


def empty_columns(frame: pl.DataFrame, besides: set[str]) -> tuple[list[str], list[str]]:
    """Returns the columns without a single value, but for those of `besides`, and a note that names them."""
    empty = [series.name for series in frame if series.name not in besides and series.null_count() == len(frame)]
    if not empty:
        return [], []
    n_empty = len(empty)
    are = f"{counted(n_empty, 'column', 'has')} no value and {agree(n_empty, 'is')}"
    return empty, [f"{are} left out: {first_of(empty, 5)}"]
