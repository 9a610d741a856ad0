"""What columns and files say about the split."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import SplitRules
from mlplab.data.table.cells import present
from mlplab.data.table.columns import Column
from mlplab.data.table.values import values
from mlplab.errors import Refusal

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}


def complete(series: pl.Series, key: str, missing_values: Sequence[str]) -> pl.Series:
    """Refuses a column that decides the split and does not say it of every row."""
    cells = present(series, (), missing_values)
    n_missing = cells.null_count()
    if n_missing:
        row = int(cells.is_null().arg_true()[0]) + 1
        raise Refusal(
            f"data.{key} must have a value in every row",
            f"{cells.name!r} has none in {n_missing:,} of {len(cells):,}, the first is row {row}",
            "another column, or leaving those rows out",
        )
    return cells


def split_rules(
    special_of_files: Sequence[Mapping[str, pl.Series]], sizes: Sequence[int], time: Column | None
) -> SplitRules:
    """The rules of one file, or of a training file and a test file.

    Args:
        special_of_files: for each file, its split_column, group_column or time_column, if named.
        sizes: rows of each file.
        time: how a time column is read.

    Raises:
        Refusal: what is said does not make a split.
    """
    special = {
        key: pl.concat([special[key].cast(pl.String) for special in special_of_files])
        for key in special_of_files[0]
        if key != "time_column"
    }
    parts = None
    if "split_column" in special:
        parts = _named_parts(special["split_column"])
    if len(sizes) > 1:
        if parts is not None:
            raise Refusal(
                "the split must be given once", "data.split_column and data.test_path", "leaving one of them out"
            )
        parts = np.repeat(["", "test"], sizes)
    groups = times = None
    if "group_column" in special:
        groups = special["group_column"].rank("dense").to_numpy().astype(np.int64) - 1
        if len(sizes) > 1:
            shared = np.intersect1d(groups[: sizes[0]], groups[sizes[0] :])
            if len(shared):
                name = special["group_column"].gather(np.flatnonzero(groups == shared[0])[:1])[0]
                raise Refusal(
                    "no group must be in two parts",
                    f"{len(shared)} groups of the training file are in the test file too, such as {name!r}",
                    "leaving them out of one of the files",
                )
    if time is not None:
        moments = [values(special["time_column"], time, []) for special in special_of_files]
        times = np.concatenate([series.to_physical().cast(pl.Float64).to_numpy() for series in moments])
    return SplitRules(parts, groups, times)


def _named_parts(names: pl.Series) -> npt.NDArray[np.str_]:
    spelled = names.str.to_lowercase()
    unknown = spelled.filter(~spelled.is_in(list(PART_NAMES)))
    if len(unknown):
        row = int((~spelled.is_in(list(PART_NAMES))).arg_true()[0])
        raise Refusal(
            "data.split_column must say train, validation or test",
            f"{len(unknown):,} of {len(names):,} rows say something else, the first is {names[row]!r} in row {row + 1}",
            "another column, or those words",
        )
    parts = spelled.replace_strict(PART_NAMES, return_dtype=pl.String).to_numpy().astype("<U5")
    for part in ("train", "test"):
        if not (parts == part).any():
            raise Refusal(f"data.split_column must give a row to the {part} part", "it gives none", "another column")
    if not (parts == "val").any():
        parts[parts == "train"] = ""  # from which the validation part is drawn
    return parts
