"""A clean table, with whatever programs leave around one: its values are read, by training and by prediction."""

import bz2
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.reading_options import Reading
from mlplab.data.table.strings import null_missing
from mlplab.data.table.table_opening import open_table
from mlplab.data.table.table_reading import read_table, table_blocks
from mlplab.data.table.text_layout import TextOptions

Write = Callable[..., Path]
NAMES = ["height", "weight", "town", "y"]


@dataclass
class Decorated:
    """The strings of a table, and the lines around and between them."""

    rows: list[list[str]]
    header: list[list[str]]
    delimiter: str
    generator: random.Random
    above: list[str]
    below: list[str]
    between: list[str]

    def text(self) -> str:
        lines = [self.delimiter.join(strings) for strings in self.rows]
        for line in self.between:
            lines.insert(self.generator.randrange(1, len(lines)), line)
        header = [self.delimiter.join(strings) for strings in self.header]
        return "\n".join([*self.above, *header, *lines, *self.below]) + "\n"


def comments_above(table: Decorated) -> None:
    table.above += ["# measured by me, in 2020; at home", "#"]


def comments_between(table: Decorated) -> None:
    table.between += ["# a break, here; or there", "#"]


def title(table: Decorated) -> None:
    table.above += ["Report of a study"]


def padded_title(table: Decorated) -> None:
    table.above += ["Report of a study" + table.delimiter * (len(table.rows[0]) - 1), ""]


def blank_lines(table: Decorated) -> None:
    table.above += ["", ""]
    table.between += ["", "  "]


def units(table: Decorated) -> None:
    table.header += [["cm", "kg", *[""] * (len(table.header[0]) - 2)]]


def index(table: Decorated) -> None:
    for number, row in enumerate(table.rows):
        row.insert(0, str(number))
    for line in table.header:
        line.insert(0, "")


def row_names(table: Decorated) -> None:
    for number, row in enumerate(table.rows):
        row.insert(0, f"r{number}")


def empty_columns(table: Decorated) -> None:
    for line in (*table.rows, *table.header):
        line += ["", ""]


def trailing_delimiters(table: Decorated) -> None:
    for row in table.rows:
        row.append("")


def total(table: Decorated) -> None:
    strings = ["", *["Total", "1234.5"]] if not table.header[0][0] else ["Total", "1234.5"]
    table.below += [table.delimiter.join([*strings, *[""] * (len(table.rows[0]) - len(strings))])]


def source(table: Decorated) -> None:
    table.below += ["", "Source: somebody"]


def count(table: Decorated) -> None:
    table.below += [f"({len(table.rows)} rows)"]


def empty_rows(table: Decorated) -> None:
    table.below += [table.delimiter * (len(table.rows[0]) - 1)] * 2


def repeated_header(table: Decorated) -> None:
    table.between += [table.delimiter.join(table.header[0])]


def separator(table: Decorated) -> None:
    table.above.insert(0, f"sep={table.delimiter}")


AROUND = [comments_above, title, padded_title, blank_lines, source, count, empty_rows, comments_between]
WITHIN = [units, index, row_names, empty_columns, trailing_delimiters]
LATE = [total, repeated_header, separator]


@settings(max_examples=examples(60))
@given(
    n_rows=st.integers(20, 60),
    seed=st.integers(0, 99),
    around=st.lists(st.sampled_from(AROUND), unique=True, max_size=5),
    within=st.lists(st.sampled_from(WITHIN), unique=True, max_size=2),
    late=st.lists(st.sampled_from(LATE), unique=True, max_size=2),
    delimiter=st.sampled_from(",;\t|~"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    pack=st.sampled_from([bytes, gzip.compress, bz2.compress]),
)
def test_decorations_change_no_value(
    write: Write,
    n_rows: int,
    seed: int,
    around: list[Callable[[Decorated], None]],
    within: list[Callable[[Decorated], None]],
    late: list[Callable[[Decorated], None]],
    delimiter: str,
    encoding: str,
    end: str,
    pack: Callable[[bytes], bytes],
) -> None:
    generator = random.Random(seed)
    rows = [
        [
            f"{generator.randrange(150, 200)}",
            f"{generator.randrange(400, 900) / 10}",
            generator.choice(["Ulm", "Köln", "Bad Ems"]),
            generator.choice(["yes", "no", "maybe"]),
        ]
        for _ in range(n_rows)
    ]
    clean = pl.DataFrame(rows, schema=NAMES, orient="row")
    table = Decorated([list(row) for row in rows], [list(NAMES)], delimiter, generator, [], [], [])
    if row_names in within:  # R writes nothing else beside them
        within = [row_names]
    for decorate in (*within, *around, *late):
        decorate(table)
    path = write(pack(table.text().replace("\n", end).encode(encoding)))
    read = read_table(path, Reading(), known_names=["y"])
    assert read.frame.columns == NAMES
    assert read.frame.select(pl.col("*").cast(pl.String)).rows() == [
        (row[0], str(float(row[1])), row[2], row[3]) for row in rows
    ]
    # Nothing is skipped without a word.
    assert bool(read.notes) == bool({*around, *within, *late} - {blank_lines} or encoding == "utf-16-le")
    with open_table(path, TextOptions(), known_names=NAMES) as opened:
        frame = pl.concat(table_blocks(path, opened, [])).select(NAMES)
    assert pl.DataFrame([null_missing(series, (), ()) for series in frame]).equals(clean)
