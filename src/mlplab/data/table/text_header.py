"""The first lines of a text file: which name the columns, which stand above or between, and where the rows begin."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mlplab.data.table.header_names import GENERATED_NAME, column_names
from mlplab.data.table.header_sample import Record, Sample
from mlplab.data.table.strings import is_value
from mlplab.data.table.text_layout import Dialect, TextFile, TextOptions, detect_dialect, skipped
from mlplab.errors import UserError

SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel is told the delimiter."""

RULE = re.compile(r"(?=.*(---|===|\u2500|\u2550|\|:?-+:?\|))[\s|+:;,=\-\u2500-\u257f]*")
"""A line of dashes, as around tables that databases print."""

COMMENT_MARKS = ("#", "%", "//", "!", "*")
"""Marks of a comment at the beginning of a line; below the first rows only "#", or the mark that is used above."""

NO_COMMENT = re.compile(r"#(N/A|REF!|DIV/0!|VALUE!|NAME\?|NUM!|NULL!|SPILL!|CALC!)")
"""Errors that Excel writes into cells."""

MOST_TITLES = 60
"""Records from the beginning among which the header is looked for."""

FEW = 0.1
"""Share of lines up to which lines that begin like a comment are one."""


def find_header(path: Path, lines: Sequence[str], options: TextOptions, known_names: Sequence[str] = ()) -> TextFile:
    """Detects dialect, header and first row from the first lines of a file.

    Args:
        path: of the file.
        lines: its first ones, each whole and with its end.
        options: what the user says.
        known_names: names of columns that the file should have.

    Raises:
        UserError: there is no table in these lines.
    """
    if (arff := _arff_header(lines)) is None:
        return _find_header(path, lines, options, known_names)
    names, n_before = arff
    delimiter = "," if options.delimiter == "auto" else options.delimiter
    rest = replace(options, skip_lines=n_before, header=False, delimiter=delimiter)
    note = "the names of the columns are those of the lines with @attribute"
    file = replace(_find_header(path, lines, rest, known_names), first_names=(), notes=(note,))
    return replace(file, names=names) if len(file.names) == len(names) else file


def _find_header(
    path: Path, lines: Sequence[str], options: TextOptions, known_names: Sequence[str], *, has_comments: bool = True
) -> TextFile:
    begin = options.skip_lines
    content = [(place, line) for place, line in enumerate(lines) if place >= begin and line.strip()]
    notes: list[str] = []
    if content and (match := SEPARATOR_LINE.fullmatch(content[0][1].strip())):
        content = content[1:]
        if options.delimiter == "auto":
            options = replace(options, delimiter=match[1])
            notes = [f"the delimiter is {match[1]!r}, as the first line says"]
    comment = _comment_mark([line for _, line in content]) if has_comments else ""
    marked = [(place, line) for place, line in content if _is_marked(line, comment)]
    kept = [(place, line) for place, line in content if not RULE.fullmatch(line.strip())]
    if marked:
        kept = [(place, line) for place, line in kept if not _is_marked(line, comment)]
    dialect = detect_dialect([line for _, line in kept], options)
    records = _numbered_records(dialect, kept)
    if not records:
        found = "a first line without an end" if kept else "no line with anything in it"
        raise UserError("data.path must hold a table", f"{path} has {found}", "another file, or data.quote=none")
    sample = Sample(records)
    search = _HeaderSearch(records, sample, dialect, options, known_names)
    header = search.find()
    first_row = records[search.first_row].begin if search.first_row < len(records) else records[-1].end
    leading = [line for place, line in marked if place < records[0].begin]
    may_name = not header and options.header is not False
    commented = _commented_header(leading, comment, dialect, sample, known_names) if may_name else []
    below = [line for place, line in marked if place > records[0].begin]
    is_sure = bool(sample.numeric[:1] == [True] or (leading and len(below) <= FEW * len(kept)))
    # A value may begin with such a mark, too.
    doubtful = [*(leading if len(leading) == 1 and not commented else []), *([] if is_sure else below)]
    if any(len(dialect.strings(line)) == sample.width for line in doubtful):
        return _find_header(path, lines, options, known_names, has_comments=False)
    if commented:
        header, leading = [commented], leading[:-1]
        search.header_at = marked[len(leading)][0]
    width = max(sample.width, *(len(strings) for strings in header)) if header else sample.width
    names, unnamed, of_names = column_names(header, width, known_names)
    end = search.header_at if header else first_row
    above = [line for place, line in content if place < end and not RULE.fullmatch(line.strip())]
    if header and search.has_group:
        above = above[:-1]
    notes += [*skipped(above, "above the header" if header else "above the first row"), *of_names]
    if not header and options.header == "auto":
        notes.append(f"no header line was found: the columns are called column_1 to column_{len(names)}")
    later = [line for place, line in marked if place >= first_row]
    between = [line for place, line in marked if end < place < first_row] if header else []
    notes += skipped(between, "between the header and the first row")
    return TextFile(
        path,
        dialect,
        names,
        first_row,
        tuple(notes),
        unnamed,
        header=tuple(map(tuple, header)),
        header_line=lines[search.header_at].strip("\r\n") if header else "",
        first_names=() if header else tuple(records[search.first_row].strings),
        numeric=tuple(sample.numeric) if len(sample.numeric) == len(names) else (False,) * len(names),
        comment=comment or "#",
        is_comment_sure=is_sure,
        is_irregular=bool(later) or dialect.is_framed,
    )


def _arff_header(lines: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """Returns the names of an ARFF file, Weka's format, and the lines before its rows; None for another file."""
    is_arff = any(re.match(r"@relation\b", line, re.IGNORECASE) for line in lines)
    at = next((place for place, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if not is_arff or at is None:
        return None
    attribute = re.compile(r"""\s*@attribute\s+(?:'([^']*)'|"([^"]*)"|(\S+))""", re.IGNORECASE)
    found = [match.groups(default="") for line in lines[:at] if (match := attribute.match(line))]
    return tuple("".join(groups) for groups in found), at + 1


def _is_marked(line: str, mark: str) -> bool:
    text = line.lstrip(" ")  # a tab may be a delimiter behind an empty string
    return bool(mark) and text.startswith(mark) and not NO_COMMENT.match(text)


def _comment_mark(lines: Sequence[str]) -> str:
    """Returns what begins lines of comment: at the top, or in few lines further down; "" if there are none."""
    for mark in COMMENT_MARKS:
        n_marked = sum(_is_marked(line, mark) for line in lines)
        if n_marked == len(lines):
            continue
        if lines and _is_marked(lines[0], mark) and (mark in "#%//" or n_marked > 1):
            return mark
        if mark == "#" and 0 < n_marked <= 0.5 * len(lines):
            return mark
    return ""


def _numbered_records(dialect: Dialect, lines: Sequence[tuple[int, str]]) -> list[Record]:
    """Reads records with the places of their lines, up to the first that cannot be read."""
    n_taken, before = 0, 0

    def taken() -> Iterator[str]:
        nonlocal n_taken
        for _, line in lines:
            n_taken += 1
            yield line

    records: list[Record] = []
    with suppress(csv.Error):
        for strings in dialect.records(taken()):
            if strings:
                records.append(
                    Record([string.strip() for string in strings], lines[before][0], lines[n_taken - 1][0] + 1)
                )
            before = n_taken
    return records


class _HeaderSearch:
    """Finds the lines that name the columns.

    Attributes:
        first_row: place of the record that is the first row.
        header_at: place of the line with the names.
        has_group: whether a line of groups stands above the names.
    """

    def __init__(
        self,
        records: Sequence[Record],
        sample: Sample,
        dialect: Dialect,
        options: TextOptions,
        known_names: Sequence[str],
    ) -> None:
        self.records, self.sample, self.dialect = records, sample, dialect
        self.options, self.known_names = options, set(known_names)
        self.first_row, self.header_at, self.has_group = 0, 0, False

    def find(self) -> list[list[str]]:
        """Returns the strings of each line that names the columns; an empty list if there is no header."""
        place, is_sure = self._place()
        self.first_row = place
        record = self.records[place]
        self.header_at = record.begin
        strings = self.sample.aligned(record.strings)
        if self.options.header is False or not (
            is_sure or self.options.header is True or self._has_header(place, strings)
        ):
            return []
        self.first_row = place + 1
        if strings is None or (len(record.strings) < self.sample.width and not self._has_row_names(place)):
            return [record.strings]
        header = [strings]
        group = self.records[place - 1].strings if place else []
        if self._is_group(group):
            header, self.has_group = [group, strings], True
        n_strings = len(record.strings)
        for record in self.records[place + 1 : place + 4]:
            is_as_long = len(record.strings) in (self.sample.width, n_strings)
            further = self.sample.aligned(record.strings) if is_as_long else None
            if further is None or not self.sample.is_second_header(further, is_third=len(header) > 1):
                break
            header.append(further)
            self.first_row += 1
        return header

    def _place(self) -> tuple[int, bool]:
        """Returns the place of the record that may be the header, or the first row; and whether it is one for sure."""
        sample, first = self.sample, self.records[:MOST_TITLES]
        if self.options.skip_lines:
            return 0, self._is_known(self.records[0].strings, 0) and self.options.header is not False
        if self.options.header is False:
            # A single string above rows of several is a title, as in UCI's adult.test.
            return next((place for place, record in enumerate(first) if len(record.strings) > 1), 0), False
        for place, record in enumerate(first):
            # A name that the user or the model gives settles it.
            if self._is_known(record.strings, place):
                return place, True
        candidates = []
        for place, record in enumerate(first):
            strings = sample.aligned(record.strings)
            if strings is not None and any(sample.numeric) and sample.names_all(strings):
                candidates.append(place)
                # Titles of one string too few may stand above the names.
                if len(record.strings) >= sample.width:
                    break
            elif strings is not None and sample.has_values(strings) and len(record.strings) == sample.width:
                break  # the first row
        if candidates and sample.width > 1:
            # R's header is one string short, and stands right above the rows.
            return candidates[-1], True
        fitting = (place for place, record in enumerate(first) if sample.aligned(record.strings) is not None)
        return next(fitting, 0), False

    def _is_known(self, strings: Sequence[str], place: int) -> bool:
        known = [string for string in strings if string in self.known_names]
        if not known:
            return False
        aligned = self.sample.aligned(strings)
        # A number may be a name, but also a value that stands in other columns as well. Titles may stand above names.
        if all(len(record.strings) < self.sample.width for record in self.records[:place]):
            given = [string for string in strings if string]
            return len(set(given)) == len(given) or not all(is_value(string) for string in known)
        return aligned is not None and any(self.sample.numeric) and self.sample.names_all(aligned)

    def _has_header(self, place: int, first: Sequence[str] | None) -> bool:
        """Tells names from values: a column of values below a string that is none is the surest sign."""
        if first is None:
            return True
        body = [record.strings for record in self.records[place + 1 :] if len(record.strings) == self.sample.width]
        columns = list(zip(*body, strict=True)) or [()] * len(first)
        is_above_values = False
        for head, column in zip(first, columns, strict=True):
            filled = [string for string in column if string]
            if filled and sum(map(is_value, filled)) > 0.5 * len(filled):
                if is_value(head):
                    return False
                is_above_values = is_above_values or head != ""
        if is_above_values:
            return True
        # A file for a model without names likely has none. A string that comes again below it is a category.
        if any(GENERATED_NAME.fullmatch(name) for name in self.known_names):
            return False
        return not any(head and head in column for head, column in zip(first, columns, strict=True))

    def _has_row_names(self, place: int) -> bool:
        """Checks whether rows have one string more than the header because they begin with a name, as R writes them.

        A decimal comma between commas would also add a string, and so would a blank within names between blanks.
        """
        rows = [row for row in self.sample.rows if any(row)]
        if self.sample.filled[-1] and len({row[0] for row in rows}) < len(rows):
            return False
        if self.dialect.delimiter != "," or not self.sample.filled[-1] or not all(is_value(row[0]) for row in rows):
            return True
        return any("." in string for row in rows for string in row[1:])

    def _is_group(self, strings: Sequence[str]) -> bool:
        """Checks for names of groups above the names of columns: several, not all on the left, none above all."""
        places = [place for place, string in enumerate(strings) if string]
        width = self.sample.width
        return len(strings) == width > 2 and len(places) > 1 and places[-1] >= width / 2


def _commented_header(
    leading: Sequence[str], comment: str, dialect: Dialect, sample: Sample, known_names: Sequence[str]
) -> list[str]:
    """Returns the names in the last line of comment above the rows, if it names all columns; else an empty list."""
    if not leading:
        return []
    bare = leading[-1].lstrip().removeprefix(comment)
    both = [[string.strip() for string in dialect.strings(line)] for line in (leading[-1], bare)]
    fitting = [strings for strings in both if len(strings) == sample.width and not sample.has_values(strings)]
    if not fitting:
        return []
    # "# of rooms" may be a name, unless there are other lines of comment or the user's name has no mark.
    is_convention = len(leading) > 1 or fitting[-1][0] in known_names
    return fitting[-1] if is_convention else fitting[0]
