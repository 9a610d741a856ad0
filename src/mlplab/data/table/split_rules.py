"""What columns and files say about the split."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import SplitRules
from mlplab.data.table.cells import present
from mlplab.data.table.values import as_levels
from mlplab.errors import UserError

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}


def complete(
    series: pl.Series, key: str, missing_values: Sequence[str], wanted: npt.NDArray[np.bool_] | None = None
) -> pl.Series:
    """Refuses a column that decides the split and does not say it of every row.

    Args:
        series: of the whole file, so that a message tells the row.
        key: `split_column`, `group_column` or `time_column`.
        missing_values: cells that mean that there is no value, beside the usual ones.
        wanted: (N,) the rows that matter; all, as it stands.
    """
    cells = present(series, (), missing_values)
    rows = np.ones(len(cells), np.bool_) if wanted is None else wanted
    missing = np.flatnonzero(cells.is_null().to_numpy() & rows)
    if len(missing):
        raise UserError(
            f"data.{key} must have a value in every row",
            f"{cells.name!r} has none in {len(missing):,} of {len(cells):,}, the first is row {missing[0] + 1}",
            "another column, or leaving those rows out",
        )
    if key == "split_column":
        spelled = as_levels(cells).str.to_lowercase()
        unknown = np.flatnonzero(~spelled.is_in(list(PART_NAMES)).fill_null(True).to_numpy() & rows)
        if len(unknown):
            raise UserError(
                "data.split_column must say train, validation or test",
                f"{len(unknown):,} of {len(cells):,} rows say something else, the first is {cells[int(unknown[0])]!r} "
                f"in row {unknown[0] + 1}",
                "another column, or those words",
            )
    return cells


def split_rules(special_of_files: Sequence[Mapping[str, pl.Series]], sizes: Sequence[int]) -> SplitRules:
    """The rules of one file, or of a training file and a test file.

    Args:
        special_of_files: for each file, its split_column, group_column or time_column, if named; `complete`, and
            the times as values.
        sizes: rows of each file.

    Raises:
        UserError: what is said does not make a split.
    """
    special = {
        key: pl.concat([as_levels(special[key]) for special in special_of_files])
        for key in special_of_files[0]
        if key != "time_column"
    }
    parts = None
    if "split_column" in special:
        parts = _named_parts(special["split_column"])
    if len(sizes) > 1:
        if parts is not None:
            raise UserError(
                "the split must be given once", "data.split_column and data.test_path", "leaving one of them out"
            )
        parts = np.repeat(["", "test"], sizes)
    groups = times = None
    if "group_column" in special:
        groups = special["group_column"].rank("dense").to_numpy().astype(np.int64) - 1
        if parts is not None:
            _require_whole_groups(special["group_column"], parts)
    if "time_column" in special_of_files[0]:
        moments = [special["time_column"].to_physical().cast(pl.Float64) for special in special_of_files]
        times = pl.concat(moments).to_numpy()
    return SplitRules(parts, groups, times)


def _require_whole_groups(names: pl.Series, parts: npt.NDArray[np.str_]) -> None:
    n_parts = pl.DataFrame({"name": names, "part": parts}).group_by("name", maintain_order=True).n_unique()
    shared = n_parts.filter(pl.col("part") > 1)["name"]
    if len(shared):
        raise UserError(
            "no group must be in two parts",
            f"{len(shared)} {'group is' if len(shared) == 1 else 'groups are'}, such as {shared[0]!r}",
            "leaving such groups out of one part, or data.group_column=null",
        )


def _named_parts(names: pl.Series) -> npt.NDArray[np.str_]:
    parts = names.str.to_lowercase().replace_strict(PART_NAMES, return_dtype=pl.String).to_numpy().astype("<U5")
    for part in ("train", "test"):
        if not (parts == part).any():
            raise UserError(f"data.split_column must give a row to the {part} part", "it gives none", "another column")
    if not (parts == "val").any():
        parts[parts == "train"] = ""  # from which the validation part is drawn
    return parts
