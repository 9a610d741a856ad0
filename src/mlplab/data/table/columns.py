"""What a column holds: numbers, levels, dates, or what is no feature."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from mlplab.data.table.cells import Words, affixes, as_moments, as_numbers, listed, unreadable
from mlplab.errors import UserError

BOOLEAN_WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})

DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%+",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
    "%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M",
    "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%m/%d/%y %H:%M", "%d/%m/%y %H:%M", "%d.%m.%y %H:%M",
    "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M %p", "%Y-%m-%d %I:%M %p",
    "%H:%M:%S%.f", "%H:%M", "%I:%M %p", "%I:%M:%S %p",
)  # fmt: skip
"""Tried in this order. A day above 12 tells day/month from month/day; where none is, month/day is taken and said."""


FEW_UNREADABLE = 0.05
"""Up to this share of cells that are no numbers in a column of numbers is taken for mistakes, not for levels."""

MOST_UNREADABLE_OF_FEW = 0.2
"""Up to this share of a few cells that do not have the form of a date, all of the column is tried."""

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
        prefix, suffix: what stands around its numbers: a currency, a percent sign, a unit.
        date_format: of its dates, as `strptime` takes it; "" where they are stored as dates.
        kept: cells that would mean "missing" elsewhere and are levels here.
        reason: why it is not a feature, for people.
        note: what was assumed in reading it, for people.
    """

    name: str
    kind: str
    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
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
        date_format: of dates, where the user says it; other columns may have others.
        kept: for the result.

    Raises:
        UserError: it has no value, or is a column of numbers with a few cells that are none.
    """
    name, dtype = str(series.name), series.dtype
    n_present = len(series) - series.null_count()
    if n_present == 0:
        raise UserError(
            f"column {name!r} must have a value in some row",
            f"all {len(series)} are missing",
            listed("data.drop", [name]),
        )
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Column(name, "nested", reason="holds lists or bytes")
    if date_format and said is None and (dtype == pl.String or dtype.is_integer()):
        text = series.cast(pl.String)
        if as_moments(text, date_format).null_count() == text.null_count():
            return Column(name, "datetime", date_format=date_format)
    if dtype == pl.String:
        return _understand_text(series, said, decimal, prefers_comma, date_format, kept)
    if said == "categorical" or dtype in (pl.Categorical, pl.Enum):
        return Column(name, "categorical", kept=kept)
    if dtype == pl.Boolean:
        return Column(name, "boolean")
    if dtype.is_temporal() and dtype != pl.Duration:
        return Column(name, "datetime", date_format="%H:%M:%S%.f" if dtype == pl.Time else "")
    if said != "numeric" and dtype.is_integer() and _may_be_identifier(name) and _is_identifier(series):
        return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
    return Column(name, "numeric")


def _understand_text(
    text: pl.Series, said: str | None, decimal: str, prefers_comma: bool, date_format: str | None, kept: tuple[str, ...]
) -> Column:
    name = str(text.name)
    if said == "categorical":
        return Column(name, "categorical", kept=kept)
    words = Words.of(text)
    n_present = len(text) - text.null_count()
    share, how = _likeliest_numbers(text, words, decimal, prefers_comma)
    if share == 1:
        if said != "numeric" and _may_be_identifier(name) and _is_identifier(as_numbers(text, *how)):
            return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
        return _numeric(name, how, kept)
    if said == "numeric":
        raise unreadable(text, as_numbers(text, *how), "a number", name)
    moment = _understand_moments(text, words, date_format)
    if moment is not None:
        return moment
    levels = words.distinct()
    spelled = set(levels.str.to_lowercase().to_list()) if len(levels) <= 4 else set()
    if any(spelled == pair for pair in BOOLEAN_WORDS):
        return Column(name, "boolean")
    few_levels = len(levels) <= FEW_LEVELS and share < 1 - FEW_UNREADABLE
    if share >= MOSTLY_NUMBERS and not few_levels:
        raise unreadable(text, as_numbers(text, *how), "a number", name)
    n_levels = len(levels)
    if (n_levels == n_present and n_present >= 10) or (n_levels > FEW_LEVELS and n_levels > 0.5 * n_present):
        length = text.str.len_chars().mean()
        is_prose = isinstance(length, float) and length > 15 and bool(text.str.contains(" ").mean() > 0.5)  # type: ignore[operator]
        kind = "text" if is_prose else "identifier"
        return Column(name, kind, reason=f"{n_levels:,} different texts in {n_present:,} rows")
    return Column(name, "categorical", kept=kept)


def numeric_text(text: pl.Series, decimal: str, prefers_comma: bool) -> Column | None:
    """Returns how `present` cells of text are numbers; None if one of them is none."""
    share, how = _likeliest_numbers(text, Words.of(text), decimal, prefers_comma)
    return _numeric(str(text.name), how, ()) if share == 1 else None


NumberForm = tuple[str, str, str, str]
"""Decimal and thousands marks, prefix and suffix, as `as_numbers` takes them."""


def _likeliest_numbers(text: pl.Series, words: Words, decimal: str, prefers_comma: bool) -> tuple[float, NumberForm]:
    """Returns the share of the cells that are numbers in the form in which most are, and that form."""
    n_present = len(text) - text.null_count()
    around = affixes(text.drop_nulls().head(1).append(words.cells))
    shares: dict[NumberForm, float] = {}
    for marks in _number_marks(decimal, prefers_comma):
        shares[*marks, *around] = words.n_rows(as_numbers(words.cells, *marks, *around)) / n_present
        if shares[*marks, *around] == 1:
            break
    how = max(shares, key=lambda how: shares[how])
    return shares[how], how


def _numeric(name: str, how: NumberForm, kept: tuple[str, ...]) -> Column:
    decimal, thousands, *around = how
    said = " and ".join(
        [f"a decimal {_mark(decimal)}"] * (decimal != ".")
        + [f"thousands set off by a {_mark(thousands)}"] * (thousands != "")
        + [f"{part.strip()} around them" for part in around if part]
    )
    return Column(name, "numeric", *how, kept=kept, note=f"numbers with {said}" if said else "")


def _number_marks(decimal: str, prefers_comma: bool) -> list[tuple[str, str]]:
    """Decimal and thousands marks to try, the likeliest first."""
    if decimal == ".":
        return [(".", ""), (".", ",")]
    if decimal == ",":
        return [(",", ""), (",", ".")]
    commas, points = [(",", ""), (",", ".")], [(".", ","), (".", " "), (".", "'")]
    return [(".", ""), *commas, *points, (",", " ")] if prefers_comma else [(".", ""), *points, *commas, (",", " ")]


def _mark(mark: str) -> str:
    return {",": "comma", ".": "point", " ": "blank", "'": "apostrophe"}.get(mark, repr(mark))


def _may_be_identifier(name: str) -> bool:
    """Asks a column's name whether it names the rows."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return bool({word.lower() for word in words} & {"id", "ids", "uuid", "guid", "key", "index", "identifier"})


def _is_identifier(numbers: pl.Series) -> bool:
    """Checks for whole numbers, each there once."""
    whole = numbers.drop_nulls()
    return len(whole) >= 10 and whole.n_unique() == len(whole) and bool((whole.cast(pl.Float64) % 1 == 0).all())


def _understand_moments(text: pl.Series, words: Words, date_format: str | None) -> Column | None:
    name, n_present = str(text.name), len(text) - text.null_count()
    # A look at a few cells rules most formats out, and all of them where there are no digits.
    few = text.drop_nulls().head(50)
    if (~few.str.contains(r"\d")).sum() > MOST_UNREADABLE_OF_FEW * len(few):
        return None
    fitting = []
    for candidate in (date_format, *DATE_FORMATS) if date_format else DATE_FORMATS:
        if as_moments(few, candidate).null_count() > MOST_UNREADABLE_OF_FEW * len(few):
            continue
        n_read = words.n_rows(as_moments(words.cells, candidate))
        if n_read == n_present:
            fitting.append(candidate)
        elif n_read >= (1 - FEW_UNREADABLE) * n_present:
            other_way = candidate.replace("%m/%d", "%d/%m").replace("%m-%d-", "%d-%m-")
            if words.n_rows(as_moments(words.cells, other_way)) != n_present:
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
