"""Delimiter and quotes of a text file, detected or as the user says."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.errors import UserError, agree, counted

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "blank": " "}
"""Delimiters by name, the most trusted first: a file that is even under two of them likely has commas in its text."""

RARE_DELIMITERS = ("│", "^", "~", "\x01", "\x1f", "¦", "§", "¬", "||", "::")
"""Delimiters that are tried where none of the others separates."""

SURE_SHARE = 0.75
"""Share of the lines that a rare delimiter must make even."""

QUOTES = {"double": '"', "single": "'", "none": ""}

MOST_UNPAIRED = 0.1
"""Share of the lines with single quotes in which their number may be odd, where they quote strings."""

UNIT_SEPARATOR = "\x1f"
"""Stands for a delimiter of several characters, which the csv module does not take."""


@dataclass(frozen=True)
class TextOptions:
    """Holds the options of a text file that the user gives, which are then not detected.

    `encoding_if_not_utf8` is that of the training file, where another file is read like it. `sheet` names one of a
    spreadsheet.
    """

    delimiter: str = "auto"
    quote: str = "auto"
    header: bool | str = "auto"
    encoding: str = "auto"
    skip_lines: int = 0
    encoding_if_not_utf8: str = "auto"
    sheet: str | None = None


@dataclass(frozen=True)
class Dialect:
    """Delimiter and quotes of a text file.

    Attributes:
        delimiter: one character or more; a blank stands for one or more.
        quote: one character, or "" where there are no quotes.
        is_framed: whether the delimiter also stands at both ends of each line.
        has_tabs: whether tabs divide as blanks do.
    """

    delimiter: str = ","
    quote: str = '"'
    is_framed: bool = False
    has_tabs: bool = False

    def records(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yields the strings of each record, none for a blank line. The lines come with their ends.

        Raises:
            csv.Error: a string is longer than `csv.field_size_limit()`, as after a quote that is not closed.
        """
        options: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        last_line, delimiter = "", self.delimiter
        if len(delimiter) > 1:
            lines, delimiter = (line.replace(self.delimiter, UNIT_SEPARATOR) for line in lines), UNIT_SEPARATOR
        elif self.has_tabs:
            lines = (line.replace("\t", " ") for line in lines)

        def noted() -> Iterator[str]:
            nonlocal last_line
            for line in lines:
                last_line = line
                yield line

        # Many files have a blank after each comma; the csv module would take a quote behind it for text.
        for strings in csv.reader(noted(), delimiter=delimiter, skipinitialspace=True, **options):
            # Blanks at the end of a line separate nothing.
            if delimiter == " " and strings and not strings[-1].strip() and last_line.rstrip("\r\n")[-1:].isspace():
                strings.pop()
            has_frame = self.is_framed and len(strings) > 1 and strings[0] == strings[-1] == ""
            yield strings[1:-1] if has_frame else strings

    def readable_records(self, lines: Iterable[str]) -> list[list[str]]:
        """Returns the strings of each record that is not blank, up to the first that cannot be read."""
        records: list[list[str]] = []
        # What comes before an unclosed quote is enough to detect the layout; the check of all records refuses it later.
        with suppress(csv.Error):
            records.extend(record for record in self.records(lines) if record)
        return records

    def strings(self, line: str) -> list[str]:
        """Returns the strings of a line by itself; none if it cannot be read."""
        return next(iter(self.readable_records([line])), [])


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8 whose lines end in a line feed, with or without a carriage return.

    Attributes:
        path: of the file itself, or of a copy that lives as long as `open_text`.
        dialect: of that file.
        names: of the columns.
        n_before: lines before the first row.
        notes: what was detected, for people.
        unnamed: names of columns that have none in the file.
        header: strings of the lines that name the columns; empty if none does.
        header_line: the first of these lines.
        first_names: names that the first line would give, where it was not taken for a header.
        numeric: whether each column holds numbers or dates, in the first rows.
        comment: what begins a line of comment.
        is_comment_sure: whether such a line is a comment also where it has as many strings as a row.
        is_irregular: whether the file may have lines that are no rows, although each has as many strings.
        n_tail_bytes: bytes at the end that are no rows.
    """

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    n_before: int = 0
    notes: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    header: tuple[tuple[str, ...], ...] = ()
    header_line: str = ""
    first_names: tuple[str, ...] = ()
    numeric: tuple[bool, ...] = ()
    comment: str = "#"
    is_comment_sure: bool = False
    is_irregular: bool = False
    n_tail_bytes: int = 0


def detect_dialect(lines: Sequence[str], options: TextOptions = TextOptions()) -> Dialect:
    """Detects what the user does not say, from the first lines of a table, each whole and with its end.

    Args:
        lines: of the table, none of them blank.
        options: delimiters and quotes by name or as the character itself.

    Raises:
        UserError: `options.delimiter` cannot be one.
    """
    delimiter = DELIMITERS.get(options.delimiter, options.delimiter)
    quote = QUOTES.get(options.quote, options.quote)
    if quote == "auto":
        # A quote that separates encloses nothing.
        quote = "" if delimiter == '"' else '"' if delimiter == "'" else _find_quote(lines)
    if delimiter == "auto":
        delimiter, share = _find_delimiter(lines, quote, DELIMITERS.values())
        if share < SURE_SHARE:
            rare, rare_share = _find_delimiter(lines, quote, RARE_DELIMITERS)
            delimiter = rare if rare_share >= SURE_SHARE and rare_share > share else delimiter
        # Columns that are set off by several blanks may have a tab among them.
        are_set_off = delimiter == "\t" and sum("  " in line for line in lines) >= SURE_SHARE * len(lines)
        without_tabs = [line.replace("\t", " ") for line in lines]
        if are_set_off and _find_delimiter(without_tabs, quote, " ")[1] >= SURE_SHARE:
            delimiter = " "
    if not delimiter or any(character in delimiter for character in ("\r", "\n", quote or "\n")):
        raise UserError(
            f"data.delimiter must be auto, {', '.join(DELIMITERS)}, or a character that is no quote",
            f"data.delimiter={delimiter!r}",
            "data.delimiter=auto",
        )
    # Below the table, the number of its rows may stand without a frame.
    n_framed = sum(len(line) > 1 and line[0] == line[-1] == delimiter for line in map(str.strip, lines))
    is_framed = delimiter in "|│" and n_framed >= max(len(lines) - 3, 0.5 * len(lines)) > 0
    # In a few lines, a tab may be part of a string in quotes.
    has_tabs = delimiter == " " and sum("\t" in line for line in lines) > 0.5 * len(lines)
    return Dialect(delimiter, quote, is_framed, has_tabs)


def _find_quote(lines: Sequence[str]) -> str:
    """Chooses single quotes where only they stand around strings, in pairs, and make lines even; else double ones."""
    text = "".join(lines)
    if '"' in text or not re.search(r"(?:^|[,;\t| ])\s*'[^'\n]*'\s*(?:$|[,;\t| ])", text, re.MULTILINE):
        return '"'
    quoted = [line for line in lines if "'" in line]
    if sum(line.count("'") % 2 for line in quoted) > MOST_UNPAIRED * len(quoted):
        return '"'  # apostrophes
    single, double = (_find_delimiter(lines, quote, DELIMITERS.values())[1] for quote in "'\"")
    return "'" if single >= double else '"'


def _find_delimiter(lines: Sequence[str], quote: str, delimiters: Iterable[str]) -> tuple[str, float]:
    """Chooses the delimiter under which most lines have the same number of strings, above 1; adds their share."""
    best, best_share = ",", 0.0
    for delimiter in delimiters:
        widths = Counter(len(record) for record in Dialect(delimiter, quote).readable_records(lines))
        width, count = commonest(widths)
        # Any character that is absent splits every line into one string, so width 1 is no sign of a delimiter.
        share = count / sum(widths.values()) if width > 1 else 0.0
        # Prose has blanks too: they count only where nothing else separates strings.
        if share > best_share and not (delimiter == " " and best_share > 0.5):
            best, best_share = delimiter, share
    return best, best_share


def commonest(widths: Counter[int]) -> tuple[int, int]:
    """Returns the most frequent width and its count; of equally frequent ones the larger."""
    # More columns are less likely to be chance.
    return max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))


def skipped(lines: Sequence[str], where: str) -> list[str]:
    """Says how many lines are skipped, with the first of them; nothing where there are none."""
    if not lines:
        return []
    shown = " ".join(lines[0].split())[:60]
    more = ", …" if len(lines) > 1 else ""
    return [f"{counted(len(lines), 'line')} {where} {agree(len(lines), 'is')} skipped: {shown!r}{more}"]
