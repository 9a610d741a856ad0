"""Writes results to a new file or directory, whole or not at all."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from mlplab.errors import UserError, not_writable
from mlplab.rules import NUMBER
from mlplab.runs.files import FORMULA_STARTS, remove_temporary_files, write_atomically

FORMULA = f"^[{''.join(FORMULA_STARTS)}]"  # the dash comes last, so it is not a range

# A signed number is not a formula.
SIGNED_NUMBER = f"^({NUMBER})$"


def require_writable(out: Path, overwrite: bool, endings: list[str], stem: str = "predictions") -> None:
    """Refuses a file that cannot be written, before any work is done for it.

    Args:
        out: the file.
        overwrite: whether to replace an existing one.
        endings: the allowed endings of its name.
        stem: beginning of a suggested name.

    Raises:
        UserError: its ending is not in `endings`, its folder is missing, or it exists.
    """
    # First, as the next check would complain about a folder's missing ending.
    if out.is_dir():
        raise UserError("out must be a file", f"{out} is a folder", f"out={out / f'{stem}{endings[0]}'}")
    if out.suffix not in endings:
        raise UserError(f"out must end in {' or '.join(endings)}", f"out={out}", f"out={out.with_suffix(endings[0])}")
    if not out.parent.is_dir():
        raise UserError("out must be in a folder that exists", f"there is no {out.parent}", f"mkdir -p {out.parent}")
    if out.exists() and not overwrite:
        raise exists_already(out)


def write_once(out: Path, write: Callable[[Path], None], overwrite: bool) -> None:
    """Writes a file atomically, after removing leftovers of a killed process.

    Raises:
        UserError: it cannot be written, or exists.
    """
    try:
        remove_temporary_files(out.parent, out.name)
        # Another process may have written the file since the check.
        write_atomically(out, write, replace=overwrite)
    except FileExistsError:
        raise exists_already(out) from None
    except OSError as error:
        raise not_writable("out", out, error, "out=SOMEWHERE_ELSE") from None


def exists_already(out: Path) -> UserError:
    """Makes the error for a file that would be replaced."""
    return UserError("out must be a new file", f"{out} is there already", "another name, or overwrite=true")


@contextmanager
def new_directory(directory: Path) -> Iterator[None]:
    """Makes a directory for results, and removes it if anything fails within this context.

    Raises:
        UserError: it exists, or cannot be made.
    """
    try:
        # Without exist_ok, or a second result would mix with the first.
        directory.mkdir(parents=True)
    except FileExistsError:
        raise directory_exists(directory) from None
    except OSError as error:
        raise not_writable("out", directory, error, "out=SOMEWHERE_ELSE") from None
    try:
        yield
    except BaseException:  # also on a signal, as a partial result would look complete
        shutil.rmtree(directory, ignore_errors=True)
        raise


def directory_exists(directory: Path) -> UserError:
    """Makes the error for an existing directory of results."""
    return UserError("out must be a new directory", f"{directory} is there already", "another name")


def without_formulas(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Puts an apostrophe before text that begins like a formula, also in headings; counts the changed values."""
    count = 0
    columns = []
    for column in frame:
        if column.dtype == pl.String:
            begins = (column.str.contains(FORMULA) & ~column.str.contains(SIGNED_NUMBER)).fill_null(False)
            count += int(begins.sum())
            column = pl.select(pl.when(begins).then("'" + column).otherwise(column).alias(column.name)).to_series()
        columns.append(column)
    names = [f"'{n}" if re.match(FORMULA, n) and not re.match(SIGNED_NUMBER, n) else n for n in frame.columns]
    return pl.DataFrame([column.rename(name) for column, name in zip(columns, names, strict=True)]), count
