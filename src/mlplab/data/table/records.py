"""The records of a text file, line by line, each also as every reader takes it."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlplab.data.table.dialect import Dialect
from mlplab.data.table.encoding import unreadable_file
from mlplab.data.table.files import TextFile
from mlplab.errors import UserError


class Record(NamedTuple):
    """A row or the header, or a blank line.

    Attributes:
        line: the number of its first line, from 1.
        n_cells: 0 for a blank line.
        plain: its lines in the `plain_dialect`, where every quote opens or closes a cell or stands doubled within.
        is_rewritten: whether they are not those of the file.
    """

    line: int
    n_cells: int
    plain: bytes
    is_rewritten: bool


def plain_dialect(dialect: Dialect) -> Dialect:
    """How `Record.plain` is written: with the same delimiter if that is one character, and with double quotes."""
    if dialect.delimiter == " ":
        return Dialect("\t", '"', dialect.has_header)
    return Dialect(dialect.delimiter, dialect.quote and '"', dialect.has_header)


def read_records(path: Path, file: TextFile) -> Iterator[Record]:
    """The header and the rows, and blank lines between them.

    Args:
        path: for messages.
        file: to read.

    Raises:
        UserError: a quote is not closed, or a line is no UTF-8.
    """
    dialect, target = file.dialect, plain_dialect(file.dialect)
    delimiter, quote, target_delimiter = (
        text.encode() for text in (dialect.delimiter, dialect.quote, target.delimiter)
    )
    is_divided_alike = delimiter == target_delimiter
    may_be_plain = is_divided_alike and dialect.quote == target.quote
    quoted_cell, plain_record, padded_record = _patterns(delimiter)
    blanks = b" \r\n" if delimiter == b"\t" else b" \t\r\n"
    number = 0
    with file.path.open("rb") as source:
        for line in source:
            number += 1
            if number <= dialect.skip_lines:
                continue
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip(blanks):
                yield Record(number, 0, line, False)
            elif is_divided_alike and (not quote or (quote not in line and b'"' not in line)):
                yield Record(number, line.count(delimiter) + 1, _ended(line), False)
            elif may_be_plain and plain_record.fullmatch(line):
                yield Record(number, quoted_cell.sub(b"", line).count(delimiter) + 1, _ended(line), False)
            elif not is_divided_alike and not any(mark in line for mark in (quote, b'"', b"\t") if mark):
                cells = [cell for cell in line.rstrip(b"\r\n").split(b" ") if cell]
                yield Record(number, len(cells), target_delimiter.join(cells) + b"\n", True)
            else:
                lines = [line]
                written = _cells(path, number, lines, source, dialect)
                record = b"".join(lines)
                if len(lines) > 1 and may_be_plain and not padded_record.fullmatch(record):
                    # Readable, but only because one stray quote after another swallowed the lines between.
                    raise _unclosed(path, number)
                if may_be_plain and plain_record.fullmatch(record):
                    yield Record(number, len(written), _ended(record), False)
                else:
                    yield Record(number, len(written), _written(written, target), True)
                number += len(lines) - 1


def _patterns(delimiter: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """A cell in quotes; a record of cells that are in quotes or have none; the same with blanks around quotes."""
    quoted, mark = rb'"[^"]*+(?:""[^"]*+)*+"', re.escape(delimiter)
    bare = rb'[^"%b\r\n]*+' % mark

    def record_of(in_quotes: bytes) -> re.Pattern[bytes]:
        cell = rb"(?:%b|%b)" % (in_quotes, bare)
        return re.compile(rb"%b(?:%b%b)*+\r?\n?" % (cell, mark, cell))

    return re.compile(quoted), record_of(quoted), record_of(rb" *+%b *+" % quoted)


def _cells(path: Path, number: int, lines: list[bytes], source: Iterator[bytes], dialect: Dialect) -> list[str]:
    """The cells of the record that begins with a line; those that it takes from the source are added to `lines`.

    Raises:
        UserError: it does not end.
    """
    is_open = False

    def decoded() -> Iterator[str]:
        nonlocal is_open
        yield lines[0].decode()
        for line in source:
            lines.append(line)
            yield line.decode()
        is_open = True

    try:
        cells = next(dialect.records(decoded()))
    except UnicodeDecodeError as error:
        raise unreadable_file(path, error) from None
    except csv.Error as error:
        raise UserError(
            f"every line of {path.name} must hold cells that can be told apart",
            f"{error}, in line {number}",
            "mending that line, or data.quote=none if a quote is not closed",
        ) from None
    n_quotes = sum(line.count(dialect.quote.encode()) for line in lines) if dialect.quote else 0
    if is_open or (len(lines) > 1 and n_quotes % 2):
        raise _unclosed(path, number)
    return cells


def _unclosed(path: Path, number: int) -> UserError:
    return UserError(
        f"every quote in {path.name} must be closed",
        f"one that opens in line {number} is not",
        "mending that line, or data.quote=none",
    )


def _written(cells: Sequence[str], dialect: Dialect) -> bytes:
    line = io.StringIO()
    # What the line terminator holds is put into quotes, and no other line break.
    csv.writer(line, delimiter=dialect.delimiter, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"
