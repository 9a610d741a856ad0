"""Infers what a column holds: numbers, categories, dates, or what is no feature."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from mlplab.data.table.compound_strings import COMPOUNDS, as_compounds
from mlplab.data.table.datetime_inference import (
    DATE_WORDS,
    TIME_WORDS,
    infer_dates,
    infer_times_of_day,
    latest_year,
    whole_number_format,
)
from mlplab.data.table.datetime_strings import SECONDS, first_that_fits
from mlplab.data.table.number_strings import SCALED, are_bounds, around_numbers, as_numbers, plain_numbers
from mlplab.data.table.spellings import LARGEST_EXACT_WHOLE, TRUE_AND_FALSE
from mlplab.data.table.strings import (
    as_whole,
    distinct_strings,
    override_of,
    stand_for_nothing,
    unread_rows,
    unreadable_strings,
)
from mlplab.errors import counted

FEW_UNREADABLE = 0.05
"""Share of strings that are no numbers, up to which they count as mistakes in a column of numbers."""

# A text column with this share of numbers was likely meant as numbers: the other strings are mistakes or markers.
MOSTLY_NUMBERS = 0.8
SOME_NUMBERS = 0.3  # which are told, as the others may be numbers with something behind them
FEW_CATEGORIES = 20

CODE_WORDS = {
    "zip", "zipcode", "postcode", "postal", "postalcode", "plz", "fips", "phone", "telephone", "tel", "mobile", "fax",
    "ssn", "iban", "isbn", "ean", "gtin", "sku", "imei", "barcode", "upc",
}  # fmt: skip
"""Names of whole numbers that nobody adds up."""

QUANTITY_WORDS = {
    "age", "amount", "price", "cost", "qty", "quantity", "count", "number", "n", "total", "score", "points", "weight",
    "height", "length", "width", "distance", "duration", "temperature", "temp", "value", "speed", "percent", "rank",
    "year", "month", "week", "day", "hour", "minute", "second", "days", "hours", "minutes", "seconds",
}  # fmt: skip
"""Names of numbers that are written with leading zeros to have one width."""

SCORE_WORDS = {"score", "scores", "result", "results", "ratio", "odds", "aspect", "set", "sets"}
"""Names of pairs of numbers that are set off by a colon."""

HOUR_AND_MINUTE = r"^([01]\d|2[0-3])[0-5]\d$"

SAMPLE = 1000
"""Strings from which the form of a column is inferred, before all of them are read in it."""

MANY_DIGITS = "numbers of more than 15 digits"

MARK_NAMES = {",": "a comma", ".": "a point", " ": "a blank", "'": "an apostrophe"}


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
        compound: the unit of numbers that are made of several, such as seconds of 1:30; else "".
        date_format: of its dates, as `strptime` takes it; "" where they are stored as dates.
        other_formats: of further dates in the same column.
        latest_year: of dates with two digits for the year, later ones are a century earlier; 0 for no such limit.
        kept: strings that stand for a missing value elsewhere and are categories here.
        reason: why it is not a feature, for people.
        note: what was assumed in reading it, for people.
        unreadable_cells: the share of its values that may be no numbers or dates, and then count as missing.
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
    compound: str = ""
    other_formats: tuple[str, ...] = ()
    latest_year: int = 0
    unreadable_cells: float = 0.0

    @property
    def is_feature(self) -> bool:
        return self.kind in ("numeric", "categorical", "boolean", "datetime")

    @property
    def unit(self) -> str:
        """Returns what stands around its numbers, but for the scales that are multiplied out."""
        return f"{self.prefix}{'' if self.suffix == SCALED else self.suffix}".strip()

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
        unreadable_cells: the share of values that may be no numbers or dates, and then count as missing.
    """

    kind: str | None = None
    decimal: str = "auto"
    prefers_comma: bool = False
    date_format: str | None = None
    kept: tuple[str, ...] = ()
    unreadable_cells: float = 0.0


def read_strings(text: pl.Series, column: Column) -> pl.Series:
    """Reads the strings of a numeric column as Float64, and those of dates as Datetime; null where they are none."""
    if column.kind == "datetime":
        return first_that_fits(text, [column.date_format, *column.other_formats], column.latest_year)
    if column.compound:
        return as_compounds(text, column.compound)
    return as_numbers(text, column.decimal, column.thousands, column.prefix, column.suffix)


def infer_column(series: pl.Series, hints: Hints) -> Column:
    """Infers what a column holds. Its missing values must be null.

    Raises:
        UserError: it is a column of numbers or dates with too many strings that are none.
    """
    column = _infer(series, hints)
    may_be_unreadable = column.kind in ("numeric", "datetime")
    return replace(column, unreadable_cells=hints.unreadable_cells) if may_be_unreadable else column


def _infer(series: pl.Series, hints: Hints) -> Column:
    name, dtype = str(series.name), series.dtype
    # First, as a type inferred from no value would be arbitrary.
    if series.null_count() == len(series):
        return Column(name, "empty", reason="has no value in any row")
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Column(name, "nested", reason="holds lists or bytes")
    # The user's format holds only for columns that it reads whole: other columns may have other formats.
    if hints.date_format and hints.kind is None and (dtype == pl.String or dtype.is_numeric()):
        dates = Column(name, "datetime", date_format=hints.date_format)
        first = series.drop_nulls().head(SAMPLE).cast(pl.String)
        # The first rows rule most columns out.
        if read_strings(first, dates).count() > 0.5 * len(first):
            text = series.cast(pl.String)
            if len(unread_rows(text, read_strings(text, dates))) <= hints.unreadable_cells * text.count():
                return dates
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
    if hints.kind != "numeric":
        return _infer_whole(series, hints) or Column(name, "numeric")
    return Column(name, "numeric")


def _infer_whole(numbers: pl.Series, hints: Hints) -> Column | None:
    """Infers what whole numbers are beside quantities: identifiers, dates or codes; None for quantities."""
    name, words = str(numbers.name), name_words(str(numbers.name))
    is_whole = numbers.dtype.is_integer()
    # As pandas writes whole numbers beside missing ones: 90210.0.
    if words & (CODE_WORDS | DATE_WORDS | TIME_WORDS):
        numbers = as_whole(numbers)
    if is_whole and _is_identifier(numbers):
        return Column(name, "identifier", reason="whole numbers that number the rows, by its name")
    if date_format := whole_number_format(numbers, words):
        note = "Unix time" if date_format == SECONDS else f"dates of the form {date_format}"
        return Column(
            name,
            "datetime",
            date_format=date_format,
            note=f"{note}; {override_of('data.numeric', [name])} says otherwise",
        )
    if not numbers.dtype.is_integer():
        return None
    low, high = int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    # Beyond it float64 would round. Numbers that differ little are measured from far away, such as in nanoseconds.
    is_long = max(-low, high) > LARGEST_EXACT_WHOLE and high - low > 1e-6 * max(-low, high)
    if is_long or (low >= 0 and _names_codes(words) and numbers.n_unique() > 2):
        why = MANY_DIGITS if is_long else "whole numbers, by their name,"
        return _codes(numbers, why, hints)
    return None


def _names_codes(words: set[str]) -> bool:
    return bool(CODE_WORDS & words) and not QUANTITY_WORDS & words


def _codes(series: pl.Series, why: str, hints: Hints) -> Column:
    name = str(series.name)
    note = f"{why} are taken for codes; {override_of('data.numeric', [name])} takes them for quantities"
    n_categories, n_known = series.drop_nulls().n_unique(), series.count()
    if _hardly_repeat(n_categories, n_known):
        return Column(name, "identifier", reason=f"{n_categories:,} different codes in {n_known:,} rows", note=note)
    return Column(name, "categorical", kept=hints.kept, note=note)


def _hardly_repeat(n_categories: int, n_known: int) -> bool:
    # In fewer than ten rows, categories may be all different by chance.
    are_all_different = n_categories == n_known and n_known >= 10
    return are_all_different or (n_categories > FEW_CATEGORIES and n_categories > 0.5 * n_known)


def _infer_text(text: pl.Series, hints: Hints) -> Column:
    """Tries numbers, then times, truth values and categories; what is left is an identifier or prose."""
    name = str(text.name)
    strings = _Strings(text, *distinct_strings(text))
    if hints.kind != "numeric" and (why := strings.are_codes()):
        # 0930 is half past nine.
        may_be_times = {"time", "times", "hhmm", "clock"} & name_words(name)
        if may_be_times and strings.strings.str.contains(HOUR_AND_MINUTE).all():
            return Column(name, "datetime", date_format="%H%M", note="times of day")
        return _codes(text, why, hints)
    likeliest = _Fit(0.0, Column(name, "categorical"))
    # After plain numbers: 20201231 is a number unless there is reason to take it for a date.
    for infer in (_infer_numbers, _infer_compounds, _infer_datetimes):
        if infer is _infer_datetimes and hints.kind == "numeric":
            continue
        likeliest = max(likeliest, infer(strings, hints), key=lambda fit: fit.share)
        if likeliest.share == 1:
            break
    column, share = likeliest.column, likeliest.share
    if share == 1:
        # Of a postcode, 860xx has its last digits hidden.
        if column.suffix and hints.kind != "numeric" and _names_codes(name_words(name)):
            return _codes(text, "numbers, by their name,", hints)
        if column.kind == "numeric" and hints.kind != "numeric" and strings.are_whole():
            whole = text.cast(pl.Int128, strict=False)
            # 39 digits and more fit into no type.
            if whole.count() < strings.rows(~stand_for_nothing(strings.strings)):
                return _codes(text, MANY_DIGITS, hints)
            return _infer_whole(whole, hints) or column
        return column
    # Numbers with a few words among them are mistakes rather than categories, unless they look like codes.
    n_categories = strings.strings.n_unique()
    are_codes = n_categories <= FEW_CATEGORIES and share < 1 - FEW_UNREADABLE
    if share > 0 and share >= 1 - hints.unreadable_cells and not (are_codes and hints.kind is None):
        return column
    what = f"a date of the form {column.date_format}" if column.kind == "datetime" else "a number"
    if hints.kind == "numeric":
        if stand_for_nothing(strings.strings).all():
            return Column(name, "empty", reason="has no value in any row")
        raise unreadable_strings(text, read_strings(text, replace(column, kind="numeric")), what, name)
    # Up to eight, as each of four words may also stand there in capitals.
    if n_categories <= 8 and _are_truth_values(set(strings.strings.str.to_lowercase())):
        return Column(name, "boolean")
    least = 1 - FEW_UNREADABLE if column.kind == "datetime" else MOSTLY_NUMBERS
    if share >= least and not are_codes:
        raise unreadable_strings(text, read_strings(text, column), what, name)
    n_known, note = text.count(), ""
    if column.kind == "numeric" and share >= SOME_NUMBERS and n_categories > FEW_CATEGORIES:
        unread = unread_rows(text, read_strings(text, column))
        first, few = text[int(unread[0])], math.ceil(100 * len(unread) / n_known) / 100
        note = (
            f"{n_known - len(unread):,} of {n_known:,} values are numbers, others such as {first!r} are not: taken for "
            f"text; {override_of('data.numeric', [name])} data.unreadable_cells={few:g} counts them as missing"
        )
    if _hardly_repeat(n_categories, n_known):
        length = text.str.len_chars().mean()
        # Both kinds are left out: the difference only tells people what stands in the column.
        is_prose = isinstance(length, float) and length > 15 and bool(text.str.contains(" ").mean() > 0.5)  # type: ignore[operator]
        reason = f"{n_categories:,} different texts in {n_known:,} rows"
        return Column(name, "text" if is_prose else "identifier", reason=reason, note=note)
    return Column(name, "categorical", kept=hints.kept, note=note)


def _are_truth_values(words: set[str]) -> bool:
    """Checks for a word for true and one for false of a language; others may stand beside them."""
    pairs = [pair for pair in TRUE_AND_FALSE if set(pair) <= words]
    return bool(pairs) and words <= {"1", "0", *(word for pair in TRUE_AND_FALSE for word in pair)}


@dataclass(frozen=True)
class _Strings:
    """The strings of a column: those that differ, where they repeat, and in how many rows each stands."""

    text: pl.Series
    strings: pl.Series
    counts: pl.Series

    @property
    def name(self) -> str:
        return str(self.text.name)

    @property
    def sample(self) -> pl.Series:
        """Returns up to `SAMPLE` strings, spread over all of them."""
        return self.strings.gather_every(max(1, len(self.strings) // SAMPLE)).head(SAMPLE)

    def rows(self, mask: pl.Series) -> int:
        """Counts the rows whose strings a mask takes."""
        return int(self.counts.filter(mask).sum())

    def share(self, read: pl.Series) -> float:
        """Returns the share of the rows that could be read, of those that do not stand for a missing value."""
        unread = read.is_null()
        if not unread.any():
            return 1.0
        n_known = self.rows(~unread)
        n_unread = int(self.counts.filter(unread).filter(~stand_for_nothing(self.strings.filter(unread))).sum())
        return n_known / max(n_known + n_unread, 1)

    def are_whole(self) -> bool:
        """Checks for digits alone, after a sign."""
        is_known = ~stand_for_nothing(self.strings)
        return bool(self.strings.filter(is_known).str.contains(r"^[+-]?[0-9]+$").all())

    def are_codes(self) -> str:
        """Says why strings of digits are codes; "" where they are not, or may be quantities."""
        # The first looks rule nearly all columns out.
        if not self.strings.str.contains(r"^(0[0-9]|\+\d[\d ()/.-]{6,}$)").any():
            return ""
        n_rows = int(self.counts.sum())
        if self.rows(self.strings.str.contains(r"^\+\d[\d ()/-]{6,}$")) > 0.2 * n_rows:
            return "numbers with an international prefix"
        has_zero = self.strings.str.contains(r"^0[0-9]+$")
        # Codes have neither a minus nor decimals.
        is_quantity = self.strings.str.contains(r"^-\d|^[+-]?\d*[.,]\d+$").any() or QUANTITY_WORDS & name_words(
            self.name
        )
        if not has_zero.any():
            return ""
        plain = self.strings.filter(self.strings.str.contains(r"^\d+$"))
        widths = plain.str.len_chars().n_unique()
        # A single 05 among numbers of many lengths is a typing error.
        is_rare = self.rows(has_zero) < 0.01 * n_rows and widths > 2
        if is_rare or is_quantity or len(plain) < 0.5 * len(self.strings):
            return ""
        return f"numbers with leading zeros, such as {self.strings.filter(has_zero)[0]!r},"


@dataclass(frozen=True)
class _Fit:
    """A way to read strings, and the share that it reads of the rows with a value."""

    share: float
    column: Column


def _infer_numbers(strings: _Strings, hints: Hints) -> _Fit:
    """Finds the form in which most strings are numbers."""
    around = around_numbers(strings.sample)
    none = _Fit(0.0, Column(strings.name, "numeric"))
    # Prose has no numbers among a few of its strings either, and need not be read in each form.
    if around is None:
        return none
    forms = [(*marks, *around) for marks in _number_marks(hints)]
    shares = {form: as_numbers(strings.sample, *form).count() for form in forms}
    best, best_form, best_read = 0.0, forms[0], strings.counts
    # The form of all strings is that of the sample, too. Of equal ones, the sort leaves the likeliest in front.
    for form in sorted(forms, key=lambda form: -shares[form]):
        if shares[form] < 0.5 * max(shares.values()):
            break
        read = as_numbers(strings.strings, *form)
        bounds = are_bounds(strings.strings) & read.is_not_null()
        if hints.kind != "numeric" and around[1] != "+" and bounds.any():
            # Bounds beside few numbers, or instead of numbers, are groups.
            share_of_bounds = strings.rows(bounds) / strings.rows(read.is_not_null())
            are_few = strings.strings.n_unique() <= FEW_CATEGORIES
            if share_of_bounds > (FEW_UNREADABLE if are_few else 0.5):
                read = read.set(bounds, None)
        if (share := strings.share(read)) > best:
            best, best_form, best_read = share, form, read
        if share == 1:
            break
    return _Fit(best, _numeric(strings, best_form, hints, best_read)) if best else none


def _numeric(strings: _Strings, form: tuple[str, str, str, str], hints: Hints, read: pl.Series) -> Column:
    decimal, thousands, *around = form
    assumed = " and ".join(
        # Whole numbers are read alike with either mark.
        ["a decimal comma"] * (decimal != "." and bool(strings.strings.str.contains(",", literal=True).any()))
        + [f"thousands set off by {MARK_NAMES.get(thousands)}"] * (thousands != "")
        + [f"{part.strip()} around them" for part in around if part and part != SCALED]
    )
    notes = [f"numbers with {assumed}"] if assumed else []
    otherwise = read.is_not_null() & plain_numbers(strings.strings, *form).is_null()
    if otherwise.any():
        # The largest, as 0 shows little.
        place = int(read.abs().set(~otherwise, None).arg_max() or 0)
        several = counted(strings.rows(otherwise), "value")
        notes.append(f"{several} such as {strings.strings[place]!r}, read as {read[place]:,.12g}")
    return Column(strings.name, "numeric", *form, kept=hints.kept, note="; ".join(notes))


def _infer_compounds(strings: _Strings, hints: Hints) -> _Fit:
    """Tries numbers that are made of several, such as lengths of time."""
    none = _Fit(0.0, Column(strings.name, "numeric"))
    sample = strings.sample
    if not sample.str.contains(r"\d").any():
        return none
    if not hints.kind:
        times = infer_times_of_day(strings.strings, strings.counts, name_words(strings.name))
        if times.share >= 1 - FEW_UNREADABLE:
            first, *others = times.formats
            column = Column(strings.name, "datetime", date_format=first, other_formats=tuple(others), note=times.note)
            read = read_strings(strings.strings, column)
            return _Fit(strings.share(read), column)
    best = none
    for unit in COMPOUNDS:
        # 25:23 is also the score of a game.
        if unit == "seconds" and SCORE_WORDS & name_words(strings.name):
            continue
        if as_compounds(sample, unit).null_count() < 0.5 * len(sample):
            column = Column(strings.name, "numeric", compound=unit)
            read = read_strings(strings.strings, column)
            place = int(read.is_not_null().arg_true()[0])
            note = f"numbers in {unit}: {strings.strings[place]!r} is {read[place]:,.12g}"
            fit = _Fit(strings.share(read), replace(column, note=note, kept=hints.kept))
            # 2 weeks are seconds as well as, beside 1 year, months.
            best = max(best, fit, key=lambda fit: fit.share)
            if best.share == 1:
                break
    return best


def _infer_datetimes(strings: _Strings, hints: Hints) -> _Fit:
    dates = infer_dates(strings.strings, strings.counts)
    if not dates.formats:
        return _Fit(0.0, Column(strings.name, "datetime"))
    first, *others = dates.formats
    column = Column(strings.name, "datetime", date_format=first, other_formats=tuple(others), note=dates.note)
    read = read_strings(strings.strings, column)
    if latest := latest_year(read, dates.formats, name_words(strings.name)):
        note = f"years of two digits are taken for {latest - 99} to {latest}"
        column = replace(column, latest_year=latest, note="; ".join([*([dates.note] if dates.note else []), note]))
    return _Fit(strings.share(read), column)


def infer_numbers(text: pl.Series, hints: Hints) -> Column | None:
    """Infers how the strings of a column are numbers, codes too; returns None if one of them is none."""
    strings = _Strings(text, *distinct_strings(text))
    for infer in (_infer_numbers, _infer_compounds):
        # A target is no time of day.
        fit = infer(strings, replace(hints, kind="numeric") if infer is _infer_compounds else hints)
        if fit.share == 1:
            return fit.column
    return None


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
    if not name_words(str(numbers.name)) & {"id", "ids", "uuid", "guid", "key", "index", "identifier"}:
        return False
    whole = numbers.drop_nulls()
    # In fewer than ten rows, whole numbers may be all different by chance.
    return len(whole) >= 10 and whole.n_unique() == len(whole) and bool((whole.cast(pl.Float64) % 1 == 0).all())


def name_words(name: str) -> set[str]:
    """Splits customer_id, customerId and CustomerID alike, so that the word id is found in each."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)}
