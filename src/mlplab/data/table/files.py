"""A text file as polars reads it: unpacked, in UTF-8, with one delimiter, and a name for each column."""

import codecs
import io
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlplab.data.table.dialect import Dialect, detect_dialect
from mlplab.data.table.encoding import (
    decoded,
    find_encoding,
    is_gzip,
    open_unpacked,
    read_sample,
    unreadable_file,
)
from mlplab.errors import UserError

SAMPLE_LINES = 500


@dataclass(frozen=True)
class TextOptions:
    """What the user says of a text file instead of letting it be detected."""

    delimiter: str = "auto"
    quote: str = "auto"
    header: bool | str = "auto"
    encoding: str = "auto"
    skip_lines: int = 0
    encoding_if_not_utf8: str = "latin-1"


@dataclass(frozen=True)
class TextFile:
    """A file of UTF-8 text whose lines end in a line feed, with or without a carriage return.

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


@contextmanager
def text_file(
    path: Path, options: TextOptions, *, known_names: Sequence[str] = (), usual_header: bool = True
) -> Iterator[TextFile]:
    """A text file made readable: unpacked, and in UTF-8. Only what is not so already is copied.

    Raises:
        UserError: it is no text, or its header does not name every column once.
    """
    notes = []
    sample, is_whole = read_sample(path, encoding=options.encoding)
    encoding = (
        find_encoding(path, sample, options.encoding_if_not_utf8) if options.encoding == "auto" else options.encoding
    )
    text = decoded(path, sample, encoding, is_whole=is_whole)
    if encoding == "latin-1" and options.encoding == "auto":
        notes.append("the file is no UTF-8 and is read as latin-1; data.encoding=… says otherwise")
    lines = list(io.StringIO(text, newline=None))
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
    records = dialect.cells(line for line in lines[dialect.skip_lines :] if line.strip())
    if not records:
        is_blank = not any(line.strip() for line in lines[dialect.skip_lines :])
        what = "no line with anything in it" if is_blank else "a first line without an end"
        raise UserError("data.path must hold a table", f"{path} has {what}", "another file, or data.quote=none")
    names = _names(records[0], dialect, path)
    if not dialect.has_header and options.header == "auto":
        notes.append(f"no header line was found: the columns are called column_1 to column_{len(names)}")
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    if is_utf8 and not is_gzip(path) and "\r" not in text.replace("\r\n", ""):
        yield TextFile(path, dialect, names, tuple(notes))
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        try:
            with (
                open_unpacked(path) as packed,
                io.TextIOWrapper(packed, encoding=encoding, newline=None) as source,
                copy.open("w", encoding="utf-8") as target,
            ):
                for block in iter(lambda: source.read(1 << 24), ""):
                    target.write(block)
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            raise unreadable_file(path, error) from None
        yield TextFile(copy, dialect, names, tuple(notes))


def _names(cells: Sequence[str], dialect: Dialect, path: Path) -> tuple[str, ...]:
    """The names of the columns, without blanks around them and with a blank for a line break within.

    Raises:
        UserError: one is blank, or there twice.
    """
    if not dialect.has_header:
        return tuple(f"column_{number}" for number in range(1, len(cells) + 1))
    names = tuple(re.sub(r"\s*[\r\n]\s*", " ", cell.strip()) for cell in cells)
    blank = [number for number, name in enumerate(names, 1) if not name]
    if blank:
        raise UserError(
            "every column must have a name",
            f"{len(blank)} of {len(names)} in {path.name} {'has' if len(blank) == 1 else 'have'} none, "
            f"the first is column {blank[0]}",
            "naming it in the first line, or data.header=false if that line holds values",
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        places = [str(number) for number, name in enumerate(names, 1) if name == repeated[0]]
        raise UserError(
            "every column must have a name of its own",
            f"{len(repeated)} {'name is' if len(repeated) == 1 else 'names are'} there more than once in {path.name}: "
            f"{repeated[0]!r} names columns {' and '.join(places)}",
            "renaming one in the first line, or data.header=false if that line holds values",
        )
    return names
