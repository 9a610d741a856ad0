"""Infers what a column holds: numbers, categories, dates, or what is no feature."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from mlplab.data.table.strings import (
    affixes,
    as_datetimes,
    as_numbers,
    distinct_strings,
    override_of,
    unreadable_strings,
)
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
"""Tried in this order. A day above 12 tells day/month from month/day; without one, month/day is taken and a note
says so."""

FEW_UNREADABLE = 0.05
"""Share of strings that are no numbers, up to which they count as mistakes in a column of numbers."""

MOST_UNREADABLE_OF_FEW = 0.2
"""Share of a few strings that do not have the form of a date, up to which the whole column is tried."""

# A text column with this share of numbers was likely meant as numbers: the other strings are mistakes or markers.
MOSTLY_NUMBERS = 0.8
FEW_CATEGORIES = 20

MARK_NAMES = {",": "comma", ".": "point", " ": "blank", "'": "apostrophe"}


@dataclass(frozen=True)
class Column:
    """Says how the strings of a column become values.

    Attributes:
        name: as in the file.
        kind: numeric, categorical, boolean or datetime, which become features; text, identifier, nested or
            empty, which do not.
        decimal: the decimal mark of its numbers.
        thousands: what groups their digits, or "".
        prefix, suffix: what stands around its numbers: a currency, a percent sign, a unit.
        date_format: of its dates, as `strptime` takes it; "" where they are stored as dates.
        kept: strings that stand for a missing value elsewhere and are categories here.
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
        """Returns plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Column":
        """Rebuilds the column from `as_dict`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**values)


@dataclass(frozen=True)
class Hints:
    """Holds what is known of a column beside its strings.

    Attributes:
        kind: "numeric" or "categorical", where the user says so.
        decimal: the decimal mark, or "auto".
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        date_format: of dates, where the user says it; other columns may have others.
        kept: strings that stand for a missing value elsewhere and are categories here.
    """

    kind: str | None = None
    decimal: str = "auto"
    prefers_comma: bool = False
    date_format: str | None = None
    kept: tuple[str, ...] = ()


def infer_column(series: pl.Series, hints: Hints) -> Column:
    """Infers what a column holds. Its missing values must be null.

    Raises:
        UserError: it has no value, or is a column of numbers with a few strings that are none.
    """
    name, dtype = str(series.name), series.dtype
    # First, as a type inferred from no value would be arbitrary.
    if series.null_count() == len(series):
        raise UserError(
            f"column {name!r} must have a value in some row",
            f"all {len(series)} are missing",
            override_of("data.drop", [name]),
        )
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Column(name, "nested", reason="holds lists or bytes")
    # The user's format holds only for columns that it reads whole: other columns may have other formats.
    if hints.date_format and hints.kind is None and (dtype == pl.String or dtype.is_integer()):
        text = series.cast(pl.String)
        if as_datetimes(text, hints.date_format).null_count() == text.null_count():
            return Column(name, "datetime", date_format=hints.date_format)
    # Parquet has these types only where its writer declared categories.
    if hints.kind == "categorical" or dtype in (pl.Categorical, pl.Enum):
        return Column(name, "categorical", kept=hints.kept)
    if dtype == pl.String:
        return _infer_text(series, hints)
    if dtype == pl.Boolean:
        return Column(name, "boolean")
    # A duration is a length of time, so it is a number and no date.
    if dtype.is_temporal() and dtype != pl.Duration:
        # A time of day keeps its form, as another file may hold it as text.
        return Column(name, "datetime", date_format="%H:%M:%S%.f" if dtype == pl.Time else "")
    if hints.kind != "numeric" and dtype.is_integer() and _is_identifier(series):
        return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
    return Column(name, "numeric")


def _infer_text(text: pl.Series, hints: Hints) -> Column:
    """Tries numbers, then dates, truth values and categories; what is left is an identifier or prose."""
    name, n_known = str(text.name), text.count()
    share, form = _likeliest_numbers(text, hints)
    if share == 1:
        if hints.kind != "numeric" and _is_identifier(as_numbers(text, *form)):
            return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
        return _numeric(name, form, hints.kept)
    if hints.kind == "numeric":
        raise unreadable_strings(text, as_numbers(text, *form), "a number", name)
    # After numbers: a plain 20201231 is a number unless data.date_format names its form.
    datetimes = _infer_datetimes(text, hints.date_format)
    if datetimes is not None:
        return datetimes
    categories = distinct_strings(text)[0].unique()
    n_categories = len(categories)
    # Up to four, as each of the two words may also stand there in capitals.
    if n_categories <= 4 and set(categories.str.to_lowercase()) in BOOLEAN_WORDS:
        return Column(name, "boolean")
    # Numbers with a few words among them are refused rather than taken for categories, unless they look like codes.
    are_codes = n_categories <= FEW_CATEGORIES and share < 1 - FEW_UNREADABLE
    if share >= MOSTLY_NUMBERS and not are_codes:
        raise unreadable_strings(text, as_numbers(text, *form), "a number", name)
    # In fewer than ten rows, categories may be all different by chance.
    are_all_different = n_categories == n_known and n_known >= 10
    if are_all_different or (n_categories > FEW_CATEGORIES and n_categories > 0.5 * n_known):
        length = text.str.len_chars().mean()
        # Both kinds are left out: the difference only tells people what stands in the column.
        is_prose = isinstance(length, float) and length > 15 and bool(text.str.contains(" ").mean() > 0.5)  # type: ignore[operator]
        reason = f"{n_categories:,} different texts in {n_known:,} rows"
        return Column(name, "text" if is_prose else "identifier", reason=reason)
    return Column(name, "categorical", kept=hints.kept)


NumberForm = tuple[str, str, str, str]
"""Decimal and thousands marks, prefix and suffix, as `as_numbers` takes them."""


def infer_numbers(text: pl.Series, hints: Hints) -> Column | None:
    """Infers how the strings of a column are numbers; returns None if one of them is none."""
    share, form = _likeliest_numbers(text, hints)
    return _numeric(str(text.name), form, ()) if share == 1 else None


def _likeliest_numbers(text: pl.Series, hints: Hints) -> tuple[float, NumberForm]:
    """Returns the share of the strings that are numbers in the form in which most are, and that form."""
    strings, counts = distinct_strings(text)
    # value_counts has no fixed order, but the first string decides for all: the column's own first one is put in front.
    around = affixes(text.drop_nulls().head(1).append(strings))
    shares: dict[NumberForm, float] = {}
    for marks in _number_marks(hints):
        form = (*marks, *around)
        shares[form] = _n_rows(counts, as_numbers(strings, *form)) / text.count()
        if shares[form] == 1:
            break
    # Of equal shares, `max` takes the first form, which is the likeliest.
    form = max(shares, key=lambda form: shares[form])
    return shares[form], form


def _n_rows(counts: pl.Series, read: pl.Series) -> int:
    """Counts the rows whose string could be read: those that are not null in `read`."""
    return int(counts.filter(read.is_not_null()).sum())


def _numeric(name: str, form: NumberForm, kept: tuple[str, ...]) -> Column:
    decimal, thousands, *around = form
    assumed = " and ".join(
        [f"a decimal {MARK_NAMES[decimal]}"] * (decimal != ".")
        + [f"thousands set off by a {MARK_NAMES.get(thousands)}"] * (thousands != "")
        + [f"{part.strip()} around them" for part in around if part]
    )
    return Column(name, "numeric", *form, kept=kept, note=f"numbers with {assumed}" if assumed else "")


def _number_marks(hints: Hints) -> list[tuple[str, str]]:
    """Returns decimal and thousands marks to try, the likeliest first."""
    if hints.decimal != "auto":
        # The user names the decimal mark only: the other mark may still group thousands.
        return [(hints.decimal, ""), (hints.decimal, "." if hints.decimal == "," else ",")]
    commas, points = [(",", ""), (",", ".")], [(".", ","), (".", " "), (".", "'")]
    likelier, other = (commas, points) if hints.prefers_comma else (points, commas)
    # Plain numbers come first, as they mean the same in any country.
    return [(".", ""), *likelier, *other, (",", " ")]


def _is_identifier(numbers: pl.Series) -> bool:
    """Checks for the name of an identifier, and for whole numbers that are all different."""
    # Splits customer_id, customerId and CustomerID alike, so that the word id is found in each.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", str(numbers.name))
    if not {word.lower() for word in words} & {"id", "ids", "uuid", "guid", "key", "index", "identifier"}:
        return False
    whole = numbers.drop_nulls()
    # In fewer than ten rows, whole numbers may be all different by chance.
    return len(whole) >= 10 and whole.n_unique() == len(whole) and bool((whole.cast(pl.Float64) % 1 == 0).all())


def _infer_datetimes(text: pl.Series, date_format: str | None) -> Column | None:
    """Finds the formats that all strings have; returns None if there is none.

    Raises:
        UserError: nearly all strings have a format, but not all.
    """
    name = str(text.name)
    n_known = text.count()
    # A look at a few strings rules most formats out, and all of them where there are no digits.
    few = text.drop_nulls().head(50)
    if (~few.str.contains(r"\d")).sum() > MOST_UNREADABLE_OF_FEW * len(few):
        return None
    strings, counts = distinct_strings(text)
    fitting = []
    # The user's format comes first, so that it is taken where several fit.
    for candidate in (date_format, *DATE_FORMATS) if date_format else DATE_FORMATS:
        if as_datetimes(few, candidate).null_count() > MOST_UNREADABLE_OF_FEW * len(few):
            continue
        n_fitting = _n_rows(counts, as_datetimes(strings, candidate))
        if n_fitting == n_known:
            fitting.append(candidate)
        # Once a form fits all strings, it is no mistake that another one fits nearly all.
        elif not fitting and n_fitting >= (1 - FEW_UNREADABLE) * n_known:
            # A few days above 12 may be the reason: then all strings fit with day and month exchanged.
            other_way = candidate.replace("%m/%d", "%d/%m").replace("%m-%d-", "%d-%m-")
            if _n_rows(counts, as_datetimes(strings, other_way)) != n_known:
                raise unreadable_strings(text, as_datetimes(text, candidate), f"a date of the form {candidate}", name)
    if not fitting:
        return None
    first, *others = fitting
    note = ""
    # Formats that differ in more than the order of day and month do so in what they accept, not in what is meant.
    if others and {form.replace("%d", "%m") for form in fitting} == {first.replace("%d", "%m")}:
        note = (
            f"dates of the form {first}, which could as well be {others[0]}; data.date_format='{others[0]}' says "
            "otherwise"
        )
    return Column(name, "datetime", date_format=first, note=note)
