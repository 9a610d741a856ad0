"""Errors of libraries over files that they cannot read, and what is said of them."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from mlplab.errors import UserError

MUST_BE_TABLE = "data.path must be a table: text, JSON, Parquet, Arrow, or Excel with the extra excel"

UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    UnicodeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # no `Exception`
)
"""Errors of unpacking, decoding and reading a damaged file."""


def unreadable_file(path: Path, error: BaseException) -> UserError:
    """Makes the error for a file that a library could not read, with the library's reason."""
    # Messages of polars go on with advice on its own options, which users of this project do not have.
    reason = " ".join(str(error).split())[:200]
    return UserError("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")


@contextmanager
def explain_damaged(path: Path) -> Iterator[None]:
    """Turns errors of libraries over a damaged file into a `UserError`."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None
