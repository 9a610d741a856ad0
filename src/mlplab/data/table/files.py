"""Opening a table file, whatever it is: plain or gzip, any encoding, text or Parquet."""

import codecs
import csv
import gzip
import itertools
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO

import polars as pl

from mlplab.data.table.dialect import Dialect, detect_dialect
from mlplab.errors import Refusal

SAMPLE_BYTES = 1 << 18
"""Of the beginning of a file, from which its dialect is detected."""

SAMPLE_LINES = 500

INFERENCE_ROWS = 1000
"""Rows from which polars first guesses the types; if a later row does not fit, it looks at all."""

BLOCK_ROWS = 1 << 16
"""Rows that are in memory at once where a file is read in blocks."""


@dataclass(frozen=True)
class TextOptions:
    """What the user says of a text file instead of letting it be detected."""

    delimiter: str = "auto"
    quote: str = "auto"
    header: bool | str = "auto"
    encoding: str = "auto"
    skip_lines: int = 0


@dataclass(frozen=True)
class TextFile:
    """A file of UTF-8 text that polars reads as it stands.

    Attributes:
        path: of the file itself, or of a copy that lives as long as `text_file`.
        dialect: of that file.
        names: of the columns.
        notes: what was detected, for people.
    """

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


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
        raise _unreadable(path, error) from None


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
        raise _unreadable(path, error) from None


@contextmanager
def text_file(
    path: Path, options: TextOptions, *, known_names: Sequence[str] = (), usual_header: bool = True
) -> Iterator[TextFile]:
    """A text file made readable: unpacked, in UTF-8, with the delimiter and the quotes that polars knows.

    Only what polars cannot read as it stands is copied, into a temporary file.

    Raises:
        Refusal: it is no text, or its header does not name every column once.
    """
    notes = []
    sample, is_whole = _sample(path)
    encoding = _encoding(path, sample) if options.encoding == "auto" else options.encoding
    try:
        codec = codecs.lookup(encoding).name
        text = codecs.getincrementaldecoder(encoding)().decode(sample, final=is_whole)
    except (LookupError, UnicodeError) as error:
        raise Refusal(
            "data.encoding must be the file's own", f"data.encoding={encoding}: {error}", "data.encoding=auto"
        ) from None
    if encoding == "latin-1" and options.encoding == "auto":
        notes.append("the file is no UTF-8 and is read as latin-1; data.encoding=… says otherwise")
    lines = text.removeprefix("\ufeff").splitlines()
    lines = (lines if is_whole or len(lines) < 2 else lines[:-1])[: SAMPLE_LINES + options.skip_lines]
    dialect = detect_dialect(
        lines,
        delimiter=options.delimiter,
        quote=options.quote,
        header=options.header,
        skip_lines=options.skip_lines,
        known_names=known_names,
        usual_header=usual_header,
    )
    records = dialect.cells([line for line in lines[dialect.skip_lines :] if line.strip()])
    if not records:
        raise Refusal("data.path must hold a table", f"{path} has no line with anything in it", "another file")
    names = _names(records[0], dialect, path)
    if not dialect.has_header and options.header == "auto":
        notes.append(f"no header line was found: the columns are called column_1 to column_{len(names)}")
    is_utf8 = codec in ("utf-8", "utf-8-sig", "ascii")
    odd_text = _is_gzip(path) or not is_utf8 or "\r" in text.replace("\r\n", "")
    odd_cells = dialect.delimiter == " " or dialect.quote not in ('"', "") or _has_padded_quotes(lines, dialect)
    if not odd_text and not odd_cells:
        yield TextFile(path, dialect, names, tuple(notes))
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        try:
            with _open(path) as packed, TextIOWrapper(packed, encoding=encoding, newline=None) as source:
                if odd_cells:
                    dialect = _rewrite(source, dialect, copy)
                else:
                    with copy.open("w", encoding="utf-8") as target:
                        for block in iter(lambda: source.read(1 << 24), ""):
                            target.write(block)
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            raise _unreadable(path, error) from None
        yield TextFile(copy, dialect, names, tuple(notes))


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
                    raise _unreadable(path, error) from None
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
            dialect = _rewrite(source, file.dialect, copy)
        yield TextFile(copy, dialect, file.names, file.notes)


def _rewrite(source: IO[str], dialect: Dialect, copy: Path) -> Dialect:
    """Writes the records anew, with commas and double quotes; blank lines stay blank."""
    for _ in range(dialect.skip_lines):
        source.readline()
    options = {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
    lines = (line.strip() + "\n" for line in source) if dialect.delimiter == " " else source
    with copy.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        for record in csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=True, **options):
            if record:
                writer.writerow(record)
            else:
                target.write("\n")
    return Dialect(",", '"', dialect.has_header, 0)


def _names(cells: Sequence[str], dialect: Dialect, path: Path) -> tuple[str, ...]:
    """The names of the columns, without blanks around them.

    Raises:
        Refusal: one is blank, or there twice.
    """
    if not dialect.has_header:
        return tuple(f"column_{number}" for number in range(1, len(cells) + 1))
    names = tuple(cell.strip() for cell in cells)
    blank = [number for number, name in enumerate(names, 1) if not name]
    if blank:
        raise Refusal(
            "every column must have a name",
            f"{len(blank)} of {len(names)} in {path.name} {'has' if len(blank) == 1 else 'have'} none, "
            f"the first is column {blank[0]}",
            "naming it in the first line, or data.header=false if that line holds values",
        )
    repeated = sorted({name for name in names if names.count(name) > 1}, key=names.index)
    if repeated:
        places = [str(number) for number, name in enumerate(names, 1) if name == repeated[0]]
        raise Refusal(
            "every column must have a name of its own",
            f"{len(repeated)} {'name is' if len(repeated) == 1 else 'names are'} there more than once in {path.name}: "
            f"{repeated[0]!r} names columns {' and '.join(places)}",
            "renaming one in the first line, or data.header=false if that line holds values",
        )
    return names


def _has_padded_quotes(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether blanks stand between a delimiter and a quote, where polars would take the quote for text."""
    quote = dialect.quote
    return bool(quote) and any(f"{dialect.delimiter} {quote}" in line for line in lines)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _sample(path: Path) -> tuple[bytes, bool]:
    """The first bytes, and whether they are all.

    Raises:
        Refusal: they are no text.
    """
    try:
        with _open(path) as file:
            sample = file.read(SAMPLE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    is_utf16 = sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if sample.startswith(b"PK\x03\x04"):
        raise Refusal(
            "data.path must be text or Parquet",
            f"{path} is a zip archive, as Excel's .xlsx is",
            "saving the sheet as CSV",
        )
    if b"\x00" in sample and not is_utf16:
        raise Refusal("data.path must be text or Parquet", f"{path} holds bytes that are no text", "another file")
    return sample[:SAMPLE_BYTES], len(sample) <= SAMPLE_BYTES


def _encoding(path: Path, sample: bytes) -> str:
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _open(path) as file:
            for block in iter(lambda: file.read(1 << 24), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    return "utf-8-sig" if sample.startswith(codecs.BOM_UTF8) else "utf-8"


def _unreadable(path: Path, error: Exception) -> Refusal:
    reason = " ".join(str(error).split())[:200]
    return Refusal("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
