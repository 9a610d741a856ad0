"""What a column holds, and its cells as values: numbers, levels or moments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from mlplab.errors import Refusal

MISSING = ("", "?", "na", "n/a", "#n/a", "nan", "null")
"""Cells that mean that there is no value, in any mixture of capitals."""

BOOLEAN_WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
TRUE_WORDS = ["true", "yes", "t", "y"]
FALSE_WORDS = ["false", "no", "f", "n"]

DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%+",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
    "%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M",
    "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%H:%M:%S", "%H:%M",
)  # fmt: skip
"""Tried in this order. A day above 12 tells day/month from month/day; where none is, month/day is taken and said."""

MOMENT_PARTS = ("year", "month", "day", "weekday", "hour")
"""The features of a date: weekday from 1 (Monday) to 7, hour from 0 to 23; in UTC where the zone is given."""

LARGEST_FLOAT32 = 3.4028234663852886e38

FEW_UNREADABLE = 0.05
"""Up to this share of cells that are no numbers in a column of numbers is taken for mistakes, not for levels."""

MOSTLY_NUMBERS = 0.8
FEW_LEVELS = 20


@dataclass(frozen=True)
class Column:
    """How the cells of a column become values.

    Attributes:
        name: as in the file.
        kind: numeric, categorical, boolean or datetime, which become features; text, identifier, nested or
            empty, which do not.
        decimal: the decimal mark of its numbers.
        thousands: what groups their digits, or "".
        date_format: of its dates, as `strptime` takes it; "" where they are stored as dates.
        kept: cells that would mean "missing" elsewhere and are levels here.
        reason: why it is not a feature, for people.
        note: what was assumed in reading it, for people.
    """

    name: str
    kind: str
    decimal: str = "."
    thousands: str = ""
    date_format: str = ""
    kept: tuple[str, ...] = ()
    reason: str = ""
    note: str = ""

    @property
    def is_feature(self) -> bool:
        return self.kind in ("numeric", "categorical", "boolean", "datetime")

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Column":
        """The inverse of `as_dict`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**values)


def kept_of(name: str, keep_values: Any) -> tuple[str, ...]:
    """The missing markers that are levels in a column; `keep_values` is a list for all, or a dict by column."""
    kept = keep_values.get(name, []) if isinstance(keep_values, Mapping) else keep_values
    return tuple(str(value) for value in ([kept] if isinstance(kept, str) else kept or []))


def marker_spellings(missing_values: Sequence[str], keep_values: Any) -> list[str]:
    """Markers as polars takes them, spelled out; without those that are kept anywhere, which `values` sees to."""
    lists = keep_values.values() if isinstance(keep_values, Mapping) else [keep_values or []]
    kept = {str(value) for values in lists for value in ([values] if isinstance(values, str) else values or [])}
    usual = {spelling for word in MISSING for spelling in (word, word.upper(), word.title(), word.capitalize())}
    return sorted((usual | {"NaN"} | set(missing_values)) - kept)


def present(series: pl.Series, kept: Sequence[str], missing_values: Sequence[str]) -> pl.Series:
    """The series with null for every cell that means "missing", and text without blanks around it."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        is_missing = text.str.to_lowercase().is_in(MISSING) | text.is_in(list(missing_values))
        if kept:
            is_missing &= ~text.is_in(list(kept))
        return text.set(is_missing.fill_null(True), None)
    if series.dtype.is_float():
        if series.is_nan().any():
            series = series.fill_nan(None)
    elif not series.dtype.is_numeric():
        return series
    for marker in missing_values:
        number = _number(marker)
        if number is not None and bool((series == number).any()):
            series = series.set((series == number).fill_null(False), None)
    return series


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def as_numbers(text: pl.Series, decimal: str, thousands: str) -> pl.Series:
    """Float64, null where a cell is no number."""
    if thousands:
        grouped = rf"^[+-]?\d{{1,3}}({re.escape(thousands)}\d{{3}})*({re.escape(decimal)}\d*)?$"
        plain = text.str.replace_all(thousands, "", literal=True)
        text = plain.set((~text.str.contains(grouped)).fill_null(False), None)
    if decimal != ".":
        text = text.str.replace(".", "\0", literal=True).str.replace(decimal, ".", literal=True)
    return text.cast(pl.Float64, strict=False)


def as_moments(text: pl.Series, date_format: str) -> pl.Series:
    """Datetime in microseconds, null where a cell does not have the format."""
    if date_format.startswith("%H"):
        text, date_format = pl.Series(text.name, "1970-01-01 " + text), f"%Y-%m-%d {date_format}"
    try:
        moments = text.str.strptime(pl.Datetime("us"), date_format, strict=False, exact=True, ambiguous="null")
    except pl.exceptions.PolarsError:
        return pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    moments = moments.dt.replace_time_zone(None)
    # "1/2/20" has the form of the year 20.
    return moments.set((moments.dt.year() < 1000).fill_null(False), None)


def understand(
    series: pl.Series,
    *,
    said: str | None,
    decimal: str,
    prefers_comma: bool,
    date_format: str | None,
    kept: tuple[str, ...],
) -> Column:
    """Finds out what a column of `present` cells holds.

    Args:
        series: of one column, null where missing.
        said: "numeric" or "categorical", where the user says so.
        decimal: the decimal mark, or "auto".
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        date_format: of dates, where the user says it.
        kept: for the result.

    Raises:
        Refusal: it has no value, or is a column of numbers with a few cells that are none.
    """
    name, dtype = str(series.name), series.dtype
    n_present = len(series) - series.null_count()
    if n_present == 0:
        raise Refusal(
            f"column {name!r} must have a value in some row",
            f"all {len(series)} are missing",
            f"data.drop=[{name}]",
        )
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Column(name, "nested", reason="holds lists or bytes")
    if dtype == pl.String:
        return _understand_text(series, said, decimal, prefers_comma, date_format, kept)
    if said == "categorical" or dtype in (pl.Categorical, pl.Enum):
        return Column(name, "categorical", kept=kept)
    if dtype == pl.Boolean:
        return Column(name, "boolean")
    if dtype.is_temporal() and dtype != pl.Duration:
        return Column(name, "datetime")
    if said != "numeric" and dtype.is_integer() and _is_identifier(series):
        return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
    return Column(name, "numeric")


def _understand_text(
    text: pl.Series, said: str | None, decimal: str, prefers_comma: bool, date_format: str | None, kept: tuple[str, ...]
) -> Column:
    name = str(text.name)
    if said == "categorical":
        return Column(name, "categorical", kept=kept)
    n_present = len(text) - text.null_count()
    shares = {}
    for marks in _number_marks(decimal, prefers_comma):
        numbers = as_numbers(text, *marks)
        shares[marks] = (n_present - (numbers.null_count() - text.null_count())) / n_present
        if shares[marks] == 1:
            break
    marks = max(shares, key=lambda marks: shares[marks])
    if shares[marks] == 1:
        if said != "numeric" and _is_identifier(as_numbers(text, *marks)):
            return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
        how = " and ".join(
            [f"a decimal {_mark(marks[0])}"] * (marks[0] != ".")
            + [f"thousands set off by a {_mark(marks[1])}"] * (marks[1] != "")
        )
        return Column(name, "numeric", *marks, kept=kept, note=f"numbers with {how}" if how else "")
    levels = text.drop_nulls().unique()
    if said == "numeric":
        raise unreadable(text, as_numbers(text, *marks), "a number", name)
    moment = _understand_moments(text, date_format)
    if moment is not None:
        return moment
    words = set(levels.str.to_lowercase().to_list()) if len(levels) <= 4 else set()
    if any(words == pair for pair in BOOLEAN_WORDS):
        return Column(name, "boolean")
    few_levels = len(levels) <= FEW_LEVELS and shares[marks] < 1 - FEW_UNREADABLE
    if shares[marks] >= MOSTLY_NUMBERS and not few_levels:
        raise unreadable(text, as_numbers(text, *marks), "a number", name)
    n_levels = len(levels)
    if (n_levels == n_present and n_present >= 10) or (n_levels > FEW_LEVELS and n_levels > 0.5 * n_present):
        length = text.str.len_chars().mean()
        is_prose = isinstance(length, float) and length > 15 and bool(text.str.contains(" ").mean() > 0.5)  # type: ignore[operator]
        kind = "text" if is_prose else "identifier"
        return Column(name, kind, reason=f"{n_levels:,} different texts in {n_present:,} rows")
    return Column(name, "categorical", kept=kept)


def _number_marks(decimal: str, prefers_comma: bool) -> list[tuple[str, str]]:
    """Decimal and thousands marks to try, the likeliest first."""
    if decimal == ".":
        return [(".", ""), (".", ",")]
    if decimal == ",":
        return [(",", ""), (",", ".")]
    commas = [(",", ""), (",", ".")]
    return [(".", ""), *commas, (".", ",")] if prefers_comma else [(".", ""), (".", ","), *commas]


def _mark(mark: str) -> str:
    return {",": "comma", ".": "point"}.get(mark, repr(mark))


def _is_identifier(numbers: pl.Series) -> bool:
    """Whole numbers, each there once, in a column whose name says that they name the rows."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", str(numbers.name))
    if not {word.lower() for word in words} & {"id", "ids", "uuid", "guid", "key", "index", "identifier"}:
        return False
    whole = numbers.drop_nulls()
    return len(whole) >= 10 and whole.n_unique() == len(whole) and bool((whole.cast(pl.Float64) % 1 == 0).all())


def _understand_moments(text: pl.Series, date_format: str | None) -> Column | None:
    name, n_present = str(text.name), len(text) - text.null_count()
    # A look at a few cells rules most formats out.
    few = text.drop_nulls().head(50)
    fitting = []
    for candidate in [date_format] if date_format else DATE_FORMATS:
        if as_moments(few, candidate).null_count() > 0.2 * len(few):
            continue
        n_read = n_present - (as_moments(text, candidate).null_count() - text.null_count())
        if n_read == n_present:
            fitting.append(candidate)
        elif n_read >= (1 - FEW_UNREADABLE) * n_present:
            other_way = candidate.replace("%m/%d", "%d/%m").replace("%m-%d-", "%d-%m-")
            if as_moments(text, other_way).null_count() != text.null_count():
                raise unreadable(text, as_moments(text, candidate), f"a date of the form {candidate}", name)
    if not fitting:
        return None
    first, *others = fitting
    note = ""
    if {first.replace("%d", "%m"), *(other.replace("%d", "%m") for other in others)} == {first.replace("%d", "%m")}:
        note = f"dates of the form {first}" if others else ""
    if others and note:
        note += f", which could as well be {others[0]}; data.date_format='{others[0]}' says otherwise"
    return Column(name, "datetime", date_format=first, note=note)


def unreadable(text: pl.Series, read: pl.Series, what: str, name: str, first_row: int = 1) -> Refusal:
    """The refusal of cells that could not be read: how many, and the first with its row."""
    bad = (read.is_null() & text.is_not_null()).arg_true()
    row = int(bad[0])
    cells = f"{len(bad)} of {len(text)} cells {'is' if len(bad) == 1 else 'are'} not"
    several = text.gather(bad).unique(maintain_order=True).head(3).to_list()
    markers = ",".join(_quoted(cell) for cell in several)
    return Refusal(
        f"every cell of column {name!r} must be {what}",
        f"{cells}, the first is {text[row]!r} in row {first_row + row}",
        f"data.missing_values=[{markers}] if {'it means' if len(several) == 1 else 'they mean'} that there is no "
        f"value, or data.categorical=[{_quoted(name)}]",
    )


def _quoted(text: str) -> str:
    """As it can be typed within a list on the command line."""
    return text if re.fullmatch(r"[\w.+-]+", text, flags=re.ASCII) else f'"{text}"'


def values(series: pl.Series, column: Column, missing_values: Sequence[str], first_row: int = 1) -> pl.Series:
    """The cells of a column as values: Float64, String, or Datetime; null where missing.

    Args:
        series: some rows of the column, as they were read.
        column: how to take them.
        missing_values: cells that mean that there is no value, beside the usual ones.
        first_row: the number of the first of these rows, for messages.

    Raises:
        Refusal: a cell cannot be read as the column's kind, or is no finite number of 32 bits.
    """
    series = present(series, column.kept, missing_values)
    if column.kind == "numeric":
        return _finite(_numbers(series, column, first_row), column.name, first_row)
    if column.kind == "datetime":
        return _moments(series, column, first_row)
    text = _text(series)
    if column.kind == "boolean":
        text = text.str.to_lowercase().replace([*TRUE_WORDS, *FALSE_WORDS], ["true"] * 4 + ["false"] * 4)
    return text


def _numbers(series: pl.Series, column: Column, first_row: int) -> pl.Series:
    if series.dtype == pl.String:
        numbers = as_numbers(series, column.decimal, column.thousands)
        if numbers.null_count() > series.null_count() and (column.decimal, column.thousands) != (".", ""):
            # Another file, or Parquet, may write the same numbers plainly.
            plain = series.cast(pl.Float64, strict=False)
            numbers = plain if plain.null_count() == series.null_count() else numbers
        if numbers.null_count() > series.null_count():
            raise unreadable(series, numbers, "a number", column.name, first_row)
        return numbers
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise Refusal(
            f"column {column.name!r} must hold numbers", f"it holds {series.dtype}", f"data.drop=[{column.name}]"
        )
    return series.cast(pl.Float64)


def _finite(numbers: pl.Series, name: str, first_row: int) -> pl.Series:
    largest = numbers.abs().max()
    if largest is None or float(largest) <= LARGEST_FLOAT32:  # type: ignore[arg-type]
        return numbers
    infinite = numbers.is_infinite().arg_true()
    if len(infinite):
        row = int(infinite[0])
        raise Refusal(
            f"every number of column {name!r} must be finite",
            f"{len(infinite)} of {len(numbers)} {'is' if len(infinite) == 1 else 'are'} not, the first is "
            f"{numbers[row]} in row {first_row + row}",
            f"data.missing_values=[inf,-inf], or data.drop=[{_quoted(name)}]",
        )
    large = (numbers.abs() > LARGEST_FLOAT32).arg_true()
    row = int(large[0])
    raise Refusal(
        f"every number of column {name!r} must fit into 32 bits, below 3.4e38",
        f"{len(large)} of {len(numbers)} {'does' if len(large) == 1 else 'do'} not, the first is {numbers[row]:g} "
        f"in row {first_row + row}",
        f"another unit, or data.drop=[{_quoted(name)}]",
    )


def _moments(series: pl.Series, column: Column, first_row: int) -> pl.Series:
    if series.dtype == pl.Time:
        series = series.dt.to_string("%H:%M:%S")
        column = Column(column.name, "datetime", date_format="%H:%M:%S")
    if series.dtype == pl.String:
        formats = [column.date_format] if column.date_format else list(DATE_FORMATS[:6])
        for date_format in formats:
            moments = as_moments(series, date_format)
            if moments.null_count() == series.null_count():
                return moments
        raise unreadable(series, moments, f"a date of the form {formats[0]}", column.name, first_row)
    if not series.dtype.is_temporal() or series.dtype == pl.Duration:
        raise Refusal(
            f"column {column.name!r} must hold dates", f"it holds {series.dtype}", f"data.drop=[{column.name}]"
        )
    moments = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series.dt.cast_time_unit("us")
    if getattr(moments.dtype, "time_zone", None) is not None:
        moments = moments.dt.convert_time_zone("UTC")
    return moments.dt.replace_time_zone(None)


def _text(series: pl.Series) -> pl.Series:
    """Levels as text; whole numbers without a decimal point, however they are stored."""
    if series.dtype.is_float():
        whole = bool((series.drop_nulls() % 1 == 0).all())
        return (series.cast(pl.Int64) if whole else series).cast(pl.String)
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise Refusal(
            f"column {series.name!r} must hold text", f"it holds {series.dtype}", f"data.drop=[{series.name}]"
        )
    return series.cast(pl.String)


def moment_part(moments: pl.Series, part: str) -> pl.Series:
    """One of `MOMENT_PARTS` as Float64."""
    taken: pl.Series = getattr(moments.dt, part)()
    return taken.cast(pl.Float64)
