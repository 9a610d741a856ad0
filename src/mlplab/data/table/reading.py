"""A whole table as a frame, or block by block; every row with as many cells as there are columns."""

import csv
import hashlib
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.paths import require_file
from mlplab.data.table.cells import marker_spellings
from mlplab.data.table.dialect import Dialect
from mlplab.data.table.encoding import unreadable_file
from mlplab.data.table.files import TextFile, TextOptions, rewrite, text_file
from mlplab.errors import Refusal


@dataclass(frozen=True)
class RawTable:
    """A file as it was read: cells as text where they are not all numbers, dates or truth values."""

    frame: pl.DataFrame
    prefers_comma: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What must be known to read a file again as the training file was read."""

    text: TextOptions = field(default_factory=TextOptions)
    missing_values: tuple[str, ...] = ()
    keep_values: Any = None
    as_text: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values only; not the dialect, which another file may have of its own."""
        return {
            "missing_values": list(self.missing_values),
            "keep_values": self.keep_values,
            "as_text": list(self.as_text),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """The inverse of `as_dict`."""
        return cls(TextOptions(), tuple(plain["missing_values"]), plain["keep_values"], tuple(plain["as_text"]))


def read_table(
    path: Path, reading: Reading, *, known_names: Sequence[str] = (), usual_header: bool = True, key: str = "data.path"
) -> RawTable:
    """The whole file, typed where polars is sure of the type.

    Raises:
        Refusal: it cannot be read.
    """
    require_file(path, key)
    if is_parquet(path):
        frame = read_parquet(path)
        if len(frame) == 0 or not frame.columns:
            raise Refusal(f"{key} must hold rows", f"{path} has none", "another file")
        return RawTable(frame)
    with text_file(path, reading.text, known_names=known_names, usual_header=usual_header) as file:
        as_text = [name for name in reading.as_text if name in file.names]
        missing = marker_spellings(reading.missing_values, reading.keep_values)
        frame = read_text(path, file, as_text=as_text, missing=missing)
        return RawTable(frame, file.dialect.delimiter != ",", file.notes)


def fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


INFERENCE_ROWS = 1000
"""Rows from which polars first guesses the types; if a later row does not fit, it looks at all."""


BLOCK_ROWS = 1 << 16
"""Rows that are in memory at once where a file is read in blocks."""


@dataclass(frozen=True)
class Shape:
    """What a look at every line of a file gives."""

    n_rows: int
    blank_rows: tuple[int, ...] = ()
    has_stray_quotes: bool = field(default=False)


def is_parquet(path: Path) -> bool:
    """By its first bytes, not its name."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def read_parquet(path: Path) -> pl.DataFrame:
    """The whole file.

    Raises:
        Refusal: it is damaged.
    """
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable_file(path, error) from None


def parquet_blocks(path: Path) -> Iterator[pl.DataFrame]:
    """The rows in blocks of at most `BLOCK_ROWS`.

    Raises:
        Refusal: it is damaged.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        n_rows = int(scan.select(pl.len()).collect().item())
        for begin in range(0, n_rows, BLOCK_ROWS):
            yield scan.slice(begin, BLOCK_ROWS).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable_file(path, error) from None


def read_text(path: Path, file: TextFile, *, as_text: Sequence[str], missing: Sequence[str]) -> pl.DataFrame:
    """The whole table, with the types that polars infers; columns that are not all of one type come as text.

    Args:
        path: for messages.
        file: to read.
        as_text: names of columns to leave as they are written.
        missing: cells that mean that there is no value.

    Raises:
        Refusal: rows differ in their number of cells, or there is no row.
    """
    shape = require_even_rows(path, file)
    if shape.n_rows == 0:
        raise Refusal("data.path must hold rows below its header", f"{path} has none", "another file")
    with _without_stray_quotes(file, shape) as clean:
        # Guessing from the first rows takes a tenth of the time, and the types seldom change further down.
        for inferred_rows in (INFERENCE_ROWS, None):
            try:
                frame = _read_csv(
                    clean.path,
                    clean,
                    has_header=clean.dialect.has_header,
                    skip_lines=clean.dialect.skip_lines,
                    schema_overrides=dict.fromkeys(as_text, pl.String),
                    null_values=list(missing),
                    infer_schema_length=inferred_rows,
                )
                break
            except pl.exceptions.ComputeError as error:
                if inferred_rows is None:
                    raise unreadable_file(path, error) from None
    if shape.blank_rows and len(file.names) > 1:
        frame = frame.filter(~pl.int_range(pl.len()).is_in(list(shape.blank_rows)))
    return frame


def text_blocks(path: Path, file: TextFile) -> Iterator[pl.DataFrame]:
    """The table in blocks of at most `BLOCK_ROWS` rows, every cell as it is written, empty ones null.

    Raises:
        Refusal: rows differ in their number of cells.
    """
    shape = require_even_rows(path, file)
    with _without_stray_quotes(file, shape) as clean:
        records = (record for _, width, record in _records(path, clean) if width > 0)
        if clean.dialect.has_header:
            next(records, None)
        while block := list(itertools.islice(records, BLOCK_ROWS)):
            last = b"" if block[-1].endswith(b"\n") else b"\n"
            yield _read_csv(BytesIO(b"".join([*block, last])), clean, has_header=False, infer_schema=False)


def _read_csv(source: Path | BytesIO, file: TextFile, **options: object) -> pl.DataFrame:
    return pl.read_csv(
        source,
        new_columns=list(file.names),
        separator=file.dialect.delimiter,
        quote_char=file.dialect.quote or None,
        glob=False,
        **options,  # type: ignore[arg-type]
    )


def require_even_rows(path: Path, file: TextFile) -> Shape:
    """Looks at every line once.

    Raises:
        Refusal: a row has more or fewer cells than there are columns; with how many do, and the first.
    """
    n_columns, n_rows, n_ragged = len(file.names), -1 if file.dialect.has_header else 0, 0
    blank: list[int] = []
    first_ragged: tuple[int, int] | None = None
    has_stray_quotes = False
    quote = file.dialect.quote.encode()
    n_lines = 0
    for line, width, record in _records(path, file):
        n_lines += 1
        if width == 0:
            blank.append(n_rows + len(blank))
            continue
        n_rows += 1
        if width != n_columns:
            n_ragged += 1
            first_ragged = first_ragged or (line, width)
        elif quote and not has_stray_quotes and quote in record:
            has_stray_quotes = _has_stray_quote(record.decode(), file.dialect)
    if first_ragged is not None:
        line, width = first_ragged
        rows = "row differs" if n_ragged == 1 else "rows differ"
        remedy = "mending the file"
        if n_ragged == n_rows and n_rows > 0:
            remedy = "data.delimiter=… and data.skip_lines=…, if they were not detected rightly"
        raise Refusal(
            f"every row of {path.name} must have {n_columns} cells, as its first line has",
            f"{n_ragged} {rows}, the first in line {line} with {width}",
            remedy,
        )
    # A blank line at the very end is no row, and polars takes it for none or for one.
    return Shape(max(n_rows, 0), tuple(blank), has_stray_quotes)


def _records(path: Path, file: TextFile) -> Iterator[tuple[int, int, bytes]]:
    """Each record with the number of its first line and of its cells; 0 cells for a blank line."""
    delimiter, quote = file.dialect.delimiter.encode(), file.dialect.quote.encode()
    with file.path.open("rb") as source:
        number = 0
        for _ in range(file.dialect.skip_lines):
            next(source, None)
            number += 1
        for line in source:
            number += 1
            first_line = number
            if not line.strip(b" \t\r\n" if delimiter != b"\t" else b" \r\n"):
                yield first_line, 0, line
                continue
            if not quote or quote not in line:
                yield first_line, line.count(delimiter) + 1, line
                continue
            consumed = [line]

            def more(consumed: list[bytes] = consumed) -> Iterator[str]:
                yield consumed[0].decode()
                for further in source:
                    consumed.append(further)
                    yield further.decode()

            try:
                cells = next(csv.reader(more(), delimiter=file.dialect.delimiter, quotechar=file.dialect.quote))
            except (csv.Error, StopIteration, UnicodeDecodeError):
                cells = []
            number += len(consumed) - 1
            record = b"".join(consumed)
            if len(consumed) > 1 and record.count(quote) % 2:
                raise Refusal(
                    f"every quote in {path.name} must be closed",
                    f"one that opens in line {first_line} is not",
                    "mending that line, or data.quote=none",
                )
            yield first_line, len(cells), record


def _has_stray_quote(record: str, dialect: Dialect) -> bool:
    """Whether a quote stands within a cell without being doubled, which readers take in different ways."""
    quote = dialect.quote
    if record.count(quote) % 2:
        return True
    cells = next(csv.reader(record.splitlines(keepends=True), delimiter=dialect.delimiter, quotechar=quote))
    written = sum(2 * cell.count(quote) for cell in cells)
    return any(quote in cell for cell in cells) and f"{quote}{quote}" not in record and written > 0


@contextmanager
def _without_stray_quotes(file: TextFile, shape: Shape) -> Iterator[TextFile]:
    if not shape.has_stray_quotes:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        with file.path.open(encoding="utf-8-sig", newline="") as source:
            dialect = rewrite(source, file.dialect, copy)
        yield TextFile(copy, dialect, file.names, file.notes)
