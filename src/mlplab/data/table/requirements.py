"""What a file must have to be what is said of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.cells import as_numbers, listed, present, quoted, typed
from mlplab.errors import UserError, counted

FIRST_ROWS = 100
"""Rows of a file that are looked at before all of them are."""


def require_named_columns(
    frame: pl.DataFrame, target: str, said: Mapping[str, Sequence[str]], special: Mapping[str, str], keep_values: Any
) -> None:
    """Refuses the name of a column that is not there, and one that is to be two things."""
    names = frame.columns
    keeping = list(keep_values) if isinstance(keep_values, Mapping) else []
    lists = {**said, "keep_values": keeping}
    wanted = [("target", target), *special.items(), *((key, name) for key, list_ in lists.items() for name in list_)]
    if len(names) < 2:
        raise UserError(
            "there must be a column beside the target",
            f"the file has only one, {names[0]!r}",
            "data.delimiter=… with the character that stands between cells",
        )
    for key, name in wanted:
        if name not in names:
            near = nearest_name(name, names) or names[-1]
            shown = ", ".join(" ".join(known.splitlines()) for known in names[:8]) + (", …" if len(names) > 8 else "")
            form = {"drop": "[{}]", "numeric": "[{}]", "categorical": "[{}]", "keep_values": "{{{}: [NA]}}"}.get(
                key, "{}"
            )
            raise UserError(
                f"data.{key} must name a column of the file: {shown}",
                f"data.{key}={form.format(quoted(name))}",
                typed(f"data.{key}={form.format(quoted(near))}"),
            )
    for key, name in wanted[1:]:
        if name == target and key != "keep_values":
            raise UserError(f"data.{key} must not name the target", f"data.{key} names {name!r}", "another column")
    for name in said["numeric"]:
        if name in said["categorical"]:
            raise UserError(
                "a column must be numeric or categorical",
                f"{name!r} is named as both",
                listed("data.numeric", [name]),
            )
    if "group_column" in special and "time_column" in special:
        raise UserError(
            "the split must go by groups or by time",
            f"data.group_column={quoted(special['group_column'])} data.time_column={quoted(special['time_column'])}",
            "one of them",
        )


def require_columns(frame: pl.DataFrame, needed: Sequence[str], path: Path, key: str) -> list[str]:
    """Refuses a file that lacks a column; notes for people about those that it has beside.

    Raises:
        UserError: with the missing names, and the nearest to the first that is there.
    """
    wanted, there = set(needed), set(frame.columns)
    missing = [name for name in needed if name not in there]
    extra = [name for name in frame.columns if name not in wanted]
    if missing:
        near = nearest_name(missing[0], extra)
        names = ", ".join(repr(name) for name in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UserError(
            f"{key} must have every column that the model takes",
            f"{path.name} lacks {len(missing)} of {len(needed)}: {names}",
            f"renaming {near!r}" if near else "a file with the columns of the training file",
        )
    if not extra:
        return []
    names = ", ".join(extra[:5]) + (", …" if len(extra) > 5 else "")
    plural = len(extra) > 1
    return [f"{path.name} has {len(extra)} {'columns that are' if plural else 'column that is'} not used: {names}"]


def require_one_header(frame: pl.DataFrame, missing_values: Sequence[str]) -> None:
    """Refuses a file whose first row is text where everything below it is numbers: a second header line."""
    if len(frame) < 3:
        return
    text = [series for series in frame if series.dtype == pl.String]
    second = []
    for series in text:
        for rows in (series.head(FIRST_ROWS), series):  # text in the first few answers for all
            cells = present(rows, (), missing_values)
            is_number = as_numbers(cells.str.replace(",", ".", literal=True), ".", "").is_not_null()
            if cells[0] is None or is_number[0] or is_number[1:].sum() < cells[1:].count():
                break
        else:
            if cells[1:].count() > 0:
                second.append((str(series.name), str(cells[0])))
    if second and len(second) >= 0.5 * (len(frame.columns) - (len(text) - len(second))) and len(second) > 1:
        name, cell = second[0]
        raise UserError(
            "the names of the columns must stand in one line",
            f"{len(second)} columns hold numbers below a second line of text, such as {cell!r} in row 1 of {name!r}",
            "deleting one of the two lines, or data.skip_lines=1 if the second holds the names",
        )


def require_values(frame: pl.DataFrame, names: Sequence[str], cells: Callable[[pl.DataFrame, str], pl.Series]) -> None:
    """Refuses columns without a single value, all of them at once."""

    def is_empty(name: str) -> bool:
        # Most columns have a value in the first few rows.
        return cells(frame.head(FIRST_ROWS), name).count() == 0 and cells(frame, name).count() == 0

    empty = [name for name in names if is_empty(name)]
    if empty:
        shown = ", ".join(repr(name) for name in empty[:5]) + (", …" if len(empty) > 5 else "")
        raise UserError(
            "every column must have a value in some row",
            f"all {counted(len(frame), 'row')} of {counted(len(empty), 'column')} are missing: {shown}",
            listed("data.drop", empty),
        )
