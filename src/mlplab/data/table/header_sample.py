"""The first records of a text file, by which a header is told from rows."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.data.table.strings import is_marker, is_value
from mlplab.data.table.text_layout import commonest

BEGINS_AS_VALUE = re.compile(r"[^\w([]*\d|[A-Za-z]{3,9}\.? \d{1,2},")
"""A number after a sign or a currency, or a date such as Feb 1, 2000; no unit begins so."""


@dataclass(frozen=True)
class Record:
    """The strings of a record without blanks around them, and the places of its first line and of the line after it."""

    strings: list[str]
    begin: int
    end: int


class Sample:
    """The most frequent number of strings in the first records, and what the columns of such records hold.

    Attributes:
        width: the number of strings.
        numeric: whether a column holds numbers or dates.
        filled: whether a column holds anything.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.width, _ = commonest(Counter(len(record.strings) for record in records))
        rows = [record.strings for record in records if len(record.strings) == self.width]
        # What stands above the rows does not tell what is in them.
        self.rows = rows[max(1, len(rows) // 2) :]
        columns = list(zip(*self.rows, strict=True)) or [()] * self.width
        known = [[string for string in column if string] for column in columns]
        self.filled = [bool(column) for column in known] if self.rows else [True] * self.width
        self.numeric = [sum(map(is_value, column)) > 0.5 * len(column) for column in known]
        self.strings = [set(column) for column in columns]

    def aligned(self, strings: Sequence[str]) -> list[str] | None:
        """Returns the strings of a header for each column; None if their number differs.

        One too few is a header without a name for the first column, as R writes it, or for an empty last one.
        """
        if len(strings) == self.width - 1 and self.width > 2:
            return [*strings, ""] if not self.filled[-1] else ["", *strings]
        if len(strings) > self.width and not any(strings[self.width :]):
            strings = strings[: self.width]
        return list(strings) if len(strings) == self.width else None

    def has_values(self, strings: Sequence[str]) -> bool:
        """Checks for a value in a column of values."""
        return any(is_numeric and is_value(string) for string, is_numeric in zip(strings, self.numeric, strict=True))

    def n_filled(self, strings: Sequence[str]) -> int:
        """Counts the strings in columns that hold something."""
        return sum(bool(string) and is_filled for string, is_filled in zip(strings, self.filled, strict=True))

    def names_all(self, strings: Sequence[str]) -> bool:
        """Checks for a name in all columns that hold something, but for the first or a few of many."""
        needed = sum(self.filled) - (not strings[0] and self.filled[0])
        return self.n_filled(strings) >= max(0.8 * needed, 1) and not self.has_values(strings)

    def is_second_header(self, strings: Sequence[str], *, is_third: bool) -> bool:
        """Checks for text above numbers: units, descriptions, or the names below the names of groups."""
        if self.has_values(strings) or len(self.rows) < 2:
            return False
        above = [
            (string, known)
            for string, known, is_numeric in zip(strings, self.strings, self.numeric, strict=True)
            if is_numeric
        ]
        texts = [string for string, _ in above if string]
        # The line in which pandas names the index, below several lines of names.
        if is_third and not any(strings[1:]):
            return True
        if not texts or len(texts) < 0.5 * len(above):
            return False
        # A marker of a missing value may stand in the first row, and comes again.
        if any(is_marker(string) or string in known for string, known in above if string):
            return False
        # Numbers in a form that few rows have, such as 1,001.50 among smaller ones, are a row.
        if any(map(BEGINS_AS_VALUE.match, texts)):
            return False
        others = [string for string, is_numeric in zip(strings, self.numeric, strict=True) if string and not is_numeric]
        return len(texts) > 1 or not others or all(re.fullmatch(r"[(\[].*[)\]]", text) for text in (*texts, *others))
