"""Formats of files by their first bytes: what is unpacked, what is read as what, and what is refused by its name."""

import atexit
import bz2
import codecs
import functools
import gzip
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.paths import is_pipe
from mlplab.errors import UserError

MUST_BE_TABLE = "data.path must be a table: text, JSON, Parquet, Arrow, or Excel with the extra excel"

UNPACKABLE = (
    OSError,
    EOFError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pl.exceptions.PolarsError,
)
"""Errors of unpacking a damaged file."""

PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    **{b"BZh%d1AY" % level: bz2.open for level in range(1, 10)},
    b"\xfd7zXZ\x00": lzma.open,
}
"""First bytes of a packed file → what unpacks it."""

ZSTD, ZIP = b"\x28\xb5\x2f\xfd", b"PK\x03\x04"

BOOKS = {b"\xd0\xcf\x11\xe0": "an Excel file (.xls)", ZIP: "an Excel or OpenDocument file"}

FRAMES = {b"PAR1": "parquet", b"ARROW1": "arrow"}

FOREIGN = {
    b"SQLite format 3": ("an SQLite database", "sqlite3 -csv -header FILE 'select * from TABLE'"),
    b"\x89HDF": ("an HDF5 file", "pandas or h5py"),
    b"%PDF": ("a PDF", "a program that saves its tables as CSV"),
    b"\x89PNG": ("a picture", "another file"),
    b"\xff\xd8\xff": ("a picture", "another file"),
    b"$FL2": ("an SPSS file (.sav)", "SPSS or R's haven"),
    b"RDX2\n": ("an R file (.RData)", "R's write.csv"),
    b"RDX3\n": ("an R file (.RData)", "R's write.csv"),
    b"X\n\x00\x00": ("an R file (.rds)", "R's write.csv"),
    b"<stata_dta>": ("a Stata file (.dta)", "Stata or pandas"),
    b"MATLAB 5.0": ("a MATLAB file (.mat)", "MATLAB's writetable"),
    b"\x93NUMPY": ("a NumPy file (.npy)", "numpy.savetxt"),
    b"FEA1": ("a Feather file of version 1", "pandas, as Parquet"),
    b"ORC\n": ("an ORC file", "pandas, as Parquet"),
    b"Obj\x01": ("an Avro file", "pandas or DuckDB"),
    b"{\\rtf": ("an RTF document", "a program that saves its tables as CSV"),
    b"7z\xbc\xaf": ("a 7z archive", "unpacking it"),
    b"Rar!": ("a RAR archive", "unpacking it"),
    b"\x1f\x9d": ("a file packed by compress (.Z)", "unpacking it"),
    b"\x04\x22\x4d\x18": ("a file packed by LZ4", "unpacking it"),
    b"\x80\x04\x95": ("a Python pickle", "pandas, as Parquet"),
    b"\x80\x05\x95": ("a Python pickle", "pandas, as Parquet"),
    b"HEADER RECORD*******LIBRARY": ("a SAS transport file (.xpt)", "SAS or pandas"),
    b"\x00" * 12 + b"\xc2\xea\x81\x60": ("a SAS file (.sas7bdat)", "SAS or pandas"),
}
"""First bytes of files that are named instead of read → what they are, and what saves them as a table."""

PAGE = re.compile(rb"\s*<(!doctype html|html|head|body|table)\b", re.IGNORECASE)
MARKUP = re.compile(rb"\s*<(\?xml|svg|kml|gpx)\b", re.IGNORECASE)
STATEMENTS = re.compile(rb"(--.*\n|/\*.*\n|\s)*(CREATE TABLE|INSERT INTO|DROP TABLE|SET \w+ ?=)", re.IGNORECASE)
SPARSE_ROWS = re.compile(rb"([+-]?\d+(\.\d+)?( +\d+:[\d.eE+-]+)+ *\r?\n){2}")
JSON_START = re.compile(rb'\s*(\{\s*("|\})|\[\s*[\[{])')


@functools.cache
def read_once(path: Path, key: str) -> Path:
    """Returns the path itself, or that of a copy of what can be read only once, which lives as long as the process.

    Raises:
        UserError: nothing comes out of the pipe.
    """
    if not is_pipe(path):
        return path
    folder = tempfile.mkdtemp(prefix="mlplab_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / path.name
    try:
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except OSError as error:
        raise unreadable_file(path, error) from None
    if copy.stat().st_size == 0:
        raise UserError(
            f"{key} must hold something",
            f"nothing came out of {path}, which can be read only once",
            f"the same rows piped into the command once more, or {key}=… with a file that holds them",
        )
    return copy


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yields the file itself, or a temporary copy of what is packed in it.

    Raises:
        UserError: it is damaged, or an archive of several files.
    """
    with ExitStack() as stack:
        plain = path
        for number in range(3):  # a packed file may be packed again
            start = _start(plain)
            pack = next((pack for mark, pack in PACKED.items() if start.startswith(mark)), None)
            is_zip = start.startswith(ZIP) and not _is_book(plain)
            if pack is None and not is_zip and not start.startswith(ZSTD):
                break
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlplab_"))
            copy = Path(folder) / f"table{number}"
            try:
                if is_zip:
                    _unzip(plain, copy, path)
                elif pack is None:
                    # Python unpacks zstd from 3.14 on; polars does it for text.
                    pl.scan_lines(plain).sink_csv(copy, include_header=False, quote_style="never")
                else:
                    with pack(plain, "rb") as source, copy.open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
            except UNPACKABLE as error:
                raise unreadable_file(path, error) from None
            plain = copy
        yield plain


def _is_book(path: Path) -> bool:
    """Checks whether a zip archive is a spreadsheet: of Excel, or an OpenDocument one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except UNPACKABLE as error:
        raise unreadable_file(path, error) from None
    return any(name in ("[Content_Types].xml", "xl/workbook.xml", "content.xml") for name in names)


def _unzip(path: Path, copy: Path, named: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # macOS adds files of its own.
        names = [
            name for name in archive.namelist() if not name.endswith("/") and not re.search(r"(^|/)(__MACOSX|\.)", name)
        ]
        if any(name.endswith(".npy") for name in names):
            raise UserError(MUST_BE_TABLE, f"{named} is a NumPy archive (.npz)", "numpy.savetxt")
        if len(names) != 1:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            raise UserError(
                "a zip archive must hold one file",
                f"{named} holds {len(names)}: {shown}",
                "unpacking it, and one of them",
            )
        with archive.open(names[0]) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def format_of(path: Path, named: Path) -> str:
    """Returns `parquet`, `arrow`, `book`, `json` or `text` for a file that is not packed.

    Args:
        path: of the file.
        named: what the user calls it, for messages.

    Raises:
        UserError: it is of a format that is not read, which is named.
    """
    if path.is_dir():
        return "parquet"
    start = _start(path)
    for mark, kind in FRAMES.items():
        if start.startswith(mark):
            return kind
    if start.startswith(tuple(BOOKS)):
        return "book"
    plain = start.removeprefix(codecs.BOM_UTF8)
    for mark, (what, by) in FOREIGN.items():
        if plain.startswith(mark):
            hint = by if by in ("another file", "unpacking it") else f"saving it as CSV, by {by}"
            raise UserError(MUST_BE_TABLE, f"{named} is {what}", hint)
    if plain[257:262] == b"ustar":
        raise UserError(MUST_BE_TABLE, f"{named} is a tar archive", "unpacking it, and one of its files")
    if PAGE.match(plain):
        raise UserError(MUST_BE_TABLE, f"{named} is an HTML page", "downloading the table itself")
    if MARKUP.match(plain):
        raise UserError(MUST_BE_TABLE, f"{named} is XML", "saving it as CSV")
    if STATEMENTS.match(plain):
        raise UserError(MUST_BE_TABLE, f"{named} is an SQL script", "exporting the table as CSV")
    if SPARSE_ROWS.match(plain):
        raise UserError(MUST_BE_TABLE, f"{named} holds sparse rows, as LIBSVM's", "scikit-learn's load_svmlight_file")
    return "json" if JSON_START.match(plain) else "text"


def _start(path: Path) -> bytes:
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        return file.read(1 << 12)


def unreadable_file(path: Path, error: BaseException) -> UserError:
    """Makes the error for a file that a library could not read, with the library's reason."""
    # Messages of polars go on with advice on its own options, which users of this project do not have.
    reason = " ".join(str(error).split())[:200]
    return UserError("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
