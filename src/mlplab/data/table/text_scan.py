"""A quick check of every byte of a text file: enough where all readers agree about it, as they do about most files."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from mlplab.data.table.files import TextFile

BLOCK_BYTES = 1 << 19
"""Bytes that are checked at once: few enough to stay in the processor's caches."""

MOST_LINES_OF_A_CELL = 100
"""Lines by which a block grows until its quotes are paired."""

LINE_END, QUOTE = b"\n"[0], b'"'[0]

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scan:
    """Result of a scan.

    Attributes:
        n_records: the header and the rows.
        spellings: of the cells that were searched for, those that the file may have. None is missed.
    """

    n_records: int
    spellings: tuple[str, ...]


def scan_text(file: TextFile, spellings: Sequence[str] = ()) -> Scan | None:
    """Scans a file that is even and plain; returns None where only `read_records` can tell.

    Even: each record has as many cells as there are columns, and no line is blank. Plain: each quote opens or closes
    a cell, or stands doubled within one. Nothing is decoded: no byte of another character in UTF-8 looks like a
    delimiter, a quote or a line end.

    Args:
        file: to read.
        spellings: cells to search for.
    """
    dialect = file.dialect
    # With one column, a blank line looks like an empty cell. Several blanks divide as one does.
    if len(file.names) < 2 or dialect.delimiter == " ":
        return None
    search = _Search(spellings, dialect.delimiter)
    n_records = 0
    with file.path.open("rb") as source:
        for _ in range(dialect.skip_lines):
            source.readline()
        for block in _blocks(source):
            has_quotes = dialect.quote != "" and (dialect.quote.encode() in block or b'"' in block)
            if has_quotes and dialect.quote != '"':
                return None
            text = np.frombuffer(block, np.uint8)
            n_cells = _cells_of_records(text, dialect.delimiter.encode()[0], has_quotes=has_quotes)
            if n_cells is None or not (n_cells == len(file.names)).all():
                return None
            n_records += len(n_cells)
            search.look_into(block, text)
    return Scan(n_records, tuple(search.found))


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    """Yields whole records, each with its line end, unless a quote is not closed."""
    is_beginning = source.tell() == 0
    while block := source.read(BLOCK_BYTES) + source.readline():
        if is_beginning:
            block, is_beginning = block.removeprefix(codecs.BOM_UTF8), False
        if b'"' in block:
            for _ in range(MOST_LINES_OF_A_CELL):
                if block.count(b'"') % 2 == 0:
                    break
                block += source.readline()
        if block:
            yield block if block.endswith(b"\n") else block + b"\n"


def _cells_of_records(text: Bytes, delimiter: int, *, has_quotes: bool) -> Positions | None:
    """Counts the cells of each record; returns None where a quote does neither open nor close a cell."""
    ends = np.flatnonzero(text == LINE_END)
    is_delimiter = text == delimiter
    if not has_quotes:
        return np.diff(_counts_before(is_delimiter, ends), prepend=0) + 1
    quotes = np.flatnonzero(text == QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    if len(opening) != len(closing) or (closing - opening).max() > csv.field_size_limit():
        return None
    # The last byte is a line end: it stands in front of the first one, too.
    before, after = text[opening - 1], text[closing + 1]
    may_open = (before == delimiter) | (before == LINE_END) | (before == QUOTE)
    may_close = (after == delimiter) | (after == LINE_END) | (after == b"\r"[0]) | (after == QUOTE)
    returns = np.flatnonzero(text == b"\r"[0])
    if not (may_open.all() and may_close.all() and (text[returns + 1] == LINE_END).all()):
        return None
    n_closed = np.searchsorted(closing, ends)
    ends_record = np.searchsorted(opening, ends) == n_closed
    within = _counts_before(is_delimiter, closing) - _counts_before(is_delimiter, opening)
    n_within = np.concatenate([[0], np.cumsum(within)])[n_closed]
    n_dividing: Positions = (_counts_before(is_delimiter, ends) - n_within)[ends_record]
    return np.diff(n_dividing, prepend=0) + 1


def _counts_before(mask: Mask, positions: Positions) -> Positions:
    """Returns how many values are true before each position.

    As bits, 64 of them are counted at once. A cumulative sum over the values takes five times as long.
    """
    words = np.zeros(len(mask) // 64 + 1, "<u8")
    bits = np.packbits(mask, bitorder="little")
    words.view(np.uint8)[: len(bits)] = bits
    before = np.concatenate([[0], np.cumsum(np.bitwise_count(words), dtype=np.int64)])
    word, bit = positions >> 6, (positions & 63).astype(np.uint64)
    lower = (np.uint64(1) << bit) - np.uint64(1)
    counts: Positions = before[word] + np.bitwise_count(words[word] & lower)
    return counts


class _Search:
    """Searches for cells, and forgets each when it is found.

    Attributes:
        found: the cells that there may be.
    """

    def __init__(self, spellings: Sequence[str], delimiter: str) -> None:
        # In a cell in quotes, a quote is doubled: such spellings, and the empty one, are taken for found.
        self.found = [spelling for spelling in spellings if not spelling or '"' in spelling]
        self._wanted = {spelling.encode(): spelling for spelling in spellings if spelling not in self.found}
        self._is_edge = np.zeros(256, np.bool_)
        self._is_edge[list(b'\r\n"' + delimiter.encode())] = True

    def look_into(self, block: bytes, text: Bytes) -> None:
        firsts = [byte for byte in {spelling[0] for spelling in self._wanted} if byte in block]
        if not firsts:
            return
        places = np.flatnonzero(np.logical_or.reduce([text == first for first in firsts]))
        places = places[self._is_edge[text[places - 1]]]
        for spelling in list(self._wanted) if len(places) else ():
            if self._is_there(np.frombuffer(spelling, np.uint8), text, places):
                self.found.append(self._wanted.pop(spelling))

    def _is_there(self, spelling: Bytes, text: Bytes, places: Positions) -> bool:
        places = places[places + len(spelling) < len(text)]
        for offset, byte in enumerate(spelling):
            places = places[text[places + offset] == byte]
        return bool(self._is_edge[text[places + len(spelling)]].any())
