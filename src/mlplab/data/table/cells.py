"""Cells as they are written: which are missing, which are numbers, which are dates."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlplab.errors import UserError

FEW_WORDS = 500
"""Different cells among the first `LOOKED_AT`, up to which text is taken word by word instead of cell by cell."""

LOOKED_AT = 1000

MISSING = ("", "?", "na", "n/a", "#n/a", "nan", "null")
"""Cells that mean that there is no value, in any mixture of capitals."""


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
    if series.dtype in (pl.Categorical, pl.Enum):
        return present(series.cast(pl.String), kept, missing_values).cast(pl.Categorical)
    if series.dtype == pl.String:
        if has_few_words(series):
            words = series.unique()
            if _present_text(words, kept, missing_values).equals(words):
                return series
        return _present_text(series, kept, missing_values)
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


def _present_text(text: pl.Series, kept: Sequence[str], missing_values: Sequence[str]) -> pl.Series:
    text = text.str.strip_chars()
    markers = [spelling for marker in missing_values for spelling in _spellings(marker)]
    is_missing = text.str.to_lowercase().is_in(MISSING) | text.is_in(markers)
    if kept:
        is_missing &= ~text.is_in(list(kept))
    return text.set(is_missing.fill_null(True), None)


def has_few_words(text: pl.Series) -> bool:
    """Looks at the first rows for whether the same cells stand in many."""
    return text.head(LOOKED_AT).n_unique() <= FEW_WORDS


@dataclass(frozen=True)
class Words:
    """Cells of a column of text that are not missing.

    Attributes:
        cells: each of them once, in any order; every one, where most differ.
        counts: in how many rows each stands; None for one.
    """

    cells: pl.Series
    counts: pl.Series | None = None

    @classmethod
    def of(cls, text: pl.Series) -> "Words":
        known = text.drop_nulls()
        if not has_few_words(known):
            return cls(known)
        counted = known.value_counts(name="\0count")
        return cls(counted[known.name], counted["\0count"])

    def n_rows(self, read: pl.Series) -> int:
        """Counts the rows whose cell was read; `read` has null for a cell that was not."""
        is_read = read.is_not_null()
        return int(is_read.sum() if self.counts is None else self.counts.filter(is_read).sum())

    def distinct(self) -> pl.Series:
        """Returns each cell once."""
        return self.cells.unique() if self.counts is None else self.cells


def _spellings(marker: str) -> list[str]:
    """A marker that is a number also with a decimal comma, and if it is whole with and without decimals."""
    number = _number(marker)
    if number is None:
        return [marker]
    decimals = ["", ".0", ".00", ",0", ",00"] if number % 1 == 0 else []
    return [marker, marker.replace(".", ","), *(f"{number:.0f}{rest}" for rest in decimals)]


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def as_numbers(text: pl.Series, decimal: str, thousands: str, prefix: str = "", suffix: str = "") -> pl.Series:
    """Float64, null where a cell is no number; `prefix` and `suffix` may stand around it."""
    if prefix or suffix:
        text = text.str.strip_prefix(prefix).str.strip_suffix(suffix).str.strip_chars()
    if thousands == " ":
        text = text.str.replace_all(NARROW_BLANKS, " ")
    if thousands:
        # No group begins with 0: 0.125 is an eighth in any country.
        whole = rf"(\d{{1,3}}|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+)"
        grouped = rf"^[+-]?{whole}({re.escape(decimal)}\d*)?$"
        plain = text.str.replace_all(thousands, "", literal=True)
        text = plain.set((~text.str.contains(grouped)).fill_null(False), None)
    if decimal != ".":
        text = text.str.replace(".", "\0", literal=True).str.replace(decimal, ".", literal=True)
    return text.cast(pl.Float64, strict=False).fill_nan(None)


NARROW_BLANKS = "[\u00a0\u202f]"
"""That do not break a line, and set off thousands in French."""

CURRENCY = r"(?:[$€£¥₹]|US\$|USD|EUR|GBP|CHF|JPY)"
AROUND = re.compile(rf"({CURRENCY})?\s*[+-]?\d[\d.,' \u00a0\u202f]*?(\s?%|\s?{CURRENCY}|\s[A-Za-zµ°²³/]{{1,5}})?")
"""A number with a currency before or behind it, a percent sign, or a unit set off by a blank."""


def affixes(text: pl.Series) -> tuple[str, str]:
    """What stands before and behind the number in every cell; "" and "" if it is not the same in all."""
    known = text.drop_nulls()
    match = AROUND.fullmatch(str(known[0]))
    if match is None or not any(match.groups()):
        return "", ""
    prefix, suffix = (part or "" for part in match.groups())
    is_same = known.str.starts_with(prefix) & known.str.ends_with(suffix)
    return (prefix, suffix) if bool(is_same.all()) else ("", "")


def as_moments(text: pl.Series, date_format: str) -> pl.Series:
    """Datetime in microseconds, null where a cell does not have the format."""
    if date_format.startswith(("%H", "%I")):
        text, date_format = pl.Series(text.name, "1970-01-01 " + text), f"%Y-%m-%d {date_format}"
    try:
        moments = text.str.strptime(pl.Datetime("us"), date_format, strict=False, exact=True, ambiguous="null")
    except pl.exceptions.PolarsError:
        return pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    moments = moments.dt.replace_time_zone(None)
    # "1/2/20" has the form of the year 20.
    return moments.set((moments.dt.year() < 1000).fill_null(False), None)


def unreadable(text: pl.Series, read: pl.Series, what: str, name: str, first_row: int = 1) -> UserError:
    """The refusal of cells that could not be read: how many, and the first with its row."""
    bad = (read.is_null() & text.is_not_null()).arg_true()
    row = int(bad[0])
    cells = f"{len(bad)} of {len(text)} cells {'is' if len(bad) == 1 else 'are'} not"
    several = text.gather(bad).unique(maintain_order=True).head(3).to_list()
    return UserError(
        f"every cell of column {name!r} must be {what}",
        f"{cells}, the first is {text[row]!r} in row {first_row + row}",
        f"{listed('data.missing_values', several)} if {'it means' if len(several) == 1 else 'they mean'} that there "
        f"is no value, or {listed('data.categorical', [name])}",
    )


def listed(key: str, texts: Sequence[str]) -> str:
    """`key=[…]` as it can be typed, in the quotes that the shell and Hydra want."""
    return typed(f"{key}=[{','.join(quoted(text) for text in texts)}]")


def typed(override: str) -> str:
    """In quotes for the shell, where it needs them."""
    return override if re.fullmatch(r"[\w=\[\].,{}:+-]+", override, flags=re.ASCII) else shlex.quote(override)


def quoted(text: str) -> str:
    """As Hydra takes it for this text, also within a list; a line break becomes a blank."""
    is_word = re.fullmatch(r"[A-Za-z_][\w.-]*|-?(0|[1-9]\d*)(\.\d*[1-9])?", text, flags=re.ASCII)
    if is_word and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    plain = " ".join(text.splitlines()).replace("${", "\\${")
    return '"' + re.sub(r"(\\+)$", r"\1\1", re.sub(r'(\\*)"', r'\1\1\\"', plain)) + '"'
