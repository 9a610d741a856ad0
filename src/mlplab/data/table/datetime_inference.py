"""Infers how the strings of a column are dates, times of day or lengths of time."""

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from mlplab.data.table.compound_strings import CLOCK_LIKE
from mlplab.data.table.datetime_strings import SECONDS, as_datetimes, formats_of, reordered

SAMPLE = 50
"""Strings whose forms are looked at, spread over all of them."""

MOST_FORMATS = 4
"""Forms of dates in one column."""

FEWEST_COMPACT = 10
"""Different numbers such as 20240430 that are dates by chance in no table."""

DURATION_WORDS = {
    *("duration", "durations", "length", "lap", "laps", "laptime", "runtime", "elapsed", "pace", "interval", "split"),
    *("lead", "gap", "wait", "waiting", "playtime", "uptime", "delay", "finish"),
}
BIRTH_WORDS = {"dob", "birth", "birthday", "birthdate", "born"}
LATEST_BIRTH = 2029

CLOCK_WORDS = {"clock", "departure", "arrival", "opening", "closing", "opens", "closes", "sunrise", "sunset", "hour"}
DATE_WORDS = {"date", "dates", "day", "datum", "fecha", "dt", "ymd", "yyyymmdd", "dob", "birthday", "month"}
MONTH_WORDS = {"month", "months", "yyyymm", "yearmonth", "period", "date"}
TIME_WORDS = {
    "timestamp",
    "timestamps",
    "unix",
    "unixtime",
    "epoch",
    "ts",
    "time",
    "datetime",
    "at",
    "created",
    "updated",
}


@dataclass(frozen=True)
class Dates:
    """Formats in which the strings of a column are dates, the most frequent first; the share that has one of them."""

    formats: tuple[str, ...] = ()
    share: float = 0.0
    note: str = ""


def infer_dates(strings: pl.Series, counts: pl.Series) -> Dates:
    """Finds the formats that most strings have.

    Args:
        strings: those of a column, or the different ones.
        counts: in how many rows each stands.
    """
    sample = _spread(strings)
    # Without digits there is no date, and without a second part of one only a compact date.
    if not any(re.search(r"\d", string) for string in sample):
        return Dates()
    candidates = formats_of(sample)
    total, chosen, note = int(counts.sum()), list[str](), ""
    rest, weights = strings, counts
    while candidates and len(rest) and len(chosen) < MOST_FORMATS:
        reads = {form: as_datetimes(rest, form) for form in candidates if not chosen or _may_join(form, chosen)}
        rows = {form: int(weights.filter(read.is_not_null()).sum()) for form, read in reads.items()}
        most = max(rows.values(), default=0)
        # A form of a few strings is no form of the column: they are mistakes.
        if most == 0 or (not chosen and most < 0.2 * total):
            break
        best = [form for form in candidates if rows.get(form) == most]
        form, said = _most_plausible(best, reads)
        note = note or said
        chosen.append(form)
        unread = reads[form].is_null()
        rest, weights = rest.filter(unread), weights.filter(unread)
        candidates = formats_of(_spread(rest)) if len(rest) else []
    if not chosen or (chosen[0] in ("%Y-%m", "%Y/%m") and _are_school_years(sample)):
        return Dates()
    if len(chosen) > 1:
        notes = [f"dates of the forms {', '.join(chosen)}"]
        if len({"%#z" in form for form in chosen}) > 1:
            notes.append("those without a zone are taken for UTC")
        note = "; ".join([*notes, *([note] if note else [])])
    return Dates(tuple(chosen), 1 - int(weights.sum()) / total, note)


def _may_join(form: str, chosen: Sequence[str]) -> bool:
    """Checks that a form does not contradict one that is chosen: 13/1 beside 1/13 would leave 1/2 open."""
    days = [re.split(r"[ T,:]*%[HI]", one)[0].replace("%y", "%Y") for one in (form, *chosen)]
    return all(reordered(day) != reordered(days[0]) or day == days[0] for day in days[1:])


def _most_plausible(forms: Sequence[str], reads: dict[str, pl.Series]) -> tuple[str, str]:
    """Chooses among forms that read the same strings. The one whose dates lie closest together is the likeliest.

    Returns:
        the form, and a note on the forms that it could be instead; "" if there is none.
    """
    first = forms[0]
    # Only forms that differ in the order of day, month and year give other dates for the same strings.
    alike = [form for form in forms if reordered(form) == reordered(first)]
    if len(alike) < 2:
        return first, ""
    spans = {form: (reads[form].max() - reads[form].min()).days for form in alike}  # type: ignore[operator, union-attr]
    # Read the wrong way, days of a few years become years of a whole generation.
    near = [form for form in alike if spans[form] <= 3 * min(spans.values()) + 31]
    first, *others = near
    far = [form for form in alike if form not in near]
    if others:
        return first, (
            f"dates of the form {first}, which could as well be {' or '.join(others)}; "
            f"{_option(others[0])} says otherwise"
        )
    return first, (
        f"dates of the form {first}, as they lie within {spans[first] // 365 + 1} years, and not {far[0]}; "
        f"{_option(far[0])} says otherwise"
    )


def _option(form: str) -> str:
    # Hydra takes a comma for the end of a value.
    return f"""data.date_format='"{form}"'""" if "," in form else f"data.date_format='{form}'"


def _spread(strings: pl.Series) -> list[str]:
    return strings.gather_every(max(1, len(strings) // SAMPLE)).head(SAMPLE).to_list()


def _are_school_years(sample: Sequence[str]) -> bool:
    """Checks for 2009-10: the second number is the year after."""
    return all(string[-2:] == f"{int(string[2:4]) + 1:02}" for string in sample if string[2:4].isdigit())


def infer_times_of_day(strings: pl.Series, counts: pl.Series, words: Collection[str]) -> Dates:
    """Finds the formats of times of day; none where the strings are more likely lengths of time."""
    candidates = formats_of(_spread(strings), times=True)
    read = pl.Series([None], dtype=pl.Datetime("us")).new_from_index(0, len(strings))
    used = []
    for form in candidates:
        fits = as_datetimes(strings, form)
        if fits.filter(read.is_null()).count():
            used.append(form)
            read = read.zip_with(read.is_not_null(), fits)
    share = int(counts.filter(read.is_not_null()).sum()) / max(int(counts.sum()), 1)
    if not used or _are_durations(strings.filter(read.is_not_null()), words):
        return Dates()
    return Dates(tuple(used), share, "times of day")


def _are_durations(strings: pl.Series, words: Collection[str]) -> bool:
    """Tells lengths of time from times of day by the column's name, then by their form and range."""
    parts = strings.str.extract_groups(CLOCK_LIKE).struct.unnest()
    if parts["minutes"].null_count():  # 9:30 PM
        return False
    if DURATION_WORDS & set(words):
        return True
    if CLOCK_WORDS & set(words):
        return False
    has_hours = parts["hours"].is_not_null()
    first = parts["hours"].fill_null(parts["minutes"])
    largest = int(first.cast(pl.Int64).max())  # type: ignore[arg-type]
    # Clocks show most of the day, and two digits for the early hours. Nobody measures a whole table after midnight.
    is_padded = not bool((first.str.len_chars() == 1).any())
    return (largest == 0 and bool(has_hours.all())) if is_padded else (largest < 6 or has_hours.n_unique() > 1)


def whole_number_format(numbers: pl.Series, words: Collection[str]) -> str:
    """Returns the format of whole numbers that are nearly certainly dates; "" for others.

    20240430 is a date if many of them are, or the name says so. Unix time is one under a name that says so.
    """
    low, high = numbers.min(), numbers.max()
    if low is None or not numbers.dtype.is_numeric():
        return ""
    if low >= 19000101 and high <= 21001231:  # type: ignore[operator]
        distinct = numbers.drop_nulls().unique()
        is_likely = len(distinct) >= FEWEST_COMPACT or bool(DATE_WORDS & set(words))
        if is_likely and as_datetimes(distinct.cast(pl.String), "%Y%m%d").null_count() == 0:
            return "%Y%m%d"
    if low >= 190001 and high <= 210012 and MONTH_WORDS & set(words):  # type: ignore[operator]
        distinct = numbers.drop_nulls().unique()
        if as_datetimes(distinct.cast(pl.String), "%Y%m").null_count() == 0:
            return "%Y%m"
    if (DATE_WORDS | TIME_WORDS) & set(words):
        for unit in (1, 10**3, 10**6, 10**9):
            if 630_000_000 * unit <= low and high <= 4_100_000_000 * unit:  # type: ignore[operator]
                return SECONDS
    return ""


def latest_year(datetimes: pl.Series, formats: Sequence[str], words: Collection[str]) -> int:
    """Returns the year up to which two digits for the year are meant; 0 where they mean 1970 to 2069, as usual."""
    if not any("%y" in form for form in formats):
        return 0
    years = datetimes.dt.year().drop_nulls().unique().sort().to_list()
    # Without a year in front of 2041, or after the birth of most people, the usual century is too late.
    if years[0] > 2040 or (BIRTH_WORDS & set(words) and years[-1] > LATEST_BIRTH):
        return LATEST_BIRTH
    if years[0] >= 2000 or years[-1] <= 2040:
        return 0
    # 1930 to 1999 are read as 2030 to 2069 and 1970 to 1999: the dates lie closer together where the gap is.
    gaps = {later: later - earlier for earlier, later in itertools.pairwise(years) if later > 2000}
    after = max(gaps, key=lambda year: gaps[year])
    is_closer = (years[-1] - years[0]) > (after - gaps[after]) - (after - 100)
    return after - gaps[after] if is_closer else 0
