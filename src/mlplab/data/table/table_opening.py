"""Opens a file of any format: text of which all readers agree, or a frame that polars reads."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from mlplab.config.paths import parquet_files, require_data_file
from mlplab.data.table.csv_reading import typed
from mlplab.data.table.file_errors import explain_damaged
from mlplab.data.table.file_formats import format_of, unpacked
from mlplab.data.table.json_tables import read_json
from mlplab.data.table.row_count import count_rows
from mlplab.data.table.spreadsheets import sheet_as_text
from mlplab.data.table.text_encoding import Encoding, find_encoding, first_lines
from mlplab.data.table.text_footer import without_tail
from mlplab.data.table.text_header import find_header
from mlplab.data.table.text_layout import TextFile, TextOptions
from mlplab.data.table.text_records import copy_plainly

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a folder."""


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
        with (
            # newline=None turns the line ends of old Macs into line feeds, too.
            explain_damaged(named),
            path.open(encoding=encoding.name, errors=encoding.errors, newline=None) as source,
            copy.open("w", encoding="utf-8") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 24)
        yield replace(file, path=copy), encoding


def _scan(path: Path, kind: str, named: Path) -> pl.LazyFrame:
    """Scans Parquet or Arrow; the folders `NAME=VALUE` of a folder are columns."""
    with explain_damaged(named):
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
        values = values.select(typed(series, keeps_zeros=False) for series in values)
        scans = [
            pl.scan_parquet(file, glob=False).with_columns(pl.lit(value).alias(key) for key, value in one.items())
            for file, one in zip(files, values.to_dicts() or keys, strict=True)
        ]
        return pl.concat(scans, how="diagonal_relaxed")


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
