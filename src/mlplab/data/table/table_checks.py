"""Refuses files that do not fit what the user says of their columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.column_inference import Column
from mlplab.data.table.strings import for_hydra, for_shell, override_of
from mlplab.errors import UserError, agree, counted, first_of


def require_named_columns(
    frame: pl.DataFrame,
    targets: Sequence[str],
    column_lists: Mapping[str, Sequence[str]],
    special: Mapping[str, str],
    keep_values: Any,
    first_names: Sequence[str] = (),
) -> None:
    """Refuses names of columns that the file lacks, and columns that are named for two purposes.

    `first_names` are the strings of the first line, where it was not taken for a header. Naming one makes it one.
    """
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
            could_be = [first for first in first_names if first] if len(set(first_names)) == len(first_names) else []
            near = nearest_name(name, could_be) or nearest_name(name, others) or others[-1]
            # A line break in a name would break the message.
            shown = first_of([" ".join(known.splitlines()) for known in names], 8)
            if could_be:
                shown += f"; or, if the first line is the header, {first_of(could_be, 8)}"
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
