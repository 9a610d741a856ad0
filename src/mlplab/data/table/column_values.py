"""Reads the strings of a column as values: numbers, categories or datetimes; refuses what is none."""

from collections.abc import Sequence

import polars as pl

from mlplab.data.table.column_inference import Column, read_strings
from mlplab.data.table.datetime_strings import CLOCKS, UNAMBIGUOUS, first_that_fits
from mlplab.data.table.spellings import LARGEST_EXACT_WHOLE, MEANINGS
from mlplab.data.table.strings import (
    as_whole,
    null_missing,
    override_of,
    stand_for_nothing,
    unread_rows,
    unreadable_strings,
)
from mlplab.errors import UserError, counted

# Networks compute in 32 bits, where a larger number would be infinite.
LARGEST_FLOAT32 = 3.4028234663852886e38


DATETIME_PARTS = {
    "year": "such as 2024",
    "month": "1 to 12",
    "day": "1 to 31",
    "weekday": "1 (Monday) to 7",
    "hour": "0 to 23",
    "minute": "0 to 59",
    "second": "0 to 59",
}
"""The features of a date, in UTC where the zone is given → their range."""


def column_values(series: pl.Series, column: Column, missing_values: Sequence[str], first_row: int = 1) -> pl.Series:
    """Reads a column, whose missing values are null, as Float64, String or Datetime.

    Args:
        series: some rows of the column, after `null_missing`.
        column: how to read them.
        missing_values: those beside the usual ones; a number is one also in a spelling that `null_missing` lacks.
        first_row: the number of the first of these rows, for messages.

    Raises:
        UserError: a string cannot be read as the column's kind, or is no finite number of 32 bits.
    """
    if column.kind == "numeric":
        return _require_finite(_numbers(series, column, missing_values, first_row), first_row)
    if column.kind == "datetime":
        return _datetimes(series, column, first_row)
    text = as_categories(series)
    if column.kind == "boolean":
        # One spelling, so that a file with yes and no fits a model that has learned true and false.
        text = text.str.to_lowercase().replace(MEANINGS)
    return text


def _numbers(series: pl.Series, column: Column, missing_values: Sequence[str], first_row: int) -> pl.Series:
    if series.dtype == pl.String:
        numbers = read_strings(series, column)
        if numbers.null_count() > series.null_count() and column.decimal == "," and not _may_be_grouped(series):
            # Another file may write the same numbers with a decimal point.
            plain = series.cast(pl.Float64, strict=False)
            numbers = plain if plain.null_count() == series.null_count() else numbers
        _require_few_unreadable(series, numbers, column, "a number", first_row)
        # Once more as numbers, as -9.99e2 is the marker -999 in another spelling.
        return null_missing(numbers, (), missing_values)
    if series.dtype == pl.Duration:
        # In seconds.
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise _wrong_type(series, "numbers")
    return series.cast(pl.Float64)


def _require_few_unreadable(series: pl.Series, read: pl.Series, column: Column, what: str, first_row: int) -> None:
    # Counting nulls takes no pass over the column.
    if read.null_count() == series.null_count():
        return
    if len(unread_rows(series, read)) > column.unreadable_cells * series.count():
        raise unreadable_strings(series, read, what, column.name, first_row)


def n_unreadable(series: pl.Series, values: pl.Series) -> int:
    """Counts strings that `column_values` took for missing, but not those that often stand for a missing value."""
    if series.dtype != pl.String or values.null_count() == series.null_count():
        return 0
    return len(unread_rows(series, values))


def tell_unreadable(series: pl.Series, values: pl.Series, what: str) -> str:
    """Says how many strings `column_values` took for missing, and the first of them with their rows.

    Args:
        series: the strings.
        values: what they are.
        what: the values are, such as "numbers".
    """
    bad = unread_rows(series, values)
    first = pl.DataFrame({"string": series.gather(bad), "row": bad + 1}).unique("string", maintain_order=True).head(3)
    shown = ", ".join(f"{string!r} in row {row:,}" for string, row in first.rows())
    are = f"is no {what.removesuffix('s')}, counted" if len(bad) == 1 else f"are no {what}, all counted"
    return (
        f"{series.name}: {len(bad):,} of {series.count():,} values {are} as missing: {shown}; data.unreadable_cells=0 "
        "refuses them"
    )


def tell_markers(series: pl.Series, values: pl.Series) -> str:
    """Says which strings stand for a missing value among the numbers or dates of a column; "" for none."""
    places = (values.is_null() & series.is_not_null()).arg_true()
    markers = series.gather(places.filter(stand_for_nothing(series.gather(places))))
    if len(markers) == 0:
        return ""
    words = ", ".join(repr(word) for word in markers.unique(maintain_order=True).head(3))
    return f"{series.name}: {counted(len(markers), 'value')} taken for missing: {words}"


def _may_be_grouped(text: pl.Series) -> bool:
    """Checks for a point that may set off thousands, so that it is not surely a decimal one."""
    return bool(text.str.contains(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$").any())


def _require_finite(numbers: pl.Series, first_row: int) -> pl.Series:
    # One pass over the column is enough for nearly all of them: the rest is for the message.
    largest = numbers.abs().max()
    if largest is None or float(largest) <= LARGEST_FLOAT32:  # type: ignore[arg-type]
        return numbers
    infinite, large = numbers.is_infinite().arg_true(), (numbers.abs() > LARGEST_FLOAT32).arg_true()
    name, row = str(numbers.name), int((infinite if len(infinite) else large)[0])
    first = f"the first is {numbers[row]:g} in row {first_row + row}"
    if len(infinite):
        raise UserError(
            f"every number of column {name!r} must be finite",
            f"{len(infinite)} of {len(numbers)} {'is' if len(infinite) == 1 else 'are'} not, {first}",
            f"data.missing_values=[inf,-inf], or {override_of('data.drop', [name])}",
        )
    raise UserError(
        f"every number of column {name!r} must fit into 32 bits, below 3.4e38",
        f"{len(large)} of {len(numbers)} {'does' if len(large) == 1 else 'do'} not, {first}",
        f"another unit, or {override_of('data.drop', [name])}",
    )


def _datetimes(series: pl.Series, column: Column, first_row: int) -> pl.Series:
    date_format = column.date_format
    if series.dtype == pl.Time:
        date_format = CLOCKS[0]
        series = series.dt.to_string(date_format)
    if series.dtype.is_numeric() and date_format:  # 20201231
        series = as_whole(series).cast(pl.String)
    if series.dtype == pl.String:
        # Another file may write the dates, or times of day, in a form of its own.
        known = CLOCKS if date_format in CLOCKS else UNAMBIGUOUS
        forms = list(dict.fromkeys(form for form in (date_format, *column.other_formats, *known) if form))
        datetimes = first_that_fits(series, forms, column.latest_year)
        _require_few_unreadable(series, datetimes, column, f"a date of the form {forms[0]}", first_row)
        return datetimes
    if not series.dtype.is_temporal() or series.dtype == pl.Duration:
        raise _wrong_type(series, "dates")
    # One unit of time, as the times of two files are compared and concatenated as plain numbers.
    datetimes = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series.dt.cast_time_unit("us")
    if getattr(datetimes.dtype, "time_zone", None) is not None:
        # An instant has the same features whatever zone its file is written in.
        datetimes = datetimes.dt.convert_time_zone("UTC")
    return datetimes.dt.replace_time_zone(None)


def as_categories(series: pl.Series) -> pl.Series:
    """Writes categories as text; a whole number without a decimal point, in whatever type it is stored."""
    if series.dtype.is_float():
        is_whole = (series % 1 == 0) & (series.abs() < LARGEST_EXACT_WHOLE)
        return series.cast(pl.Int64, strict=False).cast(pl.String).zip_with(is_whole, series.cast(pl.String))
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise _wrong_type(series, "text")
    return series.cast(pl.String)


def _wrong_type(series: pl.Series, wanted: str) -> UserError:
    name = str(series.name)
    return UserError(
        f"column {name!r} must hold {wanted}", f"it holds {series.dtype}", override_of("data.drop", [name])
    )


def as_enum(series: pl.Series) -> pl.Series:
    """Stores text as Enum, in a fraction of the memory; looking up its categories takes a fraction of the time."""
    if series.dtype != pl.String:
        return series
    # Sorted, as `unique` has no fixed order: the same strings always give the same Enum.
    return series.cast(pl.Enum(series.drop_nulls().unique().sort()))


def datetime_part(datetimes: pl.Series, part: str) -> pl.Series:
    """Returns one of `DATETIME_PARTS` as Float64."""
    taken: pl.Series = getattr(datetimes.dt, part)()
    return taken.cast(pl.Float64)
