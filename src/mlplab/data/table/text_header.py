"""The first lines of a text file: which name the columns, which stand above or between, and where the rows begin."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mlplab.data.table.strings import MISSING
from mlplab.data.table.text_layout import Dialect, TextOptions, commonest, detect_dialect
from mlplab.errors import UserError, counted

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+|\d{1,3}([., ']\d{3})+([.,]\d+)?)([eE][+-]?\d+)?\s?%?")
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?")

GENERATED_NAME = re.compile(r"column_\d+")
"""Names that columns get where the file has none."""

UNNAMED = re.compile(r"|Unnamed: ?\d+(\.\d+|_level_\d+)?|\.\.\.\d+|__index_level_\d+__")
"""Names that stand for none: those of pandas and of R's readr, too."""

GENERIC = re.compile(r"|(V|X|Y|C|Var|Col|Column|Field|Unnamed:|column)?[ _]?\d*", re.IGNORECASE)
"""Names that say nothing, above which the real ones may stand."""

SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel is told the delimiter."""

RULE = re.compile(r"(?=.*(---|===|\u2500|\u2550|\|:?-+:?\|))[\s|+:;,=\-\u2500-\u257f]*")
"""A line of dashes, as around tables that databases print."""

COMMENT_MARKS = ("#", "%", "//", "!", "*")
"""What begins a line of comment at the top of a file; in between, "#" or what stands at the top."""

NO_COMMENT = re.compile(r"#(N/A|REF!|DIV/0!|VALUE!|NAME\?|NUM!|NULL!|SPILL!|CALC!)")
"""Errors that Excel writes into cells."""

BEGINS_AS_VALUE = re.compile(r"[^\w([]*\d|[A-Za-z]{3,9}\.? \d{1,2},")
"""A number after a sign or a currency, or a date such as Feb 1, 2000; no unit begins so."""

NO_UNIT = {*MISSING, "-", "--", ".", "none", "missing", "unknown", "nil", "nd", "n.a.", "<na>", "\\n"}

MOST_TITLES = 60
"""Records from the beginning among which the header is looked for."""

FEW = 0.1
"""Share of lines up to which lines that begin like a comment are one."""


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8 whose lines end in a line feed, with or without a carriage return.

    Attributes:
        path: of the file itself, or of a copy that lives as long as `open_text`.
        dialect: of that file.
        names: of the columns.
        n_before: lines before the first row.
        notes: what was detected, for people.
        unnamed: names of columns that have none in the file.
        header: strings of the lines that name the columns; empty if none does.
        header_line: the first of these lines.
        first_names: names that the first line would give, where it was not taken for a header.
        numeric: whether each column holds numbers or dates, in the first rows.
        comment: what begins a line of comment.
        is_comment_sure: whether such a line is a comment also where it has as many strings as a row.
        is_irregular: whether the file may have lines that are no rows, although each has as many strings.
        n_tail_bytes: bytes at the end that are no rows.
    """

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    n_before: int = 0
    notes: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    header: tuple[tuple[str, ...], ...] = ()
    header_line: str = ""
    first_names: tuple[str, ...] = ()
    numeric: tuple[bool, ...] = ()
    comment: str = "#"
    is_comment_sure: bool = False
    is_irregular: bool = False
    n_tail_bytes: int = 0


@dataclass(frozen=True)
class Record:
    """The strings of a record; `begin` and `end` are the places of its first line and of the line after it."""

    strings: list[str]
    begin: int
    end: int


def is_value(string: str) -> bool:
    """Checks for a number or a date, which no column's name is."""
    return NUMBER.fullmatch(string) is not None or DATE.fullmatch(string) is not None


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
    told: list[str] = []
    if content and (match := SEPARATOR_LINE.fullmatch(content[0][1].strip())):
        told = [f"the delimiter is {match[1]!r}, as the first line says"] if options.delimiter == "auto" else []
        options = replace(options, delimiter=match[1]) if told else options
        content = content[1:]
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
    sample = _Sample(records)
    search = _HeaderSearch(records, sample, dialect, options, known_names)
    header = search.find()
    first_row = records[search.first_row].begin if search.first_row < len(records) else records[-1].end
    leading = [line for place, line in marked if place < records[0].begin]
    may_name = not header and options.header is not False
    commented = _commented_header(leading, comment, dialect, sample, known_names) if may_name else []
    below = [line for place, line in marked if place > records[0].begin]
    is_sure = bool(sample.numeric[:1] == [True] or (leading and len(below) <= FEW * len(kept)))

    def are_even(lines: Sequence[str]) -> bool:
        return any(len(next(iter(dialect.readable_records([line])), [])) == sample.width for line in lines)

    # A value may begin with such a mark, too.
    if marked and ((len(leading) == 1 and not commented and are_even(leading)) or (not is_sure and are_even(below))):
        return _find_header(path, lines, options, known_names, has_comments=False)
    if commented:
        header, leading = [commented], leading[:-1]
        search.header_at = marked[len(leading)][0]
    width = max(sample.width, *(len(strings) for strings in header)) if header else sample.width
    names, unnamed, notes = _names(header, width, path, known_names, is_said=options.header is not True)
    end = search.header_at if header else first_row
    above = [line for place, line in content if place < end and not RULE.fullmatch(line.strip())]
    if header and search.has_group:
        above = above[:-1]
    notes = [*told, *skipped(above, "above the header" if header else "above the first row"), *notes]
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
        first_names=() if header else tuple(string.strip() for string in records[search.first_row].strings),
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
                records.append(Record(strings, lines[before][0], lines[n_taken - 1][0] + 1))
            before = n_taken
    return records


class _Sample:
    """The commonest number of strings of the first records, and what their columns hold.

    Attributes:
        width: the number of strings.
        numeric: whether a column holds numbers or dates.
        filled: whether a column holds anything.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.width, _ = commonest(Counter(len(record.strings) for record in records))
        rows = [record.strings for record in records if len(record.strings) == self.width]
        # What stands above the rows does not tell what is in them.
        self.rows = rows[max(1, len(rows) // 2) :]
        columns = [[string.strip() for string in column] for column in zip(*self.rows, strict=True)]
        columns = columns or [[] for _ in range(self.width)]
        known = [[string for string in column if string] for column in columns]
        self.filled = [bool(column) for column in known] if self.rows else [True] * self.width
        self.numeric = [sum(map(is_value, column)) > 0.5 * len(column) for column in known]
        self.strings = [set(column) for column in columns]

    def aligned(self, strings: Sequence[str]) -> list[str] | None:
        """Returns the strings of a header for each column, without blanks around them; None if their number differs.

        One too few is a header without a name for the first column, as R writes it, or for an empty last one.
        """
        stripped = [string.strip() for string in strings]
        if len(stripped) == self.width - 1 and self.width > 2:
            return [*stripped, ""] if not self.filled[-1] else ["", *stripped]
        if len(stripped) > self.width and not any(stripped[self.width :]):
            return stripped[: self.width]
        return stripped if len(stripped) == self.width else None

    def has_values(self, strings: Sequence[str]) -> bool:
        """Checks for a value in a column of values."""
        return any(is_numeric and is_value(string) for string, is_numeric in zip(strings, self.numeric, strict=True))

    def n_filled(self, strings: Sequence[str]) -> int:
        """Counts the strings in columns that hold something."""
        return sum(bool(string) and is_filled for string, is_filled in zip(strings, self.filled, strict=True))

    def names_all(self, strings: Sequence[str]) -> bool:
        """Checks for a name in all columns that hold something, but for the first or a few of many."""
        needed = sum(self.filled) - (not strings[0] and self.filled[0])
        return self.n_filled(strings) >= max(0.8 * needed, 1) and not self.has_values(strings)

    def is_second_header(self, strings: Sequence[str], *, is_third: bool) -> bool:
        """Checks for text above numbers: units, descriptions, or the names below the names of groups."""
        if self.has_values(strings) or len(self.rows) < 2:
            return False
        above = [
            (string, known)
            for string, known, is_numeric in zip(strings, self.strings, self.numeric, strict=True)
            if is_numeric
        ]
        texts = [string for string, _ in above if string]
        # The line in which pandas names the index, below several lines of names.
        if is_third and not any(strings[1:]):
            return True
        if not texts or len(texts) < 0.5 * len(above):
            return False
        # A marker of a missing value may stand in the first row, and comes again.
        if any(string.lower() in NO_UNIT or string in known for string, known in above if string):
            return False
        # Numbers in a form that few rows have, such as 1,001.50 among smaller ones, are a row.
        if any(map(BEGINS_AS_VALUE.match, texts)):
            return False
        others = [string for string, is_numeric in zip(strings, self.numeric, strict=True) if string and not is_numeric]
        return len(texts) > 1 or not others or all(re.fullmatch(r"[(\[].*[)\]]", text) for text in (*texts, *others))


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
        sample: _Sample,
        dialect: Dialect,
        options: TextOptions,
        known_names: Sequence[str],
    ) -> None:
        self.records, self.sample, self.dialect = records, sample, dialect
        self.options, self.known_names = options, set(known_names)
        self.first_row, self.header_at, self.has_group = 0, 0, False

    def find(self) -> list[list[str]]:
        """Returns the strings of the lines that name the columns, as many as there are columns; none without header."""
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
            return [[string.strip() for string in record.strings]]
        header = [strings]
        group = [string.strip() for string in self.records[place - 1].strings] if place else []
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
        if self.options.skip_lines or self.options.header is False:
            return 0, self._is_known(self.records[0].strings, 0) and self.options.header is not False
        sample, first = self.sample, self.records[:MOST_TITLES]
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
        stripped = [string.strip() for string in strings]
        if not self.known_names.intersection(stripped):
            return False
        known = [string for string in stripped if string in self.known_names]
        aligned = self.sample.aligned(strings)
        # A number may be a name, but also a value that stands in other columns as well. Titles may stand above names.
        if all(len(record.strings) < self.sample.width for record in self.records[:place]):
            given = [string for string in stripped if string]
            return len(set(given)) == len(given) or not all(is_value(string) for string in known)
        return aligned is not None and any(self.sample.numeric) and self.sample.names_all(aligned)

    def _has_header(self, place: int, first: Sequence[str] | None) -> bool:
        """Tells names from values: a column of values below a string that is none is the surest sign."""
        if first is None:
            return True
        body = [record.strings for record in self.records[place + 1 :] if len(record.strings) == self.sample.width]
        columns = [[string.strip() for string in column] for column in zip(*body, strict=True)] or [[]] * len(first)
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
        rows = [row for row in self.sample.rows if "".join(row).strip()]
        if self.sample.filled[-1] and len({row[0] for row in rows}) < len(rows):
            return False
        if (
            self.dialect.delimiter != ","
            or not self.sample.filled[-1]
            or not all(is_value(row[0].strip()) for row in rows)
        ):
            return True
        return any("." in string for row in rows for string in row[1:])

    def _is_group(self, strings: Sequence[str]) -> bool:
        """Checks for names of groups above the names of columns: several, not all on the left, none above all."""
        places = [place for place, string in enumerate(strings) if string]
        width = self.sample.width
        return len(strings) == width > 2 and len(places) > 1 and places[-1] >= width / 2


def _commented_header(
    leading: Sequence[str], comment: str, dialect: Dialect, sample: _Sample, known_names: Sequence[str]
) -> list[str]:
    """Returns the names in the last line of comment above the rows, if it names all columns; else an empty list."""
    if not leading:
        return []
    bare = leading[-1].lstrip().removeprefix(comment)
    as_written, without = (next(iter(dialect.readable_records([line])), []) for line in (leading[-1], bare))
    fitting = [
        [string.strip() for string in strings]
        for strings in (as_written, without)
        if len(strings) == sample.width and not sample.has_values([string.strip() for string in strings])
    ]
    if not fitting:
        return []
    # "# of rooms" may be a name, unless there are other lines of comment or the user's name has no mark.
    is_convention = len(leading) > 1 or fitting[-1][0] in known_names
    return fitting[-1] if is_convention else fitting[0]


def _names(
    header: Sequence[Sequence[str]], width: int, path: Path, known_names: Sequence[str], *, is_said: bool
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Returns a name of its own for each column, those that the file does not give, and notes."""
    if not header:
        # The names that polars would give.
        return tuple(f"column_{number}" for number in range(1, width + 1)), (), []
    # A line break in a name could not be typed on the command line.
    lines = [[re.sub(r"\s*[\r\n]\s*", " ", string) for string in line] for line in header]
    found, notes = _chosen_line(lines, known_names)
    names: list[str] = []
    repeated: list[str] = []
    taken = {name for name in found if name}
    for number, name in enumerate(found, 1):
        new = name or f"column_{number}"
        if new in names:
            copies = (f"{new}_{copy}" for copy in range(2, len(found) + 2))
            new = next(copy for copy in copies if copy not in taken)
            repeated.append(f"column {number} is called {new}")
        taken.add(new)
        names.append(new)
    if repeated:
        more = f", … {len(repeated) - 3} more" if len(repeated) > 3 else ""
        notes.append(f"{counted(len(repeated), 'column')} had the name of another: {', '.join(repeated[:3])}{more}")
    unnamed = tuple(name for name, given in zip(names, found, strict=True) if UNNAMED.fullmatch(given))
    return tuple(names), unnamed, notes


def _chosen_line(lines: Sequence[Sequence[str]], known_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Chooses the line of names among several header lines, or joins them; adds notes."""
    if len(lines) == 1:
        return list(lines[0]), []
    first, second = lines[0], lines[1]
    with_known = [line for line in lines if set(known_names) & set(line)]

    def is_complete(line: Sequence[str]) -> bool:
        # The first column may have no name, and neither have columns that no line names.
        is_named = all(name or not any(texts) for name, *texts in list(zip(line, *lines, strict=True))[1:])
        given = [name for name in line if name]
        return is_named and len(set(given)) == len(given)

    likely = with_known[0] if len(with_known) == 1 else first
    chosen = likely if is_complete(likely) else None
    if chosen is first and not with_known and is_complete(second):
        n_generic = sum(bool(GENERIC.fullmatch(name)) for name in first)
        chosen = second if n_generic > 0.8 * len(first) and not all(map(GENERIC.fullmatch, second)) else first
    if chosen is not None:
        rest = [line for line in lines if line is not chosen]
        given = [[name[:30] for name in line if name] for line in rest]
        shown = "; ".join(", ".join(line[:3]) + (", …" if len(line) > 3 else "") for line in given)
        one = "1 further header line is" if len(rest) == 1 else f"{len(rest)} further header lines are"
        return list(chosen), [f"{one} not taken for names: {shown}"]
    filled = []
    for line in lines[:-1]:
        # The name of a group stands once, above its first column.
        group, groups = "", []
        for name in line:
            group = name or group
            groups.append(group)
        filled.append(groups)
    joined = [" ".join(dict.fromkeys(part for part in parts if part)) for parts in zip(*filled, lines[-1], strict=True)]
    example = next((name for name in joined if " " in name), joined[-1])
    return joined, [f"{len(lines)} header lines are joined into names such as {example!r}"]


def skipped(lines: Sequence[str], where: str) -> list[str]:
    """Says how many lines are skipped, with the first of them; nothing where there are none."""
    if not lines:
        return []
    shown = " ".join(lines[0].split())[:60]
    are, more = ("is", "") if len(lines) == 1 else ("are", ", …")
    return [f"{counted(len(lines), 'line')} {where} {are} skipped: {shown!r}{more}"]
