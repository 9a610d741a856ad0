"""The cells of a column as values: numbers, levels or moments; refused where they are none."""

from collections.abc import Sequence

import polars as pl

from mlplab.data.table.cells import as_moments, as_numbers, listed, present, unreadable
from mlplab.data.table.columns import DATE_FORMATS, Column
from mlplab.errors import UserError

LARGEST_FLOAT32 = 3.4028234663852886e38
LARGEST_EXACT_WHOLE = 2.0**53

TRUE_WORDS = ["true", "yes", "t", "y"]
FALSE_WORDS = ["false", "no", "f", "n"]

UNAMBIGUOUS = (*DATE_FORMATS[:9], "%H:%M:%S%.f", "%H:%M")
"""Forms of dates and times that are understood in any file."""

MOMENT_PARTS = ("year", "month", "day", "weekday", "hour")
"""The features of a date: weekday from 1 (Monday) to 7, hour from 0 to 23; in UTC where the zone is given."""


def values(series: pl.Series, column: Column, missing_values: Sequence[str], first_row: int = 1) -> pl.Series:
    """The cells of a column as values: Float64, String, or Datetime; null where missing.

    Args:
        series: some rows of the column, as they were read.
        column: how to take them.
        missing_values: cells that mean that there is no value, beside the usual ones.
        first_row: the number of the first of these rows, for messages.

    Raises:
        UserError: a cell cannot be read as the column's kind, or is no finite number of 32 bits.
    """
    series = present(series, column.kept, missing_values)
    if column.kind == "numeric":
        return _finite(_numbers(series, column, missing_values, first_row), column.name, first_row)
    if column.kind == "datetime":
        return _moments(series, column, first_row)
    text = as_levels(series)
    if column.kind == "boolean":
        text = text.str.to_lowercase().replace([*TRUE_WORDS, *FALSE_WORDS], ["true"] * 4 + ["false"] * 4)
    return text


def _numbers(series: pl.Series, column: Column, missing_values: Sequence[str], first_row: int) -> pl.Series:
    if series.dtype == pl.String:
        numbers = as_numbers(series, column.decimal, column.thousands, column.prefix, column.suffix)
        if numbers.null_count() > series.null_count() and column.decimal == "," and not _may_be_grouped(series):
            # Another file may write the same numbers with a decimal point.
            plain = series.cast(pl.Float64, strict=False)
            numbers = plain if plain.null_count() == series.null_count() else numbers
        if numbers.null_count() > series.null_count():
            raise unreadable(series, numbers, "a number", column.name, first_row)
        return present(numbers, (), missing_values)  # markers that are numbers in another spelling
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise UserError(
            f"column {column.name!r} must hold numbers",
            f"it holds {series.dtype}",
            listed("data.drop", [column.name]),
        )
    return series.cast(pl.Float64)


def _may_be_grouped(text: pl.Series) -> bool:
    """Whether the point of some cell may set off thousands, so that it is not surely a decimal one."""
    return bool(text.str.contains(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$").any())


def _finite(numbers: pl.Series, name: str, first_row: int) -> pl.Series:
    largest = numbers.abs().max()
    if largest is None or float(largest) <= LARGEST_FLOAT32:  # type: ignore[arg-type]
        return numbers
    infinite = numbers.is_infinite().arg_true()
    if len(infinite):
        row = int(infinite[0])
        raise UserError(
            f"every number of column {name!r} must be finite",
            f"{len(infinite)} of {len(numbers)} {'is' if len(infinite) == 1 else 'are'} not, the first is "
            f"{numbers[row]} in row {first_row + row}",
            f"data.missing_values=[inf,-inf], or {listed('data.drop', [name])}",
        )
    large = (numbers.abs() > LARGEST_FLOAT32).arg_true()
    row = int(large[0])
    raise UserError(
        f"every number of column {name!r} must fit into 32 bits, below 3.4e38",
        f"{len(large)} of {len(numbers)} {'does' if len(large) == 1 else 'do'} not, the first is {numbers[row]:g} "
        f"in row {first_row + row}",
        f"another unit, or {listed('data.drop', [name])}",
    )


def _moments(series: pl.Series, column: Column, first_row: int) -> pl.Series:
    if series.dtype == pl.Time:
        series = series.dt.to_string("%H:%M:%S%.f")
        column = Column(column.name, "datetime", date_format="%H:%M:%S%.f")
    if series.dtype.is_integer() and column.date_format:  # 20201231
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        formats = [column.date_format] if column.date_format else []
        formats += [form for form in UNAMBIGUOUS if form not in formats]  # another file may write them otherwise
        for date_format in formats:
            moments = as_moments(series, date_format)
            if moments.null_count() == series.null_count():
                return moments
        moments = as_moments(series, formats[0])
        raise unreadable(series, moments, f"a date of the form {formats[0]}", column.name, first_row)
    if not series.dtype.is_temporal() or series.dtype == pl.Duration:
        raise UserError(
            f"column {column.name!r} must hold dates", f"it holds {series.dtype}", listed("data.drop", [column.name])
        )
    moments = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series.dt.cast_time_unit("us")
    if getattr(moments.dtype, "time_zone", None) is not None:
        moments = moments.dt.convert_time_zone("UTC")
    return moments.dt.replace_time_zone(None)


def as_levels(series: pl.Series) -> pl.Series:
    """Levels as text; a whole number without a decimal point, however it and those around it are stored."""
    if series.dtype.is_float():
        is_whole = (series % 1 == 0) & (series.abs() < LARGEST_EXACT_WHOLE)
        return series.cast(pl.Int64, strict=False).cast(pl.String).zip_with(is_whole, series.cast(pl.String))
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise UserError(
            f"column {series.name!r} must hold text",
            f"it holds {series.dtype}",
            listed("data.drop", [str(series.name)]),
        )
    return series.cast(pl.String)


def numbered_levels(series: pl.Series) -> pl.Series:
    """Returns levels as Enum, which take a fraction of the memory of text, and of the time of what is asked of them."""
    if series.dtype != pl.String:
        return series
    return series.cast(pl.Enum(series.drop_nulls().unique().sort()))


def moment_part(moments: pl.Series, part: str) -> pl.Series:
    """One of `MOMENT_PARTS` as Float64."""
    taken: pl.Series = getattr(moments.dt, part)()
    return taken.cast(pl.Float64)
