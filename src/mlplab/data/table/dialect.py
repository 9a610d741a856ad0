"""How a text file writes down its table: delimiter, quotes and header, detected or said."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlplab.errors import UserError

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "blank": " "}
"""In the order of trust: a file that is even under two of them is more likely to hold commas within its cells."""

QUOTES = {"double": '"', "single": "'", "none": ""}

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?")

NAMELESS = re.compile(r"column_\d+")
"""Names that are given where the file has none."""

MOST_UNPAIRED = 0.1
"""The share of lines in which an apostrophe may be one of a cell that single quotes stand around."""


@dataclass(frozen=True)
class Dialect:
    """How the cells of a text file are told apart.

    Attributes:
        delimiter: one character; a blank stands for one or more.
        quote: one character, or "" where there are no quotes.
        has_header: whether the first line names the columns.
        skip_lines: lines before that one that are no part of the table.
    """

    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    skip_lines: int = 0

    def records(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The cells of each record in some lines, which have their ends; no cells for a blank line.

        Raises:
            csv.Error: a cell is longer than `csv.field_size_limit()`, as after a quote that is not closed.
        """
        options: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        last_line = ""

        def noted() -> Iterator[str]:
            nonlocal last_line
            for line in lines:
                last_line = line
                yield line

        for cells in csv.reader(noted(), delimiter=self.delimiter, skipinitialspace=True, **options):
            # Blanks at the end of a line divide nothing.
            if self.delimiter == " " and cells and not cells[-1].strip() and last_line.rstrip("\r\n")[-1:].isspace():
                cells.pop()
            yield cells

    def cells(self, lines: Iterable[str]) -> list[list[str]]:
        """The cells of each record that is not blank, up to the first that cannot be read."""
        cells: list[list[str]] = []
        with suppress(csv.Error):
            cells.extend(record for record in self.records(lines) if record)
        return cells


def detect_dialect(
    lines: Sequence[str],
    *,
    delimiter: str = "auto",
    quote: str = "auto",
    header: bool | str = "auto",
    skip_lines: int = 0,
    known_names: Sequence[str] = (),
    usual_header: bool = True,
) -> Dialect:
    """The dialect of a file, from its first lines; what is said instead of "auto" is taken as said.

    Args:
        lines: of the beginning of the file, each complete and with its end.
        delimiter: a name of `DELIMITERS`, or the character itself.
        quote: a name of `QUOTES`, or the character itself.
        header: true, false or "auto".
        skip_lines: lines to skip before all else.
        known_names: names of columns that the file should have.
        usual_header: what to take where nothing decides whether there is a header.

    Raises:
        UserError: what is said cannot divide cells.
    """
    lines = [line for line in lines[skip_lines:] if line.strip()]
    quote = _quote(lines) if quote == "auto" else QUOTES.get(quote, quote)
    if delimiter == "auto":
        delimiter, _ = _delimiter(lines, quote)
    delimiter = DELIMITERS.get(delimiter, delimiter)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in ("\r", "\n", quote):
        raise UserError(
            f"data.delimiter must be auto, {', '.join(DELIMITERS)}, or a character that is no quote",
            f"data.delimiter={delimiter!r}",
            "data.delimiter=auto",
        )
    dialect = Dialect(delimiter, quote, True, skip_lines)
    if header == "auto":
        header = _has_header(dialect.cells(lines), known_names, usual_header)
    return Dialect(dialect.delimiter, quote, bool(header), skip_lines)


def _quote(lines: Sequence[str]) -> str:
    """Single quotes where they stand around cells, in pairs, and the lines are even by them; else double ones."""
    text = "".join(lines)
    if '"' in text or not re.search(r"(?:^|[,;\t| ])\s*'[^'\n]*'\s*(?:$|[,;\t| ])", text, re.MULTILINE):
        return '"'
    quoted = [line for line in lines if "'" in line]
    if sum(line.count("'") % 2 for line in quoted) > MOST_UNPAIRED * len(quoted):
        return '"'
    return "'" if _delimiter(lines, "'")[1] >= _delimiter(lines, '"')[1] else '"'


def _delimiter(lines: Sequence[str], quote: str) -> tuple[str, float]:
    """The one under which most lines have the same number of cells, and more than one; and the share of these lines."""
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS.values():
        widths = Counter(len(cells) for cells in Dialect(delimiter, quote).cells(lines))
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        share = count / sum(widths.values()) if width > 1 else 0.0
        # Prose has blanks too: they count only where nothing else divides the lines.
        if share > best_share and not (delimiter == " " and best_share > 0.5):
            best, best_share = delimiter, share
    return best, best_share


def _has_header(rows: Sequence[Sequence[str]], known_names: Sequence[str], usual: bool) -> bool:
    if not rows:
        return usual
    first = [cell.strip() for cell in rows[0]]
    if any(name in first for name in known_names):
        return True
    body = [[cell.strip() for cell in row] for row in rows[1:] if len(row) == len(first)]
    columns = [[row[position] for row in body] for position in range(len(first))]
    evidence = False
    for cell, column in zip(first, columns, strict=True):
        given = [value for value in column if value]
        if not given:
            continue
        if _is_value(cell) and sum(map(_is_value, given)) > 0.5 * len(given):
            return False
        evidence = evidence or (cell != "" and sum(map(_is_value, given)) > 0.5 * len(given))
    if evidence:
        return True
    if any(NAMELESS.fullmatch(name) for name in known_names):
        return False
    if any(cell and cell in column for cell, column in zip(first, columns, strict=True)):
        return False
    return usual


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or a date, which no column's name is."""
    return NUMBER.fullmatch(cell) is not None or DATE.fullmatch(cell) is not None
