"""Looks at the strings of a column: which stand for a missing value, which repeat, and which could not be read."""

import math
import re
import shlex
from collections.abc import Sequence

import polars as pl

from mlplab.errors import UserError, agree
from mlplab.rules import NUMBER

FEW_STRINGS = 500
"""Different strings among the first `LOOKED_AT` rows, up to which each is taken once instead of row by row."""

LOOKED_AT = 1000

MISSING = ("", "?", "na", "n/a", "#n/a", "nan", "null")
"""Strings that stand for a missing value, in any mixture of capitals."""

NUMBER_MARKERS = (
    *("-", "--", "---", "–", "—", ".", ":", "..", "...", "…", "none", "nil", "missing", "unknown", "unk", "tbd"),
    *("n.a.", "n.a", "n. a.", "n/d", "nd", "n.d.", "k.a.", "k. a.", "s/d", "<na>", "(na)", "(null)", "(none)", "\\n"),
    *("not available", "not applicable", "not reported", "not known", "no data", "nodata", "undefined", "nat"),
    *("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "#error!", "div/0"),
    *("0000-00-00", "0000-00-00 00:00:00", "0001-01-01", "0001-01-01 00:00:00", "0001-01-01t00:00:00"),
)
"""Strings that stand for a missing value among numbers and dates alone, in any mixture of capitals."""

DATE = r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?"

VALUE = re.compile(f"{NUMBER}|{DATE}")


def is_value(string: str) -> bool:
    """Checks for a number or a date, which no column's name is."""
    return VALUE.fullmatch(string) is not None


def is_marker(string: str) -> bool:
    """Checks for a string that stands for a missing value in a column of numbers or dates."""
    return string.strip().lower() in (*MISSING, *NUMBER_MARKERS)


def null_missing(series: pl.Series, kept: Sequence[str], missing_values: Sequence[str]) -> pl.Series:
    """Puts null in place of each missing value, and removes blanks around text.

    Args:
        series: a column as it was read.
        kept: strings that are categories of this column, though they stand for a missing value elsewhere.
        missing_values: further strings that stand for a missing value. One that is a number does so among numbers, too.
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
    # So exports keep a spreadsheet from reading 0012 as 12.
    if text.head(LOOKED_AT).str.starts_with('="').any():
        text = text.str.replace(r'^="(.*)"$', "${1}")
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
    # Sorted, as `value_counts` has no fixed order.
    counted = known.value_counts(name="\0count").sort(known.name)
    return counted[known.name], counted["\0count"]


def are_read(text: pl.Series, read: pl.Series) -> bool:
    """Checks that no string became null when it was read. Counting nulls takes no pass over a column."""
    return read.null_count() == text.null_count()


def as_whole(numbers: pl.Series) -> pl.Series:
    """Returns whole numbers that are stored with decimals as Int64, and others as they are."""
    if not numbers.dtype.is_float() or not (numbers % 1 == 0).all():
        return numbers
    return numbers.cast(pl.Int64, strict=False)


def unread_rows(text: pl.Series, read: pl.Series) -> pl.Series:
    """Returns the places of strings that could not be read and do not stand for a missing value."""
    places = (read.is_null() & text.is_not_null()).arg_true()
    return places.filter(~are_markers(text.gather(places)))


def are_markers(text: pl.Series) -> pl.Series:
    """Finds strings that stand for a missing value among numbers and dates, (N,) truth values."""
    return text.str.strip_chars().str.to_lowercase().is_in(NUMBER_MARKERS)


def unreadable_strings(text: pl.Series, read: pl.Series, what: str, name: str, first_row: int = 1) -> UserError:
    """Makes the error for strings that could not be read. It tells how many there are, and the first with its row."""
    bad = unread_rows(text, read)
    row = int(bad[0])
    several = text.gather(bad).unique(maintain_order=True).head(3).to_list()
    # Rounded up, so that the share that the hint names is enough.
    enough = math.ceil(100 * len(bad) / text.count()) / 100
    return UserError(
        f"every value of column {name!r} must be {what}",
        f"{len(bad)} of {len(text)} values {agree(len(bad), 'is')} not, the first is {text[row]!r} in row "
        f"{first_row + row}",
        f"{override_of('data.missing_values', several)} if {'it means' if len(several) == 1 else 'they mean'} that "
        f"there is no value, or data.unreadable_cells={enough:g} to count up to that share as missing, or "
        f"{override_of('data.categorical', [name])}",
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
