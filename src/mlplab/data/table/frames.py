"""Takes frames of pandas and polars as tables."""

from typing import Any

import numpy as np
import polars as pl

from mlplab.errors import UserError


def is_frame(rows: Any) -> bool:
    """Returns whether rows come as a frame, with columns that have names and types."""
    return hasattr(rows, "columns") and hasattr(rows, "dtypes")


def as_polars(frame: Any) -> pl.DataFrame:
    """Copies a frame into one of polars, whose missing values are null. NaN counts as missing.

    polars' own conversion needs pyarrow for text, which neither pandas nor this project installs.

    Raises:
        UserError: it is no frame, or two of its columns have one name.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.selectors.float().fill_nan(None))
    if not is_frame(frame):
        raise UserError(
            "rows of a table must be a frame of polars or pandas, or the path of a file",
            f"they are {type(frame).__name__}", "a frame with the columns of the training",
        )  # fmt: skip
    names = [str(name) for name in frame.columns]
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError("columns must have names of their own", f"there are two of {twice!r}", "renaming one of them")
    return pl.DataFrame([_as_series(name, frame.iloc[:, place]) for place, name in enumerate(names)])


def _as_series(name: str, column: Any) -> pl.Series:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufM":
        return pl.Series(name, column.to_numpy(), nan_to_null=True)
    # Text, categories and pandas' own types: by values of Python. Not strict, as text may hold numbers.
    known = column.notna()
    return pl.Series(name, column.astype(object).where(known, None).tolist(), strict=False)
