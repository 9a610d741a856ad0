"""Checks that every record of a text file has as many strings as there are columns.

polars fills short records with nulls without a word. So each byte is looked at before: by a quick count, which is
enough where all readers agree about the file, as they do about most files; else by Python's csv module, which writes a
copy that all readers agree about.
"""

import codecs
import csv
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from mlplab.data.table.text_encoding import UNREADABLE, unreadable_file
from mlplab.data.table.text_layout import Dialect, TextFile
from mlplab.errors import UserError, counted

BLOCK_BYTES = 1 << 19
"""Bytes that are counted at once: few enough to stay in the processor's caches."""

MOST_LINES_OF_A_STRING = 100
"""Lines by which a block grows until its quotes are paired."""

LINE_END, RETURN, QUOTE = b'\n\r"'

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


def count_rows(file: TextFile) -> int | None:
    """Counts the rows of an even and plain file; returns None for all others.

    Even: each record has as many strings as there are columns, and no line is blank. Plain: each quote opens or closes
    a string, or stands doubled within one. Nothing is decoded: in UTF-8, no byte of another character equals a
    delimiter, a quote or a line end.
    """
    dialect = file.dialect
    # With one column, a blank line looks like an empty string. Several blanks separate as one does.
    if len(file.names) < 2 or dialect.delimiter == " ":
        return None
    n_records = 0
    with file.path.open("rb") as source:
        for _ in range(dialect.skip_lines):
            source.readline()
        for block in _blocks(source):
            # Only double quotes are counted below, so a file with others goes the slow way.
            has_quotes = dialect.quote != "" and (dialect.quote.encode() in block or b'"' in block)
            if has_quotes and dialect.quote != '"':
                return None
            n_strings = _strings_per_record(
                np.frombuffer(block, np.uint8), dialect.delimiter.encode()[0], has_quotes=has_quotes
            )
            if n_strings is None or not (n_strings == len(file.names)).all():
                return None
            n_records += len(n_strings)
    return n_records - dialect.has_header


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    """Yields whole records, each with its line end, unless a quote is not closed."""
    is_beginning = source.tell() == 0
    while block := source.read(BLOCK_BYTES) + source.readline():
        if is_beginning:
            # The mark would stand in front of a quote that opens the first string.
            block, is_beginning = block.removeprefix(codecs.BOM_UTF8), False
        if b'"' in block:
            for _ in range(MOST_LINES_OF_A_STRING):
                # A doubled quote within a string leaves the parity as it is.
                if block.count(b'"') % 2 == 0:
                    break
                block += source.readline()
        if block:
            # Records are counted by their line ends, which the last line of a file may lack.
            yield block if block.endswith(b"\n") else block + b"\n"


def _strings_per_record(text: Bytes, delimiter: int, *, has_quotes: bool) -> Positions | None:
    """Counts the strings of each record; returns None where a quote neither opens nor closes one."""
    ends = np.flatnonzero(text == LINE_END)
    is_delimiter = text == delimiter
    if not has_quotes:
        return np.diff(_counts_before(is_delimiter, ends), prepend=0) + 1
    quotes = np.flatnonzero(text == QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    # A string that is longer than the csv module takes likely comes from a quote that is not closed.
    if len(opening) != len(closing) or (closing - opening).max() > csv.field_size_limit():
        return None
    # The last byte is a line end, so it also stands for what is in front of the first one.
    may_open = np.isin(text[opening - 1], [delimiter, LINE_END, QUOTE])
    may_close = np.isin(text[closing + 1], [delimiter, LINE_END, RETURN, QUOTE])
    returns = np.flatnonzero(text == RETURN)
    if not (may_open.all() and may_close.all() and (text[returns + 1] == LINE_END).all()):
        return None
    # A line end with as many quotes opened as closed before it ends a record; any other one stands within a string.
    n_closed = np.searchsorted(closing, ends)
    ends_record = np.searchsorted(opening, ends) == n_closed
    # Delimiters between an opening and a closing quote separate nothing.
    within = _counts_before(is_delimiter, closing) - _counts_before(is_delimiter, opening)
    n_within = np.concatenate([[0], np.cumsum(within)])[n_closed]
    n_separating: Positions = (_counts_before(is_delimiter, ends) - n_within)[ends_record]
    return np.diff(n_separating, prepend=0) + 1


def _counts_before(mask: Mask, positions: Positions) -> Positions:
    """Returns how many values are true before each position.

    As bits, 64 of them are counted at once. A cumulative sum over the values takes five times as long.
    """
    words = np.zeros(len(mask) // 64 + 1, "<u8")
    bits = np.packbits(mask, bitorder="little")
    words.view(np.uint8)[: len(bits)] = bits
    before = np.concatenate([[0], np.cumsum(np.bitwise_count(words), dtype=np.int64)])
    word, bit = positions >> 6, (positions & 63).astype(np.uint64)
    # The bits of the last word that are below the position.
    lower = (np.uint64(1) << bit) - np.uint64(1)
    counts: Positions = before[word] + np.bitwise_count(words[word] & lower)
    return counts


def copy_plainly(path: Path, file: TextFile, copy: Path) -> tuple[TextFile, int]:
    """Writes a plain copy without blank lines; returns it with the number of its rows.

    Args:
        path: for messages.
        file: to read.
        copy: to write, in UTF-8 with double quotes, and with tabs in place of blanks as delimiter.

    Raises:
        UserError: a quote is not closed, or records differ in their number of strings.
    """
    # polars takes each blank for a delimiter of its own.
    dialect = Dialect("\t" if file.dialect.delimiter == " " else file.dialect.delimiter, '"', file.dialect.has_header)
    n_records = n_ragged = 0
    first_ragged: tuple[int, int] | None = None
    with copy.open("w", encoding="utf-8", newline="") as target:
        # The line terminator decides which line breaks are put into quotes: both of its characters.
        writer = csv.writer(target, delimiter=dialect.delimiter, lineterminator="\r\n")
        for line, strings in read_records(path, file):
            n_records += 1
            writer.writerow(strings)
            if len(strings) != len(file.names):
                n_ragged += 1
                first_ragged = first_ragged or (line, len(strings))
    n_rows = n_records - dialect.has_header
    if first_ragged is not None:
        raise _ragged(path, len(file.names), n_rows, n_ragged, *first_ragged)
    return replace(file, path=copy, dialect=dialect), n_rows


def _ragged(path: Path, n_columns: int, n_rows: int, n_ragged: int, line: int, n_strings: int) -> UserError:
    hint = "mending the file"
    # When every row differs, the layout is more likely wrong than the file.
    if n_ragged == n_rows > 0:
        hint = "data.delimiter=… and data.skip_lines=…, if they were not detected rightly"
    # A title above the header is a single string in most files, and the only line of its kind.
    elif n_columns == 1 and line > 1 and n_ragged > 0.5 * n_rows:
        hint = f"data.skip_lines={line - 1}, if the lines before are no part of the table"
    return UserError(
        f"every row of {path.name} must have {counted(n_columns, 'value')}, as its first line has",
        f"{n_ragged} {'row differs' if n_ragged == 1 else 'rows differ'}, the first in line {line} with {n_strings}",
        hint,
    )


def read_records(path: Path, file: TextFile) -> Iterator[tuple[int, list[str]]]:
    """Yields the strings of the header and of each row, with the number of their first line; skips blank lines.

    Raises:
        UserError: a quote is not closed, or the file is no UTF-8.
    """
    dialect = file.dialect
    # Where any number of blanks separates, or single quotes may be apostrophes, only their parity is a sure sign.
    is_usual = dialect.quote == '"' and dialect.delimiter != " "
    well_formed = _well_formed_record(dialect.delimiter) if is_usual else None
    blanks = " \r\n" if dialect.delimiter == "\t" else " \t\r\n"
    taken: list[str] = []
    is_at_end = False

    def lines(source: Iterator[str]) -> Iterator[str]:
        nonlocal is_at_end
        for line in source:
            taken.append(line)
            yield line
        is_at_end = True

    number = dialect.skip_lines + 1
    try:
        # Only a line feed ends a line, within quotes too.
        with file.path.open(encoding="utf-8-sig", newline="\n") as source:
            for strings in dialect.records(lines(itertools.islice(source, dialect.skip_lines, None))):
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
                    yield number, strings
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


def _well_formed_record(delimiter: str) -> re.Pattern[str]:
    """Matches strings that have no quotes, or are in quotes with nothing but blanks around these."""
    mark = re.escape(delimiter)
    string = rf' *+"[^"]*+(?:""[^"]*+)*+" *+|[^"{mark}\r\n]*+'
    return re.compile(rf"(?:{string})(?:{mark}(?:{string}))*+\r?\n?")
