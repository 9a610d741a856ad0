"""Reads a file as a frame, or block by block: every row has a value, or a null, in each column."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl

from mlplab.config.paths import parquet_files, require_data_file
from mlplab.data.table.file_formats import format_of, unpacked, unreadable_file
from mlplab.data.table.json_tables import read_json
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.spreadsheets import sheet_as_text
from mlplab.data.table.strings import MISSING, has_few_strings, null_missing, override_of
from mlplab.data.table.text_encoding import BLOCK_BYTES, Encoding, find_encoding, first_lines
from mlplab.data.table.text_encoding import UNREADABLE as NOT_DECODED
from mlplab.data.table.text_footer import without_tail
from mlplab.data.table.text_header import UNNAMED, TextFile, find_header
from mlplab.data.table.text_layout import TextOptions
from mlplab.data.table.text_records import copy_plainly, count_rows
from mlplab.data.threads import for_each
from mlplab.errors import UserError, counted

INFERENCE_ROWS = 1000
"""Rows from which polars first infers the types. If a later row does not fit, it looks at all."""

BLOCK_ROWS = 1 << 16
"""Rows that are in memory at once where a file is read in blocks."""

LONGEST_CODE = 64
"""Digits of the longest code whose leading zero is found."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a folder."""

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""Errors of polars over a damaged file; a panic is no `Exception`."""


@dataclass(frozen=True)
class RawTable:
    """A file as it was read: text where a column does not consist of numbers, dates or truth values alone.

    Attributes:
        frame: null where a value is missing.
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        notes: what was detected, for people.
        encoding: of the text, where it is no Unicode; else "auto".
        first_names: names that the first line would give, where none was found to give names.
    """

    frame: pl.DataFrame
    prefers_comma: bool = False
    notes: tuple[str, ...] = ()
    encoding: str = "auto"
    first_names: tuple[str, ...] = ()


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

    def like(self, raw: RawTable) -> "Reading":
        """Returns the reading of a further file that is to mean the same as `raw`."""
        # Text where that had text, so that 1.234 and 007 mean the same in both.
        as_text = tuple(series.name for series in raw.frame if series.dtype == pl.String)
        return replace(self, as_text=as_text, text=replace(self.text, encoding_if_not_utf8=raw.encoding))

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
        # Earlier releases wrote no sheet.
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
        path: a table in any of the formats that `open_table` takes.
        reading: how.
        known_names: names of columns that the file should have.
        labels: columns of which text is kept as it is written, 1.0 and TRUE, if the same comes in many rows.
        key: option that names the file, for messages.

    Raises:
        UserError: it cannot be read, or has no rows.
    """
    with open_table(path, reading.text, known_names=known_names, key=key) as opened:
        as_text: Sequence[str]
        if isinstance(opened.rows, TextFile):
            file = opened.rows
            # Where the comma is the decimal mark, polars would take 1.234 for little more than 1.
            kept_text = {*reading.as_text, *labels}
            as_text = [name for name in file.names if reading.decimal == "," or name in kept_text]
            with plain_text(path, file) as (plain, n_rows):
                if n_rows == 0:
                    raise UserError(f"{key} must hold rows", f"{path} has none", "another file")
                frame = _read_csv(path, plain, as_text, reading.markers())
                frame = _with_leading_zeros(plain, frame) if reading.keeps_zeros else frame
            # Two readers have counted the rows: a difference would mean that rows are lost without a word.
            assert len(frame) == n_rows, f"{path}: polars found {len(frame)} of {n_rows} rows"
            # Between commas, a decimal comma would need quotes, so it is unlikely there.
            prefers_comma = file.dialect.delimiter != "," and not opened.is_converted
            raw = RawTable(frame, prefers_comma, (*opened.notes, *plain.notes), opened.encoding, file.first_names)
            unnamed: Sequence[str] = file.unnamed
        else:
            try:
                raw = RawTable(opened.rows.collect(), notes=opened.notes)
            except UNREADABLE as error:
                raise unreadable_file(path, error) from None
            as_text = raw.frame.columns
            unnamed = [name for name in as_text if UNNAMED.fullmatch(name)]
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

    frame = pl.DataFrame(for_each(raw.frame, column))
    frame, notes = _without_index(frame, [name for name in unnamed if name not in known_names])
    return replace(raw, frame=frame, notes=(*raw.notes, *notes))


def without_empty_rows(raw: RawTable, of_file: str = "") -> RawTable:
    """Leaves out the rows in which no column has a value, as spreadsheets leave them between others."""
    # Nearly every table has a column without gaps, and needs no further look.
    if any(series.null_count() == 0 for series in raw.frame):
        return raw
    frame = raw.frame.filter(~pl.all_horizontal(pl.all().is_null()))
    n_empty = len(raw.frame) - len(frame)
    if not n_empty or not len(frame):
        return raw
    are = "row has no value and is" if n_empty == 1 else "rows have no value and are"
    return replace(raw, frame=frame, notes=(*raw.notes, f"{n_empty:,} {are} left out{of_file}, and not counted"))


def _without_index(frame: pl.DataFrame, unnamed: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Leaves out columns without a name that are empty or number or name the rows; returns notes on all of them."""
    empty = [name for name in unnamed if frame[name].null_count() == len(frame)]
    index = []
    # Only in front: further to the right, whole numbers are more likely values.
    for series in frame.get_columns():
        is_name = series.dtype.is_integer() or series.dtype == pl.String
        if series.name not in unnamed or not is_name or series.null_count() or series.n_unique() < max(len(series), 2):
            break
        index.append(series.name)
    used = [name for name in unnamed if name not in (*empty, *index)]
    notes = []
    if empty:
        notes.append(f"{counted(len(empty), 'column')} without a name and without values {_are(empty)} left out")
    for name in index:
        hint = override_of("data.numeric" if frame[name].dtype.is_integer() else "data.categorical", [name])
        notes.append(f"a column without a name, {name}, numbers or names the rows: left out; {hint} takes it")
    if used:
        shown = ", ".join(used[:3]) + (", …" if len(used) > 3 else "")
        notes.append(f"{counted(len(used), 'column')} without a name {_are(used)} called {shown}")
    return frame.drop([*empty, *index]), notes


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def read_grouping_points(frame: pl.DataFrame, path: Path, reading: Reading) -> list[pl.Series]:
    """Returns as text the columns of numbers whose points may all group thousands.

    In a file with decimal commas, 1.234 is more likely 1234.
    """
    doubtful = [series.name for series in frame if series.dtype.is_float()]
    with unpacked(path) as plain:
        if not doubtful or format_of(plain, path) != "text":
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
    """Returns the SHA-256 over the bytes of files, and of the files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for part in parquet_files(path) if path.is_dir() else [path]:
            with part.open("rb") as file:
                # Each file is hashed by itself: a row that moves from one file to the other changes the result.
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class OpenTable:
    """A file that is open for reading.

    Attributes:
        rows: a text file, or the frame of another format, which polars reads when it is collected.
        notes: what was detected before the layout of the text, for people.
        encoding: of the text, where it is no Unicode; else "auto".
        is_converted: whether the text was written from a spreadsheet.
    """

    rows: TextFile | pl.LazyFrame
    notes: tuple[str, ...] = ()
    encoding: str = "auto"
    is_converted: bool = False


@contextmanager
def open_table(
    path: Path, options: TextOptions, *, known_names: Sequence[str] = (), key: str = "data.path"
) -> Iterator[OpenTable]:
    """Opens a file of any format, through temporary copies where it is packed, not in UTF-8, or a spreadsheet.

    Args:
        path: text, JSON, Parquet (also a folder of it), Arrow or a spreadsheet; as it is, or packed.
        options: how text is written, as far as the user says.
        known_names: names of columns that the file should have.
        key: option that names the file, for messages.

    Raises:
        UserError: the file is none of these, or damaged.
    """
    require_data_file(path, key)
    with ExitStack() as stack:
        plain = stack.enter_context(unpacked(path))
        kind = format_of(plain, path)
        if kind in ("parquet", "arrow"):
            yield OpenTable(_scan(plain, kind, path))
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlplab_")))
        if kind == "book":
            notes = sheet_as_text(plain, folder / "sheet.csv", options.sheet, path)
            layout = replace(options, delimiter=",", quote='"', encoding="utf-8")
            with _open_text(folder / "sheet.csv", layout, known_names, path) as (file, _):
                yield OpenTable(file, tuple(notes), is_converted=True)
            return
        if kind == "json":
            frame, notes = read_json(plain, path)
            yield OpenTable(frame.lazy(), tuple(notes))
            return
        with _open_text(plain, options, known_names, path) as (file, encoding):
            is_unicode = encoding.name.startswith("utf")
            told = (encoding.note,) if encoding.note else ()
            yield OpenTable(file, told, "auto" if is_unicode else encoding.name)


@contextmanager
def _open_text(
    path: Path, options: TextOptions, known_names: Sequence[str], named: Path
) -> Iterator[tuple[TextFile, Encoding]]:
    """Detects encoding and layout of a text file, and writes it in UTF-8 to a temporary file where it is not."""
    encoding = Encoding(options.encoding)
    if options.encoding == "auto":
        encoding = find_encoding(path, options.encoding_if_not_utf8)
    lines = first_lines(path, encoding, options.skip_lines)
    file = find_header(named, lines, options, known_names)
    if encoding.is_utf8 and not any(line.endswith("\r") for line in lines):
        yield replace(file, path=path), encoding
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        try:
            with (
                # newline=None turns the line ends of old Macs into line feeds, too.
                path.open(encoding=encoding.name, errors=encoding.errors, newline=None) as source,
                copy.open("w", encoding="utf-8") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 24)
        except NOT_DECODED as error:
            raise unreadable_file(named, error) from None
        yield replace(file, path=copy), encoding


def _scan(path: Path, kind: str, named: Path) -> pl.LazyFrame:
    """Scans Parquet or Arrow; the folders `NAME=VALUE` of a folder are columns."""
    try:
        # By default polars takes * and [ ] in a file's name for a pattern of several files.
        if kind == "arrow":
            return pl.scan_ipc(path, glob=False)
        if not path.is_dir():
            return pl.scan_parquet(path, glob=False)
        files = parquet_files(path)
        # polars would also take the folders around this one for columns.
        keys = [dict(re.findall(r"([^/=]+)=([^/]*)/", file.relative_to(path).as_posix())) for file in files]
        values = pl.DataFrame(
            [{key: None if HIVE_NULL in value else unquote(value) for key, value in one.items()} for one in keys]
        )
        values = values.select(_typed(series, keeps_zeros=False) for series in values)
        scans = [
            pl.scan_parquet(file, glob=False).with_columns(pl.lit(value).alias(key) for key, value in one.items())
            for file, one in zip(files, values.to_dicts() or keys, strict=True)
        ]
        return pl.concat(scans, how="diagonal_relaxed")
    except UNREADABLE as error:
        raise unreadable_file(named, error) from None


def table_blocks(path: Path, opened: OpenTable, notes: list[str]) -> Iterator[pl.DataFrame]:
    """Yields the rows in blocks of at most `BLOCK_ROWS`; of text every column as text, null where a string is empty.

    Args:
        path: for messages.
        opened: by `open_table`.
        notes: gets what is noticed.

    Raises:
        UserError: the file is damaged, or rows differ in their number of strings.
    """
    notes += opened.notes
    try:
        if isinstance(opened.rows, pl.LazyFrame):
            # Only the blocks are ever in memory, so the file may be larger.
            n_rows = int(opened.rows.select(pl.len()).collect().item())
            for begin in range(0, n_rows, BLOCK_ROWS):
                yield opened.rows.slice(begin, BLOCK_ROWS).collect()
            return
        with plain_text(path, opened.rows) as (plain, n_rows):
            notes += plain.notes
            if n_rows == 0:
                return
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
    cut = without_tail(file)
    n_rows = count_rows(cut)
    if n_rows is not None and not cut.n_tail_bytes:
        yield cut, n_rows
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        if n_rows is None:
            yield copy_plainly(path, file, copy)
        else:
            # The bytes as they are: polars is to find the end of the rows by itself.
            shutil.copyfile(file.path, copy)
            os.truncate(copy, copy.stat().st_size - cut.n_tail_bytes)
            yield replace(cut, path=copy, n_tail_bytes=0), n_rows


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
    return {
        "has_header": False,
        "skip_lines": file.n_before,
        "separator": file.dialect.delimiter,
        "quote_char": file.dialect.quote or None,
        "new_columns": list(file.names),
        "glob": False,
    }
