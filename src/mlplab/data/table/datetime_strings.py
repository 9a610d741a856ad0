"""Reads strings as dates and times of day, and knows the forms in which they are written."""

import re
from collections.abc import Iterator, Sequence
from functools import cache

import polars as pl

from mlplab.data.table.strings import are_read

DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y",
    "%d-%b-%Y", "%d/%b/%Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d%b%Y",
    "%Y-%b-%d", "%a, %d %b %Y", "%a %d %b %Y", "%a, %b %d, %Y", "%A, %B %d, %Y", "%A, %d %B %Y", "%m/%d/%y",
    "%d/%m/%y", "%y/%m/%d", "%d.%m.%y", "%y.%m.%d", "%m-%d-%y", "%d-%m-%y", "%y-%m-%d", "%d-%b-%y", "%d %b %y",
    "%d/%b/%y", "%b %d, %y", "%d%b%y", "%Y%m%d",
    "%Y年%m月%d日",
)  # fmt: skip
MONTHS = (
    "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%m.%Y", "%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%b-%y", "%b %y", "%Y-%b",
    "%Y %b", "%Y %B", "%b, %Y", "%B, %Y", "%Y-Q%q", "%YQ%q", "%Y Q%q", "%Y/Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y",
    "%G-W%V", "%GW%V", "%Y年%m月",
)  # fmt: skip
CLOCKS = ("%H:%M:%S%.f", "%H:%M", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I:%M:%S%p", "%H%M")
ZONES = ("", "%#z", " %#z")
SECONDS = "%s"
"""The form of Unix time: seconds since 1970, or thousandths, millionths or billionths of them, told by their size."""

GAPS = (" ", "T", ", ", ":", " at ")
"""Separators between a day and a time."""

DIRECTIVES = {
    "%Y": r"\d{4}", "%G": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%V": r"\d{2}", "%q": "[1-4]",
    "%H": r"\d{1,2}", "%I": r"\d{1,2}", "%M": r"\d{2}", "%S": r"\d{2}", "%.f": r"(?:\.\d{1,9})?", "%p": "[AaPp][Mm]",
    "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}", "%a": "[A-Za-z]{3}", "%A": "[A-Za-z]{6,9}",
    "%#z": r"(?:Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?|(?:UTC|GMT)[+-]\d{1,2}(?::\d{2})?)",
}  # fmt: skip
"""Directive of strptime → what it matches. %q is the quarter."""

ENGLISH = {
    name: month
    for month, names in {
        "Jan": "januar jänner januari janvier janv enero ene janeiro gennaio stycznia января янв",
        "Feb": "februar februari février fevrier févr fév febrero fevereiro fev febbraio lutego февраля фев",
        "Mar": "märz maerz mär mrz mars marzo março marco maart mrt marts marca марта мар",
        "Apr": "avril avr abril abr aprile kwietnia апреля апр",
        "May": "mai mayo maio maggio mei maj maja мая",
        "Jun": "juni juin junio junho giugno giu czerwca июня июн",
        "Jul": "juli juillet juil julio julho luglio lug lipca июля июл",
        "Aug": "août aout agosto ago augustus augusti sierpnia августа авг",
        "Sep": "septembre septiembre setiembre setembro settembre września сентября сен",
        "Oct": "oktober okt octobre octubre outubro ottobre ott października октября окт",
        "Nov": "novembre noviembre novembro listopada ноября ноя",
        "Dec": "dezember dez décembre decembre déc diciembre dic dezembro dicembre grudnia декабря дек",
    }.items()
    for name in names.split()
}
"""Month in German, French, Spanish, Portuguese, Italian, Dutch, a Nordic language, Polish or Russian → in English.

Without short forms that are English words: 3 out of 12 is no day of October.
"""

UNAMBIGUOUS = tuple(
    f"{day}{time}"
    for day in ("%Y-%m-%d", "%Y/%m/%d")
    for time in ("", *(f"{gap}{clock}{zone}" for gap in (" ", "T") for clock in CLOCKS[:2] for zone in ZONES[:2]))
)
"""Forms of dates that put the year first, and are read in any file."""


def as_datetimes(text: pl.Series, date_format: str) -> pl.Series:
    """Reads text as Datetime in microseconds and UTC, null where it does not have the format."""
    if date_format == SECONDS:
        return _since_1970(text)
    if date_format.startswith(("%H", "%I")):
        # A Datetime needs a day, which a time alone lacks.
        text, date_format = pl.Series(text.name, "1970-01-01 " + text), f"%Y-%m-%d {date_format}"
    if "%q" in date_format:
        first_months = {f"{letter}{quarter}": f"Q{3 * quarter - 2:02}" for letter in "Qq" for quarter in range(1, 5)}
        text = text.str.replace_many(list(first_months), list(first_months.values()))
        date_format = date_format.replace("%q", "%m")
    has_names = "%b" in date_format or "%B" in date_format
    if has_names:
        text = _with_usual_names(text)
    if date_format.endswith("%#z"):
        text = text.str.replace(r"\s?(UTC|GMT)$", "Z")
        # Google Forms writes GMT+2.
        text = text.str.replace(r"(?:UTC|GMT)([+-])", "${1}").str.replace(r" ([+-])(\d)(:\d{2})?$", " ${1}0${2}${3}")
        date_format = date_format.replace(" %#z", "%#z")
        text = text.str.replace(r" ([+-]\d{2}:?\d{2}|Z)$", "${1}")
    elif "%#z" in date_format:
        text = text.str.replace(r" (UTC|GMT) ", " +0000 ")
        date_format = date_format.replace("%#z", "%z")
    if any(month in date_format for month in ("%m", "%b", "%B")) and "%d" not in date_format:
        # The first day stands for the month.
        text, date_format = pl.Series(text.name, text + " 1"), f"{date_format} %d"
    elif "%V" in date_format and "%u" not in date_format:
        text, date_format = pl.Series(text.name, text + " 1"), f"{date_format} %u"
    try:
        datetimes = text.str.strptime(pl.Datetime("us"), date_format, strict=False, exact=True, ambiguous="null")
    except pl.exceptions.PolarsError:
        # polars raises for a format that it does not know, which then fits no string.
        return pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    if has_names and datetimes.null_count() > text.null_count():
        # Few strings, or none, are in another language than English.
        places = (datetimes.is_null() & text.is_not_null()).arg_true()
        translated = _in_english(text.gather(places))
        if translated.count():
            read = translated.str.strptime(pl.Datetime("us"), date_format, strict=False, exact=True, ambiguous="null")
            datetimes = datetimes.dt.replace_time_zone(None).scatter(places, read.dt.replace_time_zone(None))
    # Formats with an offset, such as %+, give times in UTC together with that zone.
    datetimes = datetimes.dt.replace_time_zone(None)
    # "1/2/20" has the form of the year 20.
    return datetimes.set((datetimes.dt.year() < 1000).fill_null(False), None)


def first_that_fits(text: pl.Series, formats: Sequence[str], latest_year: int = 0) -> pl.Series:
    """Reads each string in the first format that it has, null where it has none.

    Args:
        text: the strings.
        formats: as `as_datetimes` takes them.
        latest_year: with two digits for the year, later dates are a century earlier; 0 for no such limit.
    """
    found = None
    for form in formats:
        if found is not None and are_read(text, found):
            break
        read = as_datetimes(text, form)
        if latest_year and "%y" in form:
            is_later = (read.dt.year() > latest_year).fill_null(False)
            read = read.zip_with(~is_later, read.dt.offset_by("-100y"))
        found = read if found is None else found.zip_with(found.is_not_null(), read)
    assert found is not None
    return found


def _since_1970(text: pl.Series) -> pl.Series:
    numbers = text.cast(pl.Float64, strict=False)
    numbers = numbers.set((~numbers.is_between(1e8, 1e20)).fill_null(False), None)
    # From 1973 to 5138, no two units have a number in common.
    seconds = pl.select(
        pl.when(numbers < 1e11)
        .then(numbers)
        .when(numbers < 1e14)
        .then(numbers / 1e3)
        .when(numbers < 1e17)
        .then(numbers / 1e6)
        .otherwise(numbers / 1e9)
        .alias(text.name)
    ).to_series()
    return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us"))


def _with_usual_names(text: pl.Series) -> pl.Series:
    """Writes Sept. as Sep, 1st as 1, and one blank for several."""
    text = (
        text.str.replace(" of ", " ", literal=True)
        .str.replace(r"(?i)\b(sep)t\b", "${1}")
        .str.replace(r"(\pL{3})\.", "${1}")
    )
    return text.str.replace(r"(\d)(?:st|nd|rd|th)\b", "${1}").str.replace_all(r"\s+", " ")


def _in_english(text: pl.Series) -> pl.Series:
    """Writes 1er déc. 2021 and 1. Dezember 2021 as 1 Dec 2021; null where the first word is no month of `ENGLISH`."""
    plain = text.str.replace_all(r"(?i) del? ", " ").str.replace(r"^(\d{1,2})(?:er|º|\.)", "${1}")
    parts = plain.str.extract_groups(r"^(\PL*)(\pL{3,})\.?(.*)$").struct.unnest()
    before, word, after = (parts[name] for name in parts.columns)
    return before + word.str.to_lowercase().replace_strict(ENGLISH, default=None, return_dtype=pl.String) + after


def formats_of(strings: Sequence[str], *, times: bool = False) -> list[str]:
    """Returns the formats of dates, or of times of day, that any of a few strings has, in the order of their tables."""
    tidied = _with_usual_names(pl.Series(strings, dtype=pl.String))
    if times:
        return [form for form in CLOCKS[:-1] if any(_pattern(form).fullmatch(string) for string in strings)]
    alike = {*strings, *tidied, *_in_english(tidied).drop_nulls()}
    found = {form for string in alike for form in _formats(string)}
    places = {day: place for place, day in enumerate((*DAYS, *MONTHS))}
    return sorted(found, key=lambda form: (places[_day_of(form)], form))


def _formats(string: str) -> Iterator[str]:
    for day in DAYS:
        match = _pattern(day).match(string)
        rest = string[match.end() :] if match else ""
        if match and not rest:
            yield day
        elif match:
            yield from (day + time for time in _times() if _pattern(time).fullmatch(rest))
    yield from (month for month in MONTHS if _pattern(month).fullmatch(string))
    # As date -R and C's ctime write it, with the year at the end.
    for form in ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %#z %Y"):
        if _pattern(form).fullmatch(string):
            yield form


@cache
def _times() -> tuple[str, ...]:
    clocks = [f"{gap}{clock}{zone}" for gap in GAPS for clock in CLOCKS for zone in ZONES]
    return (
        *clocks,
        " %H:%M Uhr",
        " %H:%M:%S Uhr",
        "T%H%M%S",
        " %H%M%S",
        "T%H%M%S%#z",
        *(f"{gap}%H:%M:%S,%3f" for gap in (" ", "T")),
    )


def _day_of(date_format: str) -> str:
    """Returns the part of a format that is in front of the time."""
    known = [day for day in (*DAYS, *MONTHS) if date_format.startswith(day)]
    return max(known, key=len, default=DAYS[0])


@cache
def _pattern(date_format: str) -> re.Pattern[str]:
    parts = re.split(r"(%\.f|%#z|%3f|%[A-Za-z])", date_format)
    return re.compile("".join({**DIRECTIVES, "%3f": r"\d{3}"}.get(part, re.escape(part)) for part in parts))


def reordered(date_format: str) -> str:
    """Returns a format with the day, month and two-digit year in the same form: 1/2/03 has three of one form."""
    return re.sub(r"%[dmy]", "%_", date_format)
