"""Infers what a column holds: numbers, categories, dates, or what is no feature."""

import math
from dataclasses import replace

import polars as pl

from mlplab.data.table.column import Column, Hints, name_words, read_strings
from mlplab.data.table.datetime_inference import DATE_WORDS, TIME_WORDS, whole_number_format
from mlplab.data.table.datetime_strings import SECONDS, as_datetimes
from mlplab.data.table.spellings import LARGEST_EXACT_WHOLE, are_truth_values
from mlplab.data.table.string_forms import (
    FEW_CATEGORIES,
    FEW_UNREADABLE,
    SAMPLE,
    Fit,
    Strings,
    infer_compounds,
    infer_datetimes,
    infer_numbers,
)
from mlplab.data.table.strings import (
    are_markers,
    are_read,
    as_whole,
    override_of,
    unread_rows,
    unreadable_strings,
)

# A text column with this share of numbers was likely meant as numbers: the other strings are mistakes or markers.
MOSTLY_NUMBERS = 0.8
SOME_NUMBERS = 0.3  # which are told, as the others may be numbers with something behind them

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

MANY_DIGITS = "numbers of more than 15 digits"


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
    strings = Strings.of(text)
    if hints.kind != "numeric" and (why := _why_codes(strings)):
        # 0930 is half past nine.
        may_be_times = {"time", "times", "hhmm", "clock"} & name_words(name)
        if may_be_times and are_read(strings.each, as_datetimes(strings.each, "%H%M")):
            return Column(name, "datetime", date_format="%H%M", note="times of day")
        return _codes(text, why, hints)
    likeliest = Fit(0.0, Column(name, "categorical"))
    # After plain numbers: 20201231 is a number unless there is reason to take it for a date.
    for infer in (infer_numbers, infer_compounds, infer_datetimes):
        if infer is infer_datetimes and hints.kind == "numeric":
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
            if whole.count() < strings.rows(~are_markers(strings.each)):
                return _codes(text, MANY_DIGITS, hints)
            return _infer_whole(whole, hints) or column
        return column
    # Numbers with a few words among them are mistakes rather than categories, unless they look like codes.
    n_categories = strings.each.n_unique()
    are_codes = n_categories <= FEW_CATEGORIES and share < 1 - FEW_UNREADABLE
    if share > 0 and share >= 1 - hints.unreadable_cells and not (are_codes and hints.kind is None):
        return column
    what = f"a date of the form {column.date_format}" if column.kind == "datetime" else "a number"
    if hints.kind == "numeric":
        if are_markers(strings.each).all():
            return Column(name, "empty", reason="has no value in any row")
        raise unreadable_strings(text, read_strings(text, replace(column, kind="numeric")), what, name)
    if are_truth_values(strings.each):
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


def _is_identifier(numbers: pl.Series) -> bool:
    """Checks for the name of an identifier, and for whole numbers that are all different."""
    if not name_words(str(numbers.name)) & {"id", "ids", "uuid", "guid", "key", "index", "identifier"}:
        return False
    whole = numbers.drop_nulls()
    # In fewer than ten rows, whole numbers may be all different by chance.
    return len(whole) >= 10 and whole.n_unique() == len(whole) and bool((whole.cast(pl.Float64) % 1 == 0).all())


def _why_codes(strings: Strings) -> str:
    """Says why strings of digits are codes; "" where they are not, or may be quantities."""
    # The first looks rule nearly all columns out.
    if not strings.each.str.contains(r"^(0[0-9]|\+\d[\d ()/.-]{6,}$)").any():
        return ""
    n_rows = int(strings.counts.sum())
    if strings.rows(strings.each.str.contains(r"^\+\d[\d ()/-]{6,}$")) > 0.2 * n_rows:
        return "numbers with an international prefix"
    has_zero = strings.each.str.contains(r"^0[0-9]+$")
    # Codes have neither a minus nor decimals.
    is_quantity = strings.each.str.contains(r"^-\d|^[+-]?\d*[.,]\d+$").any() or QUANTITY_WORDS & name_words(
        strings.name
    )
    if not has_zero.any():
        return ""
    plain = strings.each.filter(strings.each.str.contains(r"^\d+$"))
    widths = plain.str.len_chars().n_unique()
    # A single 05 among numbers of many lengths is a typing error.
    is_rare = strings.rows(has_zero) < 0.01 * n_rows and widths > 2
    if is_rare or is_quantity or len(plain) < 0.5 * len(strings.each):
        return ""
    return f"numbers with leading zeros, such as {strings.each.filter(has_zero)[0]!r},"
