"""A whole table as a frame, or block by block; every row with as many cells as there are columns."""

import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.paths import require_file
from mlplab.data.table.cells import marker_spellings
from mlplab.data.table.encoding import unreadable_file
from mlplab.data.table.files import TextFile, TextOptions, text_file
from mlplab.data.table.records import Record, plain_dialect, read_records
from mlplab.data.table.text_scan import scan_text
from mlplab.errors import UserError, counted


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
    decimal: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Plain values only; of how the file was written what was said, for another is likely written alike."""
        return {
            "text": asdict(self.text),
            "missing_values": list(self.missing_values),
            "keep_values": self.keep_values,
            "as_text": list(self.as_text),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """The inverse of `as_dict`."""
        text = TextOptions(**plain["text"])
        if text.encoding != "auto" and not text.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
            text = replace(text, encoding="auto", encoding_if_not_utf8=text.encoding)
        return cls(text, tuple(plain["missing_values"]), plain["keep_values"], tuple(plain["as_text"]))


def read_table(
    path: Path, reading: Reading, *, known_names: Sequence[str] = (), usual_header: bool = True, key: str = "data.path"
) -> RawTable:
    """The whole file, typed where polars is sure of the type.

    Raises:
        UserError: it cannot be read.
    """
    require_file(path, key)
    if is_parquet(path):
        frame = read_parquet(path)
        if len(frame) == 0 or not frame.columns:
            raise UserError(f"{key} must hold rows", f"{path} has none", "another file")
        return RawTable(frame)
    with text_file(path, reading.text, known_names=known_names, usual_header=usual_header) as file:
        # Where the comma is the decimal mark, polars would take 1.234 for little more than 1.
        as_text = [name for name in file.names if reading.decimal == "," or name in reading.as_text]
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


UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises over a damaged file; a panic is no `Exception`."""


@dataclass(frozen=True)
class Shape:
    """What a look at every line of a file gives.

    Attributes:
        n_rows: without the header and blank lines.
        is_plain: whether all readers agree about it: no blank line, and no quote that does not open or close a
            cell or stand doubled within one.
        spellings: of the cells that were searched for, those that the file may have.
    """

    n_rows: int
    is_plain: bool
    spellings: tuple[str, ...] = ()


def is_parquet(path: Path) -> bool:
    """By its first bytes, not its name."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def read_parquet(path: Path) -> pl.DataFrame:
    """The whole file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return pl.read_parquet(path, glob=False).rechunk()
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None


def parquet_blocks(path: Path) -> Iterator[pl.DataFrame]:
    """The rows in blocks of at most `BLOCK_ROWS`.

    Raises:
        UserError: it is damaged.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        n_rows = int(scan.select(pl.len()).collect().item())
        for begin in range(0, n_rows, BLOCK_ROWS):
            yield scan.slice(begin, BLOCK_ROWS).collect()
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None


def read_text(path: Path, file: TextFile, *, as_text: Sequence[str], missing: Sequence[str]) -> pl.DataFrame:
    """The whole table, with the types that polars infers; columns that are not all of one type come as text.

    Args:
        path: for messages.
        file: to read.
        as_text: names of columns to leave as they are written.
        missing: cells that mean that there is no value.

    Raises:
        UserError: rows differ in their number of cells, or there is no row.
    """
    shape = require_even_rows(path, file, missing)
    if shape.n_rows == 0:
        raise UserError("data.path must hold rows below its header", f"{path} has none", "another file")
    with _plain_copy(path, file, shape) as plain:
        # Guessing from the first rows takes a tenth of the time, and the types seldom change further down. Where
        # polars guesses a type that a cell does not have, the columns find out for themselves what they hold.
        for inference in (
            {"infer_schema_length": INFERENCE_ROWS},
            {"infer_schema_length": None},
            {"infer_schema": False},
        ):
            try:
                frame = _read_csv(
                    plain.path,
                    plain,
                    has_header=plain.dialect.has_header,
                    skip_lines=plain.dialect.skip_lines,
                    schema_overrides=dict.fromkeys(as_text, pl.String),
                    # Comparing each cell with each marker takes as long as half of the reading.
                    null_values=list(shape.spellings),
                    **inference,
                )
                break
            except UNREADABLE as error:
                if "infer_schema" in inference:
                    raise unreadable_file(path, error) from None
    assert len(frame) == shape.n_rows, f"{path}: polars found {len(frame)} of {shape.n_rows} rows"
    return frame.rechunk()  # each look at a column would put its pieces together


def text_blocks(path: Path, file: TextFile) -> Iterator[pl.DataFrame]:
    """The table in blocks of at most `BLOCK_ROWS` rows, every cell as it is written, empty ones null.

    Raises:
        UserError: rows differ in their number of cells.
    """
    require_even_rows(path, file)
    plain = replace(file, dialect=plain_dialect(file.dialect))
    records = (record.plain for record in read_records(path, file) if record.n_cells > 0)
    if file.dialect.has_header:
        next(records, None)
    while block := b"".join(itertools.islice(records, BLOCK_ROWS)):
        try:
            yield _read_csv(io.BytesIO(block), plain, has_header=False, infer_schema=False)
        except UNREADABLE as error:
            raise unreadable_file(path, error) from None


def _read_csv(source: Path | io.BytesIO, file: TextFile, **options: object) -> pl.DataFrame:
    return pl.read_csv(
        source,
        new_columns=list(file.names),
        separator=file.dialect.delimiter,
        quote_char=file.dialect.quote or None,
        glob=False,
        **options,  # type: ignore[arg-type]
    )


def require_even_rows(path: Path, file: TextFile, spellings: Sequence[str] = ()) -> Shape:
    """Looks at every line once; line by line only where a quick scan leaves something open.

    Args:
        path: for messages.
        file: to read.
        spellings: cells to search for.

    Raises:
        UserError: a row has more or fewer cells than there are columns; with how many do, and the first.
    """
    scan = scan_text(file, spellings)
    if scan is not None:
        return Shape(scan.n_records - file.dialect.has_header, True, scan.spellings)
    n_columns, n_records, n_ragged = len(file.names), 0, 0
    first_ragged: Record | None = None
    is_plain = True
    for record in read_records(path, file):
        is_plain = is_plain and record.n_cells > 0 and not record.is_rewritten
        n_records += record.n_cells > 0
        if record.n_cells not in (0, n_columns):
            n_ragged += 1
            first_ragged = first_ragged or record
    n_rows = n_records - 1 if file.dialect.has_header else n_records
    if first_ragged is not None:
        rows = "row differs" if n_ragged == 1 else "rows differ"
        remedy = "mending the file"
        if n_ragged == n_rows and n_rows > 0:
            remedy = "data.delimiter=… and data.skip_lines=…, if they were not detected rightly"
        elif n_columns == 1 and first_ragged.line > 1 and n_ragged > 0.5 * n_records:
            remedy = f"data.skip_lines={first_ragged.line - 1}, if the lines before are no part of the table"
        raise UserError(
            f"every row of {path.name} must have {counted(n_columns, 'cell')}, as its first line has",
            f"{n_ragged} {rows}, the first in line {first_ragged.line} with {first_ragged.n_cells}",
            remedy,
        )
    return Shape(n_rows, is_plain, tuple(spellings))


@contextmanager
def _plain_copy(path: Path, file: TextFile, shape: Shape) -> Iterator[TextFile]:
    """The file itself if it is plain, else a copy that is."""
    if shape.is_plain:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        with copy.open("wb") as target:
            target.writelines(record.plain for record in read_records(path, file) if record.n_cells > 0)
        yield replace(file, path=copy, dialect=plain_dialect(file.dialect))
