"""Counts the rows of a text file by a look at each byte, where all readers agree about the file.

polars fills short records with nulls without a word, so this count is what shows that no row is short. The files about
which readers could differ are read by `text_records`.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from mlplab.data.table.text_encoding import BLOCK_BYTES
from mlplab.data.table.text_layout import TextFile

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
    if len(file.names) < 2 or dialect.delimiter == " " or not is_plain_delimiter(dialect.delimiter):
        return None
    if file.is_irregular:
        return None
    n_records = 0
    header = file.header_line.encode() if len(file.header_line) > len(file.names) else b"\x00"
    with file.path.open("rb") as source:
        for _ in range(file.n_before):
            source.readline()
        for block in _blocks(source, file.path.stat().st_size - file.n_tail_bytes):
            # The header comes again where files were put together.
            if header in block and re.search(rb"^" + re.escape(header) + rb"\r?$", block, re.MULTILINE):
                return None
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
    return n_records


def is_plain_delimiter(delimiter: str) -> bool:
    """Checks for a delimiter of one byte, as the quick count and polars compare single bytes."""
    return len(delimiter) == 1 and delimiter.isascii() and delimiter != '"'


def _blocks(source: IO[bytes], end: int) -> Iterator[bytes]:
    """Yields whole records up to a place, each with its line end, unless a quote is not closed."""
    is_beginning = source.tell() == 0
    while (n_left := end - source.tell()) > 0:
        block = source.read(min(BLOCK_BYTES, n_left))
        block += source.readline() if n_left > BLOCK_BYTES else b""
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
