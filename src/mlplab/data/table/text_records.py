"""Reads the records of a text file about which readers could differ, and writes a copy that all of them read alike.

Python's csv module reads it, record by record. The copy lacks the lines that are no rows.
"""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mlplab.data.table.file_errors import UNREADABLE, unreadable_file
from mlplab.data.table.row_count import is_plain_delimiter
from mlplab.data.table.strings import is_marker, is_value
from mlplab.data.table.text_footer import is_footer
from mlplab.data.table.text_header import NO_COMMENT, RULE
from mlplab.data.table.text_layout import Dialect, TextFile, skipped
from mlplab.errors import UserError, agree, counted

MOST_SHORT = 0.1
"""Share of rows up to which rows may lack values at their end."""

Write = Callable[[list[str]], object]


def copy_plainly(path: Path, file: TextFile, copy: Path) -> tuple[TextFile, int]:
    """Writes the rows to a plain copy, without header, comments, footer and blank lines; returns it with their number.

    A few rows that are short at the right get empty strings; delimiters behind the last column are left out.

    Args:
        path: for messages.
        file: to read.
        copy: to write, in UTF-8 with double quotes, and with tabs in place of delimiters that polars does not take.

    Raises:
        UserError: a quote is not closed, or records differ in their number of strings.
    """
    # polars takes each blank for a delimiter of its own, and single bytes only.
    delimiter = file.dialect.delimiter
    dialect = Dialect(delimiter if delimiter != " " and is_plain_delimiter(delimiter) else "\t", '"')
    rows = _Rows(file)
    with copy.open("w", encoding="utf-8", newline="") as target:
        # The line terminator decides which line breaks are put into quotes: both of its characters.
        writer = csv.writer(target, delimiter=dialect.delimiter, lineterminator="\r\n")
        for line, strings, is_after_blank in read_records(path, file, rows.comments):
            rows.take(line, strings, is_after_blank, writer.writerow)
        rows.end(writer.writerow, is_cut_off=not _ends_with_a_line(file.path))
    if rows.first_ragged is not None or rows.n_short > MOST_SHORT * rows.n_rows:
        line, n_strings = min(first for first in (rows.first_ragged, rows.first_short) if first is not None)
        raise _ragged(path, file, rows.n_rows, rows.n_ragged + rows.n_short, line, n_strings)
    return replace(file, path=copy, dialect=dialect, n_before=0, notes=(*file.notes, *rows.notes())), rows.n_rows


class _Rows:
    """Tells rows from lines of other kinds, in the order of a file, and counts both."""

    def __init__(self, file: TextFile) -> None:
        self.file, self.n_columns = file, len(file.names)
        self.header = [_without_ends(line) for line in file.header]
        self.n_rows = self.n_ragged = self.n_short = self.n_repeated = 0
        self.first_ragged: tuple[int, int] | None = None
        self.first_short: tuple[int, int] | None = None
        self.doubtful: list[tuple[int, list[str], bool]] = []  # line, strings, whether it looks like a footer
        self.footer: list[str] = []
        self.comments: list[str] = []
        self.n_empty = self.cut_off = self.n_trailing = 0
        self.has_totals_between = False

    def take(self, line: int, strings: list[str], is_after_blank: bool, write: Write) -> None:
        """Writes a record if it is a row; keeps it back if it may belong to the footer or be cut off."""
        # Most rows begin with a digit or have their number of strings: no closer look at these.
        is_even = len(strings) == self.n_columns
        if not is_even or not strings[0][:1].isdigit():
            if _without_ends(strings) in self.header:
                self.n_repeated += 1
                return
            is_last = is_footer(strings, self.file, is_after_blank=is_after_blank or bool(self.doubtful))
            if is_last or len(strings) < self.n_columns:
                self.doubtful.append((line, strings, is_last))
                return
        for other_line, other, is_last in self.doubtful:
            # Where totals stand between the rows too, they are rows.
            self.has_totals_between |= is_last and len(other) == self.n_columns
            self._write(other_line, other, write)
        self.doubtful.clear()
        self._write(line, strings, write)

    def end(self, write: Write, *, is_cut_off: bool) -> None:
        """Decides about the records at the end of the file."""
        for number, (line, strings, is_last) in enumerate(self.doubtful, 1):
            is_even = len(strings) == self.n_columns
            if is_last and not any(string.strip() for string in strings):
                self.n_empty += 1
            elif is_last and not (is_even and self.has_totals_between):
                self.footer.append(" ".join(string.strip() for string in strings if string.strip()))
            elif not is_even and is_cut_off and number == len(self.doubtful) and not self.n_short + self.n_ragged:
                self.cut_off = line if self.n_rows else 0
                if not self.n_rows:
                    self._write(line, strings, write)
            else:
                self._write(line, strings, write)

    def _write(self, line: int, strings: list[str], write: Write) -> None:
        missing = self.n_columns - len(strings)
        if missing < 0 and not any(strings[missing:]):
            self.n_trailing += 1
            strings = strings[:missing]
        elif missing > 0 and self._fits(strings):
            self.n_short += 1
            self.first_short = self.first_short or (line, len(strings))
            strings = [*strings, *[""] * missing]
        elif missing:
            self.n_ragged += 1
            self.first_ragged = self.first_ragged or (line, len(strings))
        self.n_rows += 1
        # A blank before the next delimiter is no part of a value, and would hide a number from polars.
        write([string.rstrip(" ") for string in strings])

    def _fits(self, strings: list[str]) -> bool:
        """Checks whether a short row has a number where the other rows have one."""
        return all(
            not is_numeric or is_value(string.strip()) or is_marker(string)
            for string, is_numeric in zip(strings, self.file.numeric, strict=False)
        )

    def notes(self) -> list[str]:
        """Says what was left out or filled in."""
        notes = []
        notes += skipped(self.comments, "of comment between the rows")
        notes += skipped(self.footer, "below the rows")
        if self.n_empty:
            notes.append(f"{counted(self.n_empty, 'empty row')} at the end {agree(self.n_empty, 'is')} skipped")
        if self.n_repeated:
            repeat = "repeats" if self.n_repeated == 1 else "repeat"
            notes.append(
                f"{counted(self.n_repeated, 'line')} that {repeat} the header {agree(self.n_repeated, 'is')} skipped"
            )
        if self.n_short and self.first_short:
            notes.append(
                f"{counted(self.n_short, 'row', 'has')} fewer values than there are "
                f"columns, the first in line {self.first_short[0]}: the last ones are taken as missing"
            )
        if self.cut_off:
            notes.append(f"the last line, {self.cut_off}, is cut off: left out")
        if self.n_trailing:
            notes.append(f"delimiters behind the last column are left out, in {counted(self.n_trailing, 'row')}")
        return notes


def _without_ends(strings: Sequence[str]) -> list[str]:
    """Returns the strings without blanks around them, and without empty ones in front and behind."""
    stripped = [string.strip() for string in strings]
    filled = [place for place, string in enumerate(stripped) if string]
    return stripped[filled[0] : filled[-1] + 1] if filled else []


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() in (b"\n", b"\r")


def _ragged(path: Path, file: TextFile, n_rows: int, n_ragged: int, line: int, n_strings: int) -> UserError:
    hint, n_columns = "mending the file", len(file.names)
    # R's header is one name short.
    as_others = "as many rows have" if file.names[0] in file.unnamed else "as its first line has"
    # When every row differs, the layout is more likely wrong than the file.
    if n_ragged == n_rows > 0:
        hint = "data.delimiter=… and data.skip_lines=…, if they were not detected rightly"
    # A title above the header is a single string in most files, and the only line of its kind.
    elif n_columns == 1 and line > 1 and n_ragged > 0.5 * n_rows:
        hint = f"data.skip_lines={line - 1}, if the lines before are no part of the table"
    return UserError(
        f"every row of {path.name} must have {counted(n_columns, 'value')}, {as_others}",
        f"{n_ragged} {'row differs' if n_ragged == 1 else 'rows differ'}, the first in line {line} with {n_strings}",
        hint,
    )


def read_records(path: Path, file: TextFile, comments: list[str]) -> Iterator[tuple[int, list[str], bool]]:
    """Yields the strings of each row, the number of its first line, and whether it follows a blank line or a rule.

    Blank lines, rules and comments are no rows; `comments` gets the latter.

    Raises:
        UserError: a quote is not closed, or the file is no UTF-8.
    """
    dialect = file.dialect
    # Where any number of blanks separates, or single quotes may be apostrophes, only their parity is a sure sign.
    is_usual = dialect.quote == '"' and dialect.delimiter != " " and is_plain_delimiter(dialect.delimiter)
    well_formed = _well_formed_record(dialect.delimiter) if is_usual else None
    blanks = " \r\n" if dialect.delimiter == "\t" else " \t\r\n"
    taken: list[str] = []
    is_at_end = is_after_blank = False
    number = file.n_before + 1

    def lines(source: Iterator[str]) -> Iterator[str]:
        nonlocal is_at_end, is_after_blank, number
        for line in source:
            # Within quotes, whatever a line looks like is part of a string.
            if not taken and _is_no_row(line, file):
                number += 1
                if line.startswith(file.comment):
                    comments.append(line.strip())
                is_after_blank = True
                continue
            taken.append(line)
            yield line
        is_at_end = True

    try:
        # Only a line feed ends a line, within quotes too.
        with file.path.open(encoding="utf-8-sig", newline="\n") as source:
            for strings in dialect.records(lines(itertools.islice(source, file.n_before, None))):
                record = "".join(taken)
                # A stray quote swallows the lines up to the next one, or to the end.
                is_unclosed = is_at_end
                if len(taken) > 1:
                    is_unclosed |= record.count(dialect.quote) % 2 == 1
                    is_unclosed |= well_formed is not None and not well_formed.fullmatch(record)
                if is_unclosed:
                    raise UserError(
                        f"every quote in {path.name} must be closed",
                        f"one that opens in line {number} is not",
                        "mending that line, or data.quote=none",
                    )
                if record.strip(blanks):
                    yield number, strings, is_after_blank
                    is_after_blank = False
                else:
                    is_after_blank = True
                number += len(taken)
                taken.clear()
    except csv.Error as error:
        raise UserError(
            f"every line of {path.name} must hold values that can be told apart",
            f"{error}, in line {number}",
            "mending that line, or data.quote=none if a quote is not closed",
        ) from None
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None


def _is_no_row(line: str, file: TextFile) -> bool:
    """Checks for a rule or a comment. One with as many strings as a row is a row, unless a comment is sure."""
    is_drawn = "\u2500" <= line[:1] <= "\u257f"
    if (is_drawn or line[:1] in "-=+| \t:") and RULE.fullmatch(line.rstrip("\r\n")):
        return is_drawn or line[:1] in "+|" or len(file.dialect.strings(line)) != len(file.names)
    # A string in quotes may begin in this line and go on in the next.
    is_whole = not file.dialect.quote or line.count(file.dialect.quote) % 2 == 0
    if line.startswith(file.comment) and is_whole and not NO_COMMENT.match(line):
        return file.is_comment_sure or len(file.dialect.strings(line)) != len(file.names)
    return False


def _well_formed_record(delimiter: str) -> re.Pattern[str]:
    """Matches strings that have no quotes, or are in quotes with nothing but blanks around these."""
    mark = re.escape(delimiter)
    string = rf' *+"[^"]*+(?:""[^"]*+)*+" *+|[^"{mark}\r\n]*+'
    return re.compile(rf"(?:{string})(?:{mark}(?:{string}))*+\r?\n?")
