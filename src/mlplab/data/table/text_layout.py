"""The layout of a text file: encoding, delimiter, quotes, header and names, detected or as the user says."""

import codecs
import csv
import io
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlplab.data.table.text_encoding import (
    UNREADABLE,
    find_encoding,
    first_lines,
    is_gzip,
    open_unpacked,
    unreadable_file,
)
from mlplab.errors import UserError

DELIMITERS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "blank": " "}
"""Delimiters by name, the most trusted first: a file that is even under two of them likely has commas in its text."""

QUOTES = {"double": '"', "single": "'", "none": ""}

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?")

GENERATED_NAME = re.compile(r"column_\d+")
"""Names that columns get where the file has none."""

MOST_UNPAIRED = 0.1
"""Share of the lines with single quotes in which their number may be odd, where they quote strings."""


@dataclass(frozen=True)
class TextOptions:
    """Holds the options of a text file that the user gives, which are then not detected."""

    delimiter: str = "auto"
    quote: str = "auto"
    header: bool | str = "auto"
    encoding: str = "auto"
    skip_lines: int = 0
    encoding_if_not_utf8: str = "latin-1"


@dataclass(frozen=True)
class Dialect:
    """Delimiter, quotes and header of a text file.

    Attributes:
        delimiter: one character; a blank stands for one or more.
        quote: one character, or "" where there are no quotes.
        has_header: whether the first line names the columns.
        skip_lines: lines before that one, which do not belong to the table.
    """

    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    skip_lines: int = 0

    def records(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yields the strings of each record, none for a blank line. The lines come with their ends.

        Raises:
            csv.Error: a string is longer than `csv.field_size_limit()`, as after a quote that is not closed.
        """
        options: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        last_line = ""

        def noted() -> Iterator[str]:
            nonlocal last_line
            for line in lines:
                last_line = line
                yield line

        # Many files have a blank after each comma; the csv module would take a quote behind it for text.
        for strings in csv.reader(noted(), delimiter=self.delimiter, skipinitialspace=True, **options):
            # Blanks at the end of a line separate nothing.
            if (
                self.delimiter == " "
                and strings
                and not strings[-1].strip()
                and last_line.rstrip("\r\n")[-1:].isspace()
            ):
                strings.pop()
            yield strings

    def readable_records(self, lines: Iterable[str]) -> list[list[str]]:
        """Returns the strings of each record that is not blank, up to the first that cannot be read."""
        records: list[list[str]] = []
        # What comes before an unclosed quote is enough to detect the layout; the check of all records refuses it later.
        with suppress(csv.Error):
            records.extend(record for record in self.records(lines) if record)
        return records


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8 whose lines end in a line feed, with or without a carriage return.

    Attributes:
        path: of the file itself, or of a copy that lives as long as `open_text`.
        dialect: of that file.
        names: of the columns.
        notes: what was detected, for people.
    """

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@contextmanager
def open_text(path: Path, options: TextOptions, *, known_names: Sequence[str] = ()) -> Iterator[TextFile]:
    """Detects the layout of a text file, and unpacks and recodes it into a temporary copy where it must.

    Raises:
        UserError: it is no text, or its header does not name every column once.
    """
    notes = []
    encoding = options.encoding
    if encoding == "auto":
        encoding = find_encoding(path, options.encoding_if_not_utf8)
        # latin-1 decodes any bytes: a wrong guess raises no error, so people are told.
        if encoding == "latin-1":
            notes.append("the file is no UTF-8 and is read as latin-1; data.encoding=… says otherwise")
    lines = first_lines(path, encoding, options.skip_lines)
    has_old_line_ends = any(line.endswith("\r") for line in lines)
    dialect = detect_dialect(lines, options, known_names=known_names)
    table_lines = [line for line in lines[dialect.skip_lines :] if line.strip()]
    records = dialect.readable_records(table_lines)
    if not records:
        found = "a first line without an end" if table_lines else "no line with anything in it"
        raise UserError("data.path must hold a table", f"{path} has {found}", "another file, or data.quote=none")
    names = _names(records[0], dialect, path)
    if not dialect.has_header and options.header == "auto":
        notes.append(f"no header line was found: the columns are called column_1 to column_{len(names)}")
    file = TextFile(path, dialect, names, tuple(notes))
    # ASCII is a part of UTF-8, so such a file needs no copy.
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    if is_utf8 and not is_gzip(path) and not has_old_line_ends:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="mlplab_") as folder:
        copy = Path(folder) / "table.csv"
        try:
            with (
                open_unpacked(path) as packed,
                # newline=None turns the line ends of old Macs into line feeds, too.
                io.TextIOWrapper(packed, encoding=encoding, newline=None) as source,
                copy.open("w", encoding="utf-8") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 24)
        except UNREADABLE as error:
            raise unreadable_file(path, error) from None
        yield replace(file, path=copy)


def detect_dialect(
    lines: Sequence[str],
    options: TextOptions = TextOptions(),
    *,
    known_names: Sequence[str] = (),
) -> Dialect:
    """Detects what the user does not say, from the first lines of a file, each whole and with its end.

    Args:
        lines: of the beginning of the file.
        options: delimiters and quotes by name or as the character itself.
        known_names: names of columns that the file should have.

    Raises:
        UserError: `options.delimiter` cannot be one.
    """
    lines = [line for line in lines[options.skip_lines :] if line.strip()]
    quote = _find_quote(lines) if options.quote == "auto" else QUOTES.get(options.quote, options.quote)
    delimiter = DELIMITERS.get(options.delimiter, options.delimiter)
    if delimiter == "auto":
        delimiter, _ = _find_delimiter(lines, quote)
    # The quick count and polars compare single bytes, so the delimiter must be one byte in UTF-8.
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in ("\r", "\n", quote):
        raise UserError(
            f"data.delimiter must be auto, {', '.join(DELIMITERS)}, or a character that is no quote",
            f"data.delimiter={delimiter!r}",
            "data.delimiter=auto",
        )
    has_header = options.header
    if has_header == "auto":
        has_header = _has_header(Dialect(delimiter, quote).readable_records(lines), known_names)
    return Dialect(delimiter, quote, bool(has_header), options.skip_lines)


def _find_quote(lines: Sequence[str]) -> str:
    """Chooses single quotes where only they stand around strings, in pairs, and make lines even; else double ones."""
    text = "".join(lines)
    if '"' in text or not re.search(r"(?:^|[,;\t| ])\s*'[^'\n]*'\s*(?:$|[,;\t| ])", text, re.MULTILINE):
        return '"'
    quoted = [line for line in lines if "'" in line]
    if sum(line.count("'") % 2 for line in quoted) > MOST_UNPAIRED * len(quoted):
        return '"'  # apostrophes
    return "'" if _find_delimiter(lines, "'")[1] >= _find_delimiter(lines, '"')[1] else '"'


def _find_delimiter(lines: Sequence[str], quote: str) -> tuple[str, float]:
    """Chooses the delimiter under which most lines have the same number of strings, above 1; adds their share."""
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS.values():
        widths = Counter(len(record) for record in Dialect(delimiter, quote).readable_records(lines))
        # Of equally frequent widths the larger one, as more columns are less likely to be chance.
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        # Any character that is absent splits every line into one string, so width 1 is no sign of a delimiter.
        share = count / sum(widths.values()) if width > 1 else 0.0
        # Prose has blanks too: they count only where nothing else separates strings.
        if share > best_share and not (delimiter == " " and best_share > 0.5):
            best, best_share = delimiter, share
    return best, best_share


def _has_header(records: Sequence[Sequence[str]], known_names: Sequence[str]) -> bool:
    """Tells names from values: a column of values below a string that is none is the surest sign."""
    if not records:
        return True
    first = [string.strip() for string in records[0]]
    # A name that the user or the model gives settles it.
    if any(name in first for name in known_names):
        return True
    body = [[string.strip() for string in record] for record in records[1:] if len(record) == len(first)]
    columns = list(zip(*body, strict=True)) or [()] * len(first)
    is_above_values = False
    for head, column in zip(first, columns, strict=True):
        filled = [string for string in column if string]
        if filled and sum(map(_is_value, filled)) > 0.5 * len(filled):
            if _is_value(head):
                return False
            is_above_values = is_above_values or head != ""
    if is_above_values:
        return True
    # A file for a model without names likely has none. A string that comes again below it is a category.
    if any(GENERATED_NAME.fullmatch(name) for name in known_names):
        return False
    return not any(head and head in column for head, column in zip(first, columns, strict=True))


def _is_value(string: str) -> bool:
    """Checks for a number or a date, which no column's name is."""
    return NUMBER.fullmatch(string) is not None or DATE.fullmatch(string) is not None


def _names(strings: Sequence[str], dialect: Dialect, path: Path) -> tuple[str, ...]:
    """Takes the names of the columns without blanks around them, and with a blank for a line break within.

    Raises:
        UserError: one is blank, or there twice.
    """
    if not dialect.has_header:
        # The names that polars would give.
        return tuple(f"column_{number}" for number in range(1, len(strings) + 1))
    # A line break in a name could not be typed on the command line.
    names = tuple(re.sub(r"\s*[\r\n]\s*", " ", string.strip()) for string in strings)
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
