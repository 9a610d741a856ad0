"""Reads a file as a frame, or block by block: every row has a value, or a null, in each column."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from mlplab.config.paths import parquet_files
from mlplab.data.table.csv_reading import csv_options, read_csv, typed, typed_beside_nulls, with_leading_zeros
from mlplab.data.table.file_errors import explain_damaged
from mlplab.data.table.file_formats import format_of, unpacked
from mlplab.data.table.header_names import UNNAMED
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.reading_options import RawTable, Reading
from mlplab.data.table.strings import are_read, has_few_strings, null_missing, override_of
from mlplab.data.table.table_opening import OpenTable, open_table, plain_text
from mlplab.data.table.text_layout import TextFile
from mlplab.data.threads import for_each
from mlplab.errors import UserError, agree, counted, first_of

BLOCK_ROWS = 1 << 16
"""Rows that are in memory at once where a file is read in blocks."""


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
                frame = read_csv(path, plain, as_text, reading.markers())
                frame = with_leading_zeros(plain, frame) if reading.keeps_zeros else frame
            # Two readers have counted the rows: a difference would mean that rows are lost without a word.
            assert len(frame) == n_rows, f"{path}: polars found {len(frame)} of {n_rows} rows"
            # Between commas, a decimal comma would need quotes, so it is unlikely there.
            prefers_comma = file.dialect.delimiter != "," and not opened.is_converted
            raw = RawTable(frame, prefers_comma, (*opened.notes, *plain.notes), opened.encoding, file.first_names)
            unnamed: Sequence[str] = file.unnamed
        else:
            with explain_damaged(path):
                raw = RawTable(opened.rows.collect(), notes=opened.notes)
            as_text = raw.frame.columns
            unnamed = [name for name in as_text if UNNAMED.fullmatch(name)]
    if len(raw.frame) == 0 or not raw.frame.columns:
        raise UserError(f"{key} must hold rows", f"{path} has none", "another file")

    def column(series: pl.Series) -> pl.Series:
        # Each look at a column would put its pieces together.
        series = series.rechunk()
        # What hardly repeats is no label. As numbers, it needs no pass over its strings.
        if series.name in labels and series.dtype == pl.String and not has_few_strings(series):
            series = series if reading.decimal == "," else typed(series, keeps_zeros=reading.keeps_zeros)
        known = null_missing(series, reading.kept(series.name), reading.missing_values)
        return known if series.name in as_text else typed_beside_nulls(known, keeps_zeros=reading.keeps_zeros)

    frame = pl.DataFrame(for_each(raw.frame, column))
    frame, notes = _without_index(frame, [name for name in unnamed if name not in known_names])
    return replace(raw, frame=frame, notes=(*raw.notes, *notes))


def without_empty_rows(raw: RawTable) -> RawTable:
    """Leaves out the rows in which no column has a value, as spreadsheets leave them between others."""
    # Nearly every table has a column without gaps, and needs no further look.
    if any(series.null_count() == 0 for series in raw.frame):
        return raw
    frame = raw.frame.filter(~pl.all_horizontal(pl.all().is_null()))
    n_empty = len(raw.frame) - len(frame)
    if not n_empty or not len(frame):
        return raw
    note = f"{counted(n_empty, 'row', 'has')} no value and {agree(n_empty, 'is')} left out, and not counted"
    return replace(raw, frame=frame, notes=(*raw.notes, note))


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
        are = agree(len(empty), "is")
        notes.append(f"{counted(len(empty), 'column')} without a name and without values {are} left out")
    for name in index:
        hint = override_of("data.numeric" if frame[name].dtype.is_integer() else "data.categorical", [name])
        notes.append(f"a column without a name, {name}, numbers or names the rows: left out; {hint} takes it")
    if used:
        are = agree(len(used), "is")
        notes.append(f"{counted(len(used), 'column')} without a name {are} called {first_of(used, 3)}")
    return frame.drop([*empty, *index]), notes


def read_grouping_points(frame: pl.DataFrame, path: Path, reading: Reading) -> list[pl.Series]:
    """Returns as text the columns of numbers whose points may all group thousands.

    In a file with decimal commas, 1.234 is more likely 1234.
    """
    doubtful = [series.name for series in frame if series.dtype.is_float()]
    with unpacked(path) as plain:
        if not doubtful or format_of(plain, path) != "text":
            return []
    raw = without_empty_rows(read_table(path, replace(reading, decimal=","), known_names=frame.columns))
    return [series for series in raw.frame.select(doubtful) if are_read(series, plain_numbers(series, ",", "."))]


def fingerprint(paths: Sequence[Path]) -> str:
    """Returns the SHA-256 over the bytes of files, and of the files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for part in parquet_files(path) if path.is_dir() else [path]:
            with part.open("rb") as file:
                # Each file is hashed by itself: a row that moves from one file to the other changes the result.
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
    with explain_damaged(path):
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
            scan = pl.scan_csv(plain.path, **csv_options(plain), infer_schema=False)
            yield from scan.collect_batches(chunk_size=BLOCK_ROWS)
