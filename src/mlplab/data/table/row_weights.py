"""The column that says how much each row counts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.table.column import Column
from mlplab.data.table.column_values import column_values
from mlplab.errors import UserError, counted

REQUIREMENT = "data.weight_column must hold a finite number of 0 or more in every row"


def row_weights(
    series: pl.Series, column: Column, missing_values: Sequence[str], rows: npt.NDArray[np.bool_], first_row: int = 1
) -> pl.Series:
    """Reads the weights of the rows as Float64.

    Args:
        series: some rows of the column, after `null_missing`.
        column: how to read them.
        missing_values: those beside the usual ones.
        rows: (N,) the rows that matter.
        first_row: the number of the first of these rows, for messages.

    Raises:
        UserError: a row that matters has no weight, or a negative or infinite one.
    """
    try:
        weights = column_values(series, column, missing_values, first_row)
    except UserError as error:
        raise unusable_weights(column.name, error.actual) from None
    bad = np.flatnonzero(~(weights >= 0).fill_null(False).to_numpy() & rows)
    if len(bad):
        first = int(bad[0])
        found = "none" if weights[first] is None else f"{weights[first]:g}"
        have = counted(len(bad), "row", "has")
        raise unusable_weights(column.name, f"{have} another, the first is row {first_row + first} with {found}")
    return weights


def unusable_weights(name: str, actual: str) -> UserError:
    """Makes the error for a column that cannot hold weights."""
    return UserError(
        REQUIREMENT, f"in {name!r} {actual}", "0 for rows that shall not count, or data.weight_column=null"
    )
