"""Reads a file as a frame, or block by block: every row has a value, or a null, in each column."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlplab.config.paths import require_file
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.strings import MISSING, has_few_strings, null_missing
from mlplab.data.table.text_encoding import BLOCK_BYTES, unreadable_file
from mlplab.data.table.text_layout import TextFile, TextOptions, open_text
from mlplab.data.table.text_records import copy_plainly, count_rows
from mlplab.data.threads import for_each
from mlplab.errors import UserError

INFERENCE_ROWS = 1000
"""Rows from which polars first infers the types. If a later row does not fit, it looks at all."""

BLOCK_ROWS = 1 << 16
"""Rows that are in memory at once where a file is read in blocks."""

LONGEST_CODE = 64
"""Digits of the longest code whose leading zero is found."""

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""Errors of polars over a damaged file; a panic is no `Exception`."""


@dataclass(frozen=True)
class RawTable:
    """A file as it was read: text where a column does not consist of numbers, dates or truth values alone.

    Attributes:
        frame: null where a value is missing.
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        notes: what was detected, for people.
    """

    frame: pl.DataFrame
    prefers_comma: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Says how a file was read, to read another one like it.

    Attributes:
        text: layout of text files.
        missing_values: strings that stand for a missing value, beside the usual ones.
        keep_values: of the usual ones, those that are categories: a list for all columns, or a dict by column.
        as_text: columns in which polars infers no type.
        decimal: the decimal mark; "," leaves all columns as text.
        keeps_zeros: leaves whole numbers as text where one begins with 0, as releases up to 0.5 did not.
    """

    text: TextOptions = field(default_factory=TextOptions)
    missing_values: tuple[str, ...] = ()
    keep_values: Any = None
    as_text: tuple[str, ...] = ()
    decimal: str = "auto"
    keeps_zeros: bool = True

    def kept(self, name: str) -> tuple[str, ...]:
        """Returns the missing markers that are categories in a column."""
        kept = self.keep_values.get(name, []) if isinstance(self.keep_values, Mapping) else self.keep_values
        return tuple(str(value) for value in ([kept] if isinstance(kept, str) else kept or []))

    def markers(self) -> list[str]:
        """Returns spellings of missing values for polars to look for; without those that are kept in any column."""
        names = self.keep_values if isinstance(self.keep_values, Mapping) else [""]
        # polars looks for markers in all columns alike, so what one column keeps is left to `null_missing`.
        kept = {value for name in names for value in self.kept(name)}
        # polars compares exactly: every usual mixture of capitals is a marker of its own.
        usual = {spelling for word in MISSING for spelling in (word, word.upper(), word.title(), word.capitalize())}
        return sorted((usual | {"NaN", *self.missing_values}) - kept)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values. Of the layout they hold what the user said, as another file is likely written alike."""
        return {
            "text": asdict(self.text),
            "missing_values": list(self.missing_values),
            "keep_values": self.keep_values,
            "as_text": list(self.as_text),
            "keeps_zeros": self.keeps_zeros,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """Rebuilds the reading from `as_dict`. UTF-8 is recognised in another file, whatever the encoding was."""
        text = TextOptions(**plain["text"])
        # UTF-16 without a byte-order mark would be refused for its zero bytes, so here the user's word stands.
        if text.encoding != "auto" and not text.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
            text = replace(text, encoding="auto", encoding_if_not_utf8=text.encoding)
        return cls(
            text,
            tuple(plain["missing_values"]),
            plain["keep_values"],
            tuple(plain["as_text"]),
            keeps_zeros=plain.get("keeps_zeros", False),
        )


def read_table(
    path: Path, reading: Reading, *, known_names: Sequence[str] = (), labels: Sequence[str] = (), key: str = "data.path"
) -> RawTable:
    """Reads a whole file, typed where polars is sure of the type.

    Args:
        path: CSV, TSV, gzip of them, or Parquet.
        reading: how.
        known_names: names of columns that the file should have.
        labels: columns of which text is kept as it is written, 1.0 and TRUE, if the same comes in many rows.
        key: option that names the file, for messages.

    Raises:
        UserError: it cannot be read, or has no rows.
    """
    require_file(path, key)
    if is_parquet(path):
        try:
            # By default polars takes * and [ ] in a file's name for a pattern of several files.
            raw = RawTable(pl.read_parquet(path, glob=False))
        except UNREADABLE as error:
            raise unreadable_file(path, error) from None
        as_text: Sequence[str] = raw.frame.columns
    else:
        with open_text(path, reading.text, known_names=known_names) as file:
            # Where the comma is the decimal mark, polars would take 1.234 for little more than 1.
            kept_text = {*reading.as_text, *labels}
            as_text = [name for name in file.names if reading.decimal == "," or name in kept_text]
            with plain_text(path, file) as (plain, n_rows):
                frame = _read_csv(path, plain, as_text, reading.markers())
                frame = _with_leading_zeros(plain, frame) if reading.keeps_zeros else frame
            # Two readers have counted the rows: a difference would mean that rows are lost without a word.
            assert len(frame) == n_rows, f"{path}: polars found {len(frame)} of {n_rows} rows"
            # Between commas, a decimal comma would need quotes, so it is unlikely there.
            raw = RawTable(frame, file.dialect.delimiter != ",", file.notes)
    if len(raw.frame) == 0 or not raw.frame.columns:
        raise UserError(f"{key} must hold rows", f"{path} has none", "another file")

    def column(series: pl.Series) -> pl.Series:
        # Each look at a column would put its pieces together.
        series = series.rechunk()
        # What hardly repeats is no label. As numbers, it needs no pass over its strings.
        if series.name in labels and series.dtype == pl.String and not has_few_strings(series):
            series = series if reading.decimal == "," else _typed(series, keeps_zeros=reading.keeps_zeros)
        known = null_missing(series, reading.kept(series.name), reading.missing_values)
        return known if series.name in as_text else _typed_beside_nulls(known, keeps_zeros=reading.keeps_zeros)

    return replace(raw, frame=pl.DataFrame(for_each(raw.frame, column)))


def read_grouping_points(frame: pl.DataFrame, path: Path, reading: Reading) -> list[pl.Series]:
    """Returns as text the columns of numbers whose points may all group thousands.

    In a file with decimal commas, 1.234 is more likely 1234.
    """
    doubtful = [series.name for series in frame if series.dtype.is_float()]
    if not doubtful or is_parquet(path):
        return []
    text = read_table(path, replace(reading, decimal=","), known_names=frame.columns).frame.select(doubtful)
    return [series for series in text if plain_numbers(series, ",", ".").null_count() == series.null_count()]


def _typed_beside_nulls(series: pl.Series, *, keeps_zeros: bool) -> pl.Series:
    """Types a column of text as polars would have done, had nulls stood in place of its missing markers."""
    return series if series.null_count() in (0, len(series)) else _typed(series, keeps_zeros=keeps_zeros)


def _typed(series: pl.Series, *, keeps_zeros: bool) -> pl.Series:
    """Types a column if all of its text is numbers."""
    if series.dtype != pl.String:
        return series
    # Whole numbers first, as these may number the rows or be classes; long ones exactly.
    # The first rows rule most text out without a pass over the column.
    for dtype in (pl.Int64, pl.Int128, pl.Float64):
        if all(rows.cast(dtype, strict=False).null_count() == rows.null_count() for rows in (series.head(99), series)):
            # As a number, the code 007 would be 7.
            is_code = keeps_zeros and dtype != pl.Float64 and _has_leading_zero(series)
            return series if is_code else series.cast(dtype)
    return series


def fingerprint(paths: Sequence[Path]) -> str:
    """Returns the SHA-256 over the bytes of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            # Each file is hashed by itself: a row that moves from one file to the other changes the result.
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def is_parquet(path: Path) -> bool:
    """Looks at the first bytes, not at the name."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parquet_blocks(path: Path) -> Iterator[pl.DataFrame]:
    """Yields the rows in blocks of at most `BLOCK_ROWS`.

    Raises:
        UserError: the file is damaged.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        # Only the blocks are ever in memory, so the file may be larger.
        n_rows = int(scan.select(pl.len()).collect().item())
        for begin in range(0, n_rows, BLOCK_ROWS):
            yield scan.slice(begin, BLOCK_ROWS).collect()
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None


def text_blocks(path: Path, file: TextFile) -> Iterator[pl.DataFrame]:
    """Yields the rows in blocks of at most `BLOCK_ROWS`, every column as text, null where a string is empty.

    Raises:
        UserError: rows differ in their number of strings.
    """
    with plain_text(path, file) as (plain, _):
        try:
            # Types inferred from one block could differ from those of the next.
            scan = pl.scan_csv(plain.path, **_csv_options(plain), infer_schema=False)
            yield from scan.collect_batches(chunk_size=BLOCK_ROWS)
        except UNREADABLE as error:
            raise unreadable_file(path, error) from None


@contextmanager
def plain_text(path: Path, file: TextFile) -> Iterator[tuple[TextFile, int]]:
    """Yields the file itself if all readers agree about it, else a temporary copy; and the number of its rows.

    Raises:
        UserError: rows differ in their number of strings.
    """
    n_rows = count_rows(file)
    if n_rows is not None:
        yield file, n_rows
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        yield copy_plainly(path, file, Path(folder) / "table.csv")


def _read_csv(path: Path, file: TextFile, as_text: Sequence[str], markers: Sequence[str]) -> pl.DataFrame:
    """Reads a plain file; columns that are not all of one type come as text."""
    attempts: list[dict[str, Any]] = [
        # Inferring from the first rows takes a tenth of the time, and the types seldom change further down.
        {"infer_schema_length": INFERENCE_ROWS},
        # Comparing each string with each marker takes as long as half of the reading.
        {"infer_schema_length": INFERENCE_ROWS, "null_values": markers},
        {"infer_schema_length": None, "null_values": markers},
        # polars may infer a type that a string does not have. Then `infer_column` finds the types alone.
        {"infer_schema": False},
    ]
    overrides = dict.fromkeys(as_text, pl.String)
    for attempt in attempts:
        try:
            return pl.read_csv(file.path, **_csv_options(file), schema_overrides=overrides, **attempt)
        except UNREADABLE as error:
            # Python deletes the name `error` at the end of its clause.
            last_error = error
    raise unreadable_file(path, last_error)


def _with_leading_zeros(file: TextFile, frame: pl.DataFrame) -> pl.DataFrame:
    """Puts text in place of whole numbers where one begins with 0: the code 01234 may be another than 1234."""
    places = [place for place, series in enumerate(frame) if series.dtype.is_integer()]
    # The look takes a tenth of the time of the reading.
    if not places or not has_leading_zero(file):
        return frame
    text = pl.read_csv(file.path, **_csv_options(file), columns=places, infer_schema=False)
    return frame.with_columns(series for series in text if _has_leading_zero(series))


def _has_leading_zero(text: pl.Series) -> bool:
    return bool(text.str.contains(r"^\s*0\d").any())


def has_leading_zero(file: TextFile) -> bool:
    """Looks through the bytes of a plain file for a string of digits that begins with 0, but is not 0."""
    ends = [ord(file.dialect.delimiter), *b'\n\r"']
    before = b"\n"
    with file.path.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            # Strings that the end of a block cuts are in the next one, too.
            text = np.frombuffer(before + block + b"\n" * (len(block) < BLOCK_BYTES), np.uint8)
            before = (before + block)[-LONGEST_CODE:]
            first, second, third = text[:-2], text[1:-1], text[2:]
            begins = (first == ends[0]) | (first == ends[1]) | (first == ends[3])
            end = np.flatnonzero(begins & (second == ord("0")) & (third >= ord("0")) & (third <= ord("9"))) + 3
            while len(end := end[end < len(text)]):
                if np.isin(text[end], ends).any():
                    return True
                end = end[(text[end] >= ord("0")) & (text[end] <= ord("9"))] + 1
    return False


def _csv_options(file: TextFile) -> dict[str, Any]:
    dialect = file.dialect
    return {
        "has_header": dialect.has_header,
        "skip_lines": dialect.skip_lines,
        "separator": dialect.delimiter,
        "quote_char": dialect.quote or None,
        # Without the blanks and line breaks of the header.
        "new_columns": list(file.names),
        "glob": False,
    }
