"""Finds the form in which most strings of a column are numbers, amounts of several parts, or dates."""

from dataclasses import dataclass, replace

import polars as pl

from mlplab.data.table.column import Column, Hints, name_words, read_strings
from mlplab.data.table.compound_strings import COMPOUNDS, as_compounds
from mlplab.data.table.datetime_inference import Dates, infer_dates, infer_times_of_day, latest_year
from mlplab.data.table.number_strings import SCALED, are_bounds, around_numbers, as_numbers, plain_numbers
from mlplab.data.table.strings import are_markers, distinct_strings
from mlplab.errors import counted

FEW_UNREADABLE = 0.05
"""Share of strings that are no numbers, up to which they count as mistakes in a column of numbers."""

FEW_CATEGORIES = 20
"""Different strings up to which a column is more likely one of categories."""

SCORE_WORDS = {"score", "scores", "result", "results", "ratio", "odds", "aspect", "set", "sets"}
"""Names of pairs of numbers that are set off by a colon."""

SAMPLE = 1000
"""Strings from which the form of a column is inferred, before all of them are read in it."""

MARK_NAMES = {",": "a comma", ".": "a point", " ": "a blank", "'": "an apostrophe"}


@dataclass(frozen=True)
class Strings:
    """The strings of a column.

    Attributes:
        text: of every row, null where missing.
        each: each string once, where they repeat; else those of every row.
        counts: in how many rows each of them stands.
    """

    text: pl.Series
    each: pl.Series
    counts: pl.Series

    @classmethod
    def of(cls, text: pl.Series) -> "Strings":
        """Collects the strings of a column."""
        return cls(text, *distinct_strings(text))

    @property
    def name(self) -> str:
        return str(self.text.name)

    @property
    def sample(self) -> pl.Series:
        """Returns up to `SAMPLE` strings, spread over all of them."""
        return self.each.gather_every(max(1, len(self.each) // SAMPLE)).head(SAMPLE)

    def rows(self, mask: pl.Series) -> int:
        """Counts the rows whose strings a mask takes."""
        return int(self.counts.filter(mask).sum())

    def share(self, read: pl.Series) -> float:
        """Returns the share of the rows that could be read, of those that do not stand for a missing value."""
        unread = read.is_null()
        if not unread.any():
            return 1.0
        n_known = self.rows(~unread)
        n_unread = int(self.counts.filter(unread).filter(~are_markers(self.each.filter(unread))).sum())
        return n_known / max(n_known + n_unread, 1)

    def are_whole(self) -> bool:
        """Checks for digits alone, after a sign."""
        is_known = ~are_markers(self.each)
        return bool(self.each.filter(is_known).str.contains(r"^[+-]?[0-9]+$").all())


@dataclass(frozen=True)
class Fit:
    """A way to read strings, and the share that it reads of the rows with a value."""

    share: float
    column: Column


def infer_numbers(strings: Strings, hints: Hints) -> Fit:
    """Finds the form in which most strings are numbers."""
    around = around_numbers(strings.sample)
    none = Fit(0.0, Column(strings.name, "numeric"))
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
        read = as_numbers(strings.each, *form)
        bounds = are_bounds(strings.each) & read.is_not_null()
        if hints.kind != "numeric" and around[1] != "+" and bounds.any():
            # Bounds beside few numbers, or instead of numbers, are groups.
            share_of_bounds = strings.rows(bounds) / strings.rows(read.is_not_null())
            are_few = strings.each.n_unique() <= FEW_CATEGORIES
            if share_of_bounds > (FEW_UNREADABLE if are_few else 0.5):
                read = read.set(bounds, None)
        if (share := strings.share(read)) > best:
            best, best_form, best_read = share, form, read
        if share == 1:
            break
    return Fit(best, _numeric(strings, best_form, hints, best_read)) if best else none


def _numeric(strings: Strings, form: tuple[str, str, str, str], hints: Hints, read: pl.Series) -> Column:
    decimal, thousands, *around = form
    assumed = " and ".join(
        # Whole numbers are read alike with either mark.
        ["a decimal comma"] * (decimal != "." and bool(strings.each.str.contains(",", literal=True).any()))
        + [f"thousands set off by {MARK_NAMES.get(thousands)}"] * (thousands != "")
        + [f"{part.strip()} around them" for part in around if part and part != SCALED]
    )
    notes = [f"numbers with {assumed}"] if assumed else []
    otherwise = read.is_not_null() & plain_numbers(strings.each, *form).is_null()
    if otherwise.any():
        # The largest, as 0 shows little.
        place = int(read.abs().set(~otherwise, None).arg_max() or 0)
        several = counted(strings.rows(otherwise), "value")
        notes.append(f"{several} such as {strings.each[place]!r}, read as {read[place]:,.12g}")
    return Column(strings.name, "numeric", *form, kept=hints.kept, note="; ".join(notes))


def infer_compounds(strings: Strings, hints: Hints) -> Fit:
    """Tries numbers that are made of several, such as lengths of time."""
    none = Fit(0.0, Column(strings.name, "numeric"))
    sample = strings.sample
    if not sample.str.contains(r"\d").any():
        return none
    if not hints.kind:
        times = infer_times_of_day(strings.each, strings.counts, name_words(strings.name))
        if times.share >= 1 - FEW_UNREADABLE:
            column = _of_dates(strings, times)
            return Fit(strings.share(read_strings(strings.each, column)), column)
    best = none
    for unit in COMPOUNDS:
        # 25:23 is also the score of a game.
        if unit == "seconds" and SCORE_WORDS & name_words(strings.name):
            continue
        if as_compounds(sample, unit).null_count() < 0.5 * len(sample):
            column = Column(strings.name, "numeric", compound=unit)
            read = read_strings(strings.each, column)
            place = int(read.is_not_null().arg_true()[0])
            note = f"numbers in {unit}: {strings.each[place]!r} is {read[place]:,.12g}"
            fit = Fit(strings.share(read), replace(column, note=note, kept=hints.kept))
            # 2 weeks are seconds as well as, beside 1 year, months.
            best = max(best, fit, key=lambda fit: fit.share)
            if best.share == 1:
                break
    return best


def infer_datetimes(strings: Strings, hints: Hints) -> Fit:
    """Finds the forms in which most strings are dates."""
    dates = infer_dates(strings.each, strings.counts)
    if not dates.formats:
        return Fit(0.0, Column(strings.name, "datetime"))
    column = _of_dates(strings, dates)
    read = read_strings(strings.each, column)
    if latest := latest_year(read, dates.formats, name_words(strings.name)):
        note = f"years of two digits are taken for {latest - 99} to {latest}"
        column = replace(column, latest_year=latest, note="; ".join([*([dates.note] if dates.note else []), note]))
    return Fit(strings.share(read), column)


def _of_dates(strings: Strings, dates: Dates) -> Column:
    first, *others = dates.formats
    return Column(strings.name, "datetime", date_format=first, other_formats=tuple(others), note=dates.note)


def infer_all_numbers(text: pl.Series, hints: Hints) -> Column | None:
    """Infers how the strings of a column are numbers, codes too; returns None if one of them is none."""
    strings = Strings.of(text)
    fit = infer_numbers(strings, hints)
    if fit.share < 1:
        # A target is no time of day.
        fit = infer_compounds(strings, replace(hints, kind="numeric"))
    return fit.column if fit.share == 1 else None


def _number_marks(hints: Hints) -> list[tuple[str, str]]:
    """Returns decimal and thousands marks to try, the likeliest first."""
    if hints.decimal != "auto":
        # The user names the decimal mark only: the other mark may still group thousands.
        return [(hints.decimal, ""), (hints.decimal, "." if hints.decimal == "," else ",")]
    commas, points = [(",", ""), (",", ".")], [(".", ","), (".", " "), (".", "'")]
    likelier, other = (commas, points) if hints.prefers_comma else (points, commas)
    # Plain numbers come first, as they mean the same in any country.
    return [(".", ""), *likelier, *other, (",", " ")]
