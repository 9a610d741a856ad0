"""Rules for the split that columns and files give."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import SplitRules
from mlplab.data.table.column import Column
from mlplab.data.table.column_values import as_categories
from mlplab.errors import UserError, counted

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}


def time_column_of(
    columns: Sequence[Column], special: Mapping[str, str], dropped: Sequence[str]
) -> tuple[Column | None, dict[str, str]]:
    """Returns how the times of the rows are read, and the role of their column unless it is a feature too."""
    time = next((column for column in columns if column.name == special.get("time_column")), None)
    if time is None:
        return None, {}
    # An identifier that numbers the rows orders them as well.
    if time.kind not in ("datetime", "numeric", "identifier"):
        raise UserError(
            "data.time_column must hold dates or numbers",
            f"{time.name!r} holds {time.kind} values",
            "data.date_format=… with the form that they are written in, such as '%d/%m/%y'",
        )
    # The parts of a date, such as its hour, come again in new rows and stay features. A running number does not.
    role = {time.name: "says what comes later"} if time.kind != "datetime" or time.name in dropped else {}
    return time if time.kind == "datetime" else replace(time, kind="numeric"), role


def require_decided(series: pl.Series, key: str, rows: npt.NDArray[np.bool_]) -> None:
    """Refuses a column that shall decide the split, but lacks a usable value in some row.

    Args:
        series: of the whole file, so that the message can tell the row.
        key: `split_column`, `group_column` or `time_column`.
        rows: (N,) the rows that matter.
    """
    missing = np.flatnonzero(series.is_null().to_numpy() & rows)
    if len(missing):
        raise UserError(
            f"data.{key} must have a value in every row",
            f"{series.name!r} has none in {len(missing):,} of {len(series):,}, the first is row {missing[0] + 1}",
            "another column, or leaving those rows out",
        )
    if key == "split_column":
        names = as_categories(series).str.to_lowercase()
        unknown = np.flatnonzero(~names.is_in(list(PART_NAMES)).fill_null(True).to_numpy() & rows)
        if len(unknown):
            raise UserError(
                "data.split_column must say train, validation or test",
                f"{len(unknown):,} of {len(series):,} rows say something else, the first is "
                f"{series[int(unknown[0])]!r} in row {unknown[0] + 1}",
                "another column, or those words",
            )


def split_rules(special_of_files: Sequence[Mapping[str, pl.Series]], sizes: Sequence[int]) -> SplitRules:
    """Makes the rules of one file, or of a training file and a test file.

    Args:
        special_of_files: for each file, the columns that decide the split by their key: times as values, the others
            after `require_decided`.
        sizes: rows of each file.

    Raises:
        UserError: the split is given twice, lacks a part, or cuts a group.
    """
    special = {
        # As text, since the two files may store the column in different types.
        key: pl.concat([as_categories(special[key]) for special in special_of_files])
        for key in special_of_files[0]
        if key != "time_column"
    }
    parts = groups = times = None
    if "split_column" in special:
        parts = _named_parts(special["split_column"])
    if len(sizes) > 1:
        if parts is not None:
            raise UserError(
                "the split must be given once",
                "data.split_column and data.test_path both give it",
                "leaving one of them out",
            )
        # An empty name leaves the row to the random draw.
        parts = np.repeat(["", "test"], sizes)
    if "group_column" in special:
        # Ranks of the names do not depend on the order of the rows, so a shuffled file has the same groups.
        groups = special["group_column"].rank("dense").to_numpy().astype(np.int64) - 1
        if parts is not None:
            _require_whole_groups(special["group_column"], parts)
    if "time_column" in special_of_files[0]:
        # Both files' times are in microseconds, or numbers.
        numbers = [special["time_column"].to_physical().cast(pl.Float64) for special in special_of_files]
        times = pl.concat(numbers).to_numpy()
    return SplitRules(parts, groups, times)


def _require_whole_groups(names: pl.Series, parts: npt.NDArray[np.str_]) -> None:
    # In the order of the file, so that the message always names the same group.
    n_parts = pl.DataFrame({"name": names, "part": parts}).group_by("name", maintain_order=True).n_unique()
    shared = n_parts.filter(pl.col("part") > 1)["name"]
    if len(shared):
        raise UserError(
            "no group must be in two parts",
            f"{counted(len(shared), 'group', 'is')}, such as {shared[0]!r}",
            "leaving such groups out of one part, or data.group_column=null",
        )


def _named_parts(names: pl.Series) -> npt.NDArray[np.str_]:
    # Five characters hold the longest name, train.
    parts = names.str.to_lowercase().replace_strict(PART_NAMES, return_dtype=pl.String).to_numpy().astype("<U5")
    for part in ("train", "test"):
        if not (parts == part).any():
            raise UserError(f"data.split_column must give a row to the {part} part", "it gives none", "another column")
    if not (parts == "val").any():
        parts[parts == "train"] = ""  # from which the validation part is drawn
    return parts
