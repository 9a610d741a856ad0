"""Recognises a label or category that another program has written in another way."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

TRUE_AND_FALSE = (
    *(("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"), ("ja", "nein"), ("j", "n")),
    *(("oui", "non"), ("si", "no"), ("sí", "no"), ("sim", "não"), ("vrai", "faux"), ("wahr", "falsch"), ("да", "нет")),
)
"""Words for true and false that stand in a column of truth values, in any capitals."""

TRUE_WORDS, FALSE_WORDS = (list(dict.fromkeys(words)) for words in zip(*TRUE_AND_FALSE, strict=True))

MEANINGS = dict.fromkeys([*TRUE_WORDS, "1"], "true") | dict.fromkeys([*FALSE_WORDS, "0"], "false")
"""Truth value in small letters → true or false."""

WHOLE = r"^([+-]?(?:0|[1-9]\d*))[.,](?:0{1,2}|0{4,})$"
"""A whole number with decimals, as pandas writes it in a column with a missing value. A code such as 007 is none, and
three zeros may be those of a thousand."""

TYPOGRAPHIC = {
    **dict.fromkeys("\u2018\u2019\u02bc", "'"), **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"), **dict.fromkeys("\u200b\ufeff\u00ad", ""),
}  # fmt: skip
"""Quotes and dashes as word processors write them, and characters without a width → what a keyboard writes."""

QUANTITY = r"^[+-]?(0|[1-9]\d*)([.,]\d+)?(e[+-]?\d+)?$"
"""A number that is no code, as it has no leading zeros."""

MAY_BE_GROUPED = r"^[+-]?\d{1,3}[.,]\d{3}$"
"""1,234 is a thousand in one country, and little more than 1 in another."""

LARGEST_EXACT_WHOLE = 2.0**53
"""Above it float64 skips whole numbers, so that two codes could become one."""

SHORT = 2
"""Letters up to which capitals may tell two codes apart, as in the genotypes Aa and aa."""


def plain(text: pl.Series) -> pl.Series:
    """Removes differences that nobody sees or means: (N,) -> (N,), null stays null.

    These are blanks of any kind and number, accents as characters of their own (NFD), typographic quotes and dashes,
    full stops at the end, the plus of a number, and the decimals of a whole number.
    """
    text = text.str.normalize("NFC").str.replace_many(TYPOGRAPHIC).str.replace_all(r"\s+", " ").str.strip_chars(" ")
    # UCI's Adult data ends each label of its test file, and of that alone, with a full stop.
    without_stop = text.str.strip_chars_end(". ")
    text = text.zip_with((without_stop == "").fill_null(True), without_stop)
    return text.str.replace(WHOLE, "$1").str.replace(r"^\+(\d)", "$1")


def _as_numbers(text: pl.Series) -> pl.Series:
    """Writes numbers in one form: 1e+05 as 100000, 0,50 as 0.5. Other text stays."""
    numbers = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    is_number = text.str.contains(QUANTITY) & ~text.str.contains(MAY_BE_GROUPED) & (numbers.abs() < LARGEST_EXACT_WHOLE)
    whole = numbers.cast(pl.Int64, strict=False).cast(pl.String)
    written = whole.zip_with(numbers % 1 == 0, numbers.cast(pl.String))
    return written.zip_with(is_number.fill_null(False), text)


def _without_capitals(text: pl.Series) -> pl.Series:
    return _as_numbers(plain(text).str.to_lowercase())


def _without_leading_zeros(text: pl.Series) -> pl.Series:
    # A spreadsheet takes the zeros of 00501 away.
    return _as_numbers(plain(text).str.to_lowercase().str.replace(r"^([+-]?)0+(\d)", "$1$2"))


def truth_values(text: pl.Series) -> pl.Series:
    """Writes truth values of any program as true and false; null for other text."""
    words = _without_capitals(text)
    return words.replace_strict(MEANINGS, default=None, return_dtype=pl.String)


def are_truth_values(strings: pl.Series) -> bool:
    """Checks for a word for true and one for false of a language; others may stand beside them."""
    # Up to eight, as each of four words may also stand there in capitals.
    if len(strings) > 8:
        return False
    words = set(strings.str.to_lowercase())
    return words <= MEANINGS.keys() and any(words.issuperset(pair) for pair in TRUE_AND_FALSE)


@dataclass(frozen=True)
class Spellings:
    """Finds which of the known labels a text means.

    Attributes:
        known: the labels, each once.
    """

    known: tuple[str, ...]

    @functools.cached_property
    def _by_form(self) -> list[pl.DataFrame]:
        known = pl.Series("known", self.known, dtype=pl.String)
        truth = truth_values(known)
        # 1 means yes where the labels are yes and no. Among 0, 1 and 2 it does not.
        is_pair = truth.null_count() == 0 and truth.n_unique() == len(known) == 2
        forms = [_without_capitals(known), _without_leading_zeros(known), *([truth] if is_pair else [])]
        # A form that several labels share does not tell which one is meant.
        return [pl.DataFrame({"form": form, "known": known}).unique("form", keep="none") for form in forms]

    def as_known(self, text: pl.Series) -> pl.Series:
        """Writes texts that are spelled in another way as the labels are; others stay."""
        others = text.unique().drop_nulls()
        others = others.filter(~others.is_in(self.known))
        if not len(others):
            return text
        meant = self.meant(others)
        return text.replace(others.filter(meant.is_not_null()), meant.drop_nulls())

    def meant(self, text: pl.Series) -> pl.Series:
        """Returns the label that each text means, null where none or several could be meant.

        Args:
            text: strings that are none of the labels as they are written.
        """
        found = pl.Series(text.name, [None] * len(text), dtype=pl.String)
        for rule, table in zip((_without_capitals, _without_leading_zeros, truth_values), self._by_form, strict=False):
            if found.null_count() == 0:
                break
            forms = pl.DataFrame({"form": rule(text)})
            joined = forms.join(table, on="form", how="left", maintain_order="left")["known"]
            found = found.zip_with(found.is_not_null(), joined)
        return found.alias(text.name)


def merged(counts: Mapping[str, int]) -> list[str]:
    """Returns one spelling, the most frequent one, of each label that is written in several ways.

    Labels that differ in capitals alone are one if these are a matter of style, as in yes, Yes and YES. Short codes
    such as Aa and aa are not.

    Args:
        counts: label → number of its rows.
    """
    labels = list(counts)
    forms = plain(pl.Series(labels, dtype=pl.String)).to_list()
    are_words = {form.lower() for form in forms} <= {*TRUE_WORDS, *FALSE_WORDS}
    groups: dict[str, list[str]] = {}
    for label, form in zip(labels, forms, strict=True):
        is_code = sum(character.isalpha() for character in form) <= SHORT and form.lower() != "no"
        is_word = form in (form.lower(), form.upper(), form.title(), form.capitalize())
        key = form.lower() if is_word and (are_words or not is_code) else form
        groups.setdefault(key, []).append(label)
    # Among equally frequent spellings the first by alphabet, so that the order of the rows does not matter.
    return [max(sorted(group), key=lambda label: counts[label]) for group in groups.values()]
