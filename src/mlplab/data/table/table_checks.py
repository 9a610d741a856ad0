"""Refuses files that do not fit what the user says of their columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.column_inference import Column
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.strings import for_hydra, for_shell, override_of
from mlplab.errors import UserError, counted

FIRST_ROWS = 100
"""Rows of a file that are looked at before all of them are."""


def first_of(names: Sequence[str], most: int) -> str:
    """Lists the first names, with "…" for the others."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def require_named_columns(
    frame: pl.DataFrame,
    targets: Sequence[str],
    column_lists: Mapping[str, Sequence[str]],
    special: Mapping[str, str],
    keep_values: Any,
) -> None:
    """Refuses names of columns that the file lacks, and columns that are named for two purposes."""
    names = frame.columns
    if len(names) < 2:
        raise UserError(
            "there must be a column beside the target",
            f"the file has only one, {names[0]!r}",
            "data.delimiter=… with the character that stands between values",
        )
    lists = {**column_lists, "keep_values": list(keep_values) if isinstance(keep_values, Mapping) else []}
    wanted = [*special.items(), *((key, name) for key, list_ in lists.items() for name in list_)]
    for key, name in [*(("target", target) for target in targets), *wanted]:
        if name not in names:
            # The target serves no other purpose, but it may keep values, as a class may be called NA.
            others = [other for other in names if key == "keep_values" or other not in {*targets} - {name}]
            near = nearest_name(name, others) or others[-1]
            # A line break in a name would break the message.
            shown = first_of([" ".join(known.splitlines()) for known in names], 8)
            if key == "target" and len(targets) > 1:
                raise UserError(
                    f"data.target must name columns of the file: {shown}",
                    override_of("data.target", [name]),
                    override_of("data.target", [near if one == name else one for one in targets]),
                )
            form = "{{{}: [NA]}}" if key == "keep_values" else "[{}]" if key in column_lists else "{}"
            raise UserError(
                f"data.{key} must name a column of the file: {shown}",
                f"data.{key}={form.format(for_hydra(name))}",
                for_shell(f"data.{key}={form.format(for_hydra(near))}"),
            )
    for key, name in wanted:
        # A class may be called NA, so the target may keep values.
        if name in targets and key != "keep_values":
            raise UserError(f"data.{key} must not name the target", f"data.{key} names {name!r}", "another column")
    for name in targets:
        if targets.count(name) > 1:
            raise UserError(
                "data.target must name each column once",
                f"it names {name!r} twice",
                override_of("data.target", list(dict.fromkeys(targets))),
            )
    for name in column_lists["numeric"]:
        if name in column_lists["categorical"]:
            raise UserError(
                "a column must be numeric or categorical",
                f"{name!r} is named as both",
                override_of("data.numeric", [name]),
            )
    # A cut in time would go through the middle of groups.
    if "group_column" in special and "time_column" in special:
        raise UserError(
            "the split must go by groups or by time",
            f"data.group_column={for_hydra(special['group_column'])} "
            f"data.time_column={for_hydra(special['time_column'])}",
            "one of them",
        )


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
    are = "columns that are" if len(extra) > 1 else "column that is"
    return [f"{path.name} has {len(extra)} {are} not used: {first_of(extra, 5)}"]


def require_one_header(frame: pl.DataFrame) -> None:
    """Refuses a file whose first row is text where everything below it is numbers: a second header line."""
    # With a single row below it, text above a number proves nothing.
    if len(frame) < 3:
        return
    text = [series for series in frame if series.dtype == pl.String]
    second = [series for series in text if _begins_with_a_name(series)]
    # Columns of other types may have had no second name. Most of the columns need one.
    n_numeric = len(frame.columns) - len(text) + len(second)
    if len(second) > 1 and len(second) >= 0.5 * n_numeric:
        raise UserError(
            "the names of the columns must stand in one line",
            f"{len(second)} columns hold numbers below a second line of text, such as {second[0][0]!r} in row 1 of "
            f"{second[0].name!r}",
            "deleting one of the two lines, or data.skip_lines=1 if the second holds the names",
        )


def _begins_with_a_name(text: pl.Series) -> bool:
    """Checks for text that is no number above numbers."""
    for rows in (text.head(FIRST_ROWS), text):  # text in the first few answers for all
        # Decimal commas count too, as the decimal mark is inferred only later.
        is_number = plain_numbers(rows.str.replace(",", ".", literal=True), ".", "").is_not_null()
        if rows[0] is None or is_number[0] or is_number[1:].sum() < rows[1:].count():
            return False
    return text[1:].count() > 0


def require_values(frame: pl.DataFrame, besides: set[str]) -> None:
    """Refuses columns without a single value, and names them all; those of `besides` may be empty."""
    empty = [series.name for series in frame if series.name not in besides and series.null_count() == len(frame)]
    if empty:
        raise UserError(
            "every column must have a value in some row",
            f"all {counted(len(frame), 'row')} of {counted(len(empty), 'column')} are missing: "
            f"{first_of([repr(name) for name in empty], 5)}",
            override_of("data.drop", empty),
        )


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
