"""The strings of a column: which stand for a missing value, which are numbers, which are dates."""

import re
import shlex
from collections.abc import Sequence

import polars as pl

from mlplab.errors import UserError

FEW_STRINGS = 500
"""Different strings among the first `LOOKED_AT` rows, up to which each is taken once instead of row by row."""

LOOKED_AT = 1000

MISSING = ("", "?", "na", "n/a", "#n/a", "nan", "null")
"""Strings that stand for a missing value, in any mixture of capitals."""

NARROW_BLANKS = "[\u00a0\u202f]"
"""Blanks that do not break a line, and set off thousands in French."""

CURRENCY = r"(?:[$€£¥₹]|US\$|USD|EUR|GBP|CHF|JPY)"
AROUND = re.compile(rf"({CURRENCY})?\s*[+-]?\d[\d.,' \u00a0\u202f]*?(\s?%|\s?{CURRENCY}|\s[A-Za-zµ°²³/]{{1,5}})?")
"""A number with a currency before or behind it, a percent sign, or a unit set off by a blank."""


def null_missing(series: pl.Series, kept: Sequence[str], missing_values: Sequence[str]) -> pl.Series:
    """Puts null in place of each missing value, and removes blanks around text.

    Args:
        series: a column as it was read.
        kept: strings that are categories of this column, though they stand for a missing value elsewhere.
        missing_values: strings that stand for a missing value beside `MISSING`; those of numbers also in numbers.
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        # By way of text, as the markers may be among the categories.
        return null_missing(series.cast(pl.String), kept, missing_values).cast(pl.Categorical)
    if series.dtype == pl.String:
        if has_few_strings(series):
            # Most columns have no marker: looking at the different strings alone saves a copy of the column.
            distinct = series.unique()
            if _null_missing_text(distinct, kept, missing_values).equals(distinct):
                return series
        return _null_missing_text(series, kept, missing_values)
    if series.dtype.is_float():
        # The look saves a copy of a column without NaN.
        if series.is_nan().any():
            series = series.fill_nan(None)
    # Booleans and dates cannot hold a marker.
    elif not series.dtype.is_numeric():
        return series
    for marker in missing_values:
        number = _number(marker)
        if number is not None and bool((series == number).any()):
            series = series.set((series == number).fill_null(False), None)
    return series


def _null_missing_text(text: pl.Series, kept: Sequence[str], missing_values: Sequence[str]) -> pl.Series:
    # Blanks first: " NA" is missing, too.
    text = text.str.strip_chars()
    markers = [spelling for marker in missing_values for spelling in _spellings(marker)]
    is_missing = text.str.to_lowercase().is_in(MISSING) | text.is_in(markers)
    if kept:
        is_missing &= ~text.is_in(list(kept))
    # For a null, `is_in` gives null and not true.
    return text.set(is_missing.fill_null(True), None)


def _spellings(marker: str) -> list[str]:
    """Spells a marker that is a number also with a decimal comma; a whole one with and without decimals."""
    number = _number(marker)
    if number is None:
        return [marker]
    decimals = ["", ".0", ".00", ",0", ",00"] if number % 1 == 0 else []
    return [marker, marker.replace(".", ","), *(f"{number:.0f}{rest}" for rest in decimals)]


def _number(text: str) -> float | None:
    try:
        # A marker may be written with a decimal comma.
        return float(text.replace(",", "."))
    except ValueError:
        return None


def has_few_strings(text: pl.Series) -> bool:
    """Looks at the first rows for whether the same strings stand in many."""
    return text.head(LOOKED_AT).n_unique() <= FEW_STRINGS


def distinct_strings(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Returns the strings of a column that are not null, and in how many rows each stands.

    Each comes once in a column of few strings. Of others, finding the same ones would take longer than it saves.
    """
    known = text.drop_nulls()
    if not has_few_strings(known):
        return known, pl.ones(len(known), pl.Int64, eager=True)
    counted = known.value_counts(name="\0count")
    return counted[known.name], counted["\0count"]


def as_numbers(text: pl.Series, decimal: str, thousands: str, prefix: str = "", suffix: str = "") -> pl.Series:
    """Reads text as Float64, null where it is no number; `prefix` and `suffix` may stand around it."""
    if prefix or suffix:
        # The last step removes the blank between a number and its unit.
        text = text.str.strip_prefix(prefix.strip()).str.strip_suffix(suffix.strip()).str.strip_chars()
    if thousands == " ":
        text = text.str.replace_all(NARROW_BLANKS, " ")
    if thousands:
        # No group begins with 0: 0.125 is an eighth in any country.
        whole = rf"(\d{{1,3}}|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+)"
        grouped = rf"^[+-]?{whole}({re.escape(decimal)}\d*)?$"
        plain = text.str.replace_all(thousands, "", literal=True)
        text = plain.set((~text.str.contains(grouped)).fill_null(False), None)
    if decimal != ".":
        # polars reads decimal points only. A point in the text is no decimal mark here, so \0 makes it unreadable.
        text = text.str.replace(".", "\0", literal=True).str.replace(decimal, ".", literal=True)
    # polars reads the string nan as a number.
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def affixes(text: pl.Series) -> tuple[str, str]:
    """Finds what stands before and behind the number in every string; "" and "" if it is not the same in all."""
    known = text.drop_nulls()
    match = AROUND.fullmatch(str(known[0]))  # the first string decides for all
    if match is None or not any(match.groups()):
        return "", ""
    prefix, suffix = (part or "" for part in match.groups())
    is_same = known.str.starts_with(prefix) & known.str.ends_with(suffix)
    return (prefix, suffix) if bool(is_same.all()) else ("", "")


def as_datetimes(text: pl.Series, date_format: str) -> pl.Series:
    """Reads text as Datetime in microseconds, null where it does not have the format."""
    if date_format.startswith(("%H", "%I")):
        # A Datetime needs a day, which a time alone lacks.
        text, date_format = pl.Series(text.name, "1970-01-01 " + text), f"%Y-%m-%d {date_format}"
    try:
        datetimes = text.str.strptime(pl.Datetime("us"), date_format, strict=False, exact=True, ambiguous="null")
    except pl.exceptions.PolarsError:
        # polars raises for a format that it does not know, which then fits no string.
        return pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    # Formats with an offset, such as %+, give times in UTC together with that zone.
    datetimes = datetimes.dt.replace_time_zone(None)
    # "1/2/20" has the form of the year 20.
    return datetimes.set((datetimes.dt.year() < 1000).fill_null(False), None)


def unreadable_strings(text: pl.Series, read: pl.Series, what: str, name: str, first_row: int = 1) -> UserError:
    """Makes the error for strings that could not be read: how many there are, and the first with its row."""
    bad = (read.is_null() & text.is_not_null()).arg_true()
    row = int(bad[0])
    several = text.gather(bad).unique(maintain_order=True).head(3).to_list()
    return UserError(
        f"every value of column {name!r} must be {what}",
        f"{len(bad)} of {len(text)} values {'is' if len(bad) == 1 else 'are'} not, the first is {text[row]!r} in row "
        f"{first_row + row}",
        f"{override_of('data.missing_values', several)} if {'it means' if len(several) == 1 else 'they mean'} that "
        f"there is no value, or {override_of('data.categorical', [name])}",
    )


def override_of(key: str, texts: Sequence[str]) -> str:
    """Writes `key=[…]` as it can be typed, in the quotes that the shell and Hydra want."""
    return for_shell(f"{key}=[{','.join(for_hydra(text) for text in texts)}]")


def for_shell(override: str) -> str:
    """Quotes an override where the shell needs it."""
    return override if re.fullmatch(r"[\w=\[\].,{}:+-]+", override, flags=re.ASCII) else shlex.quote(override)


def for_hydra(text: str) -> str:
    """Quotes a text where Hydra needs it, also within a list; a line break becomes a blank."""
    # Hydra would read 007 and 1.50 as 7 and 1.5, so numbers that would change are quoted.
    is_word = re.fullmatch(r"[A-Za-z_][\w.-]*|-?(0|[1-9]\d*)(\.\d*[1-9])?", text, flags=re.ASCII)
    # Hydra reads these words as values of other types.
    if is_word and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    # Unescaped, ${ would begin an interpolation.
    plain = " ".join(text.splitlines()).replace("${", "\\${")
    # Hydra unescapes backslashes only in front of a quote, so only those are doubled.
    return '"' + re.sub(r"(\\+)$", r"\1\1", re.sub(r'(\\*)"', r'\1\1\\"', plain)) + '"'
