import csv
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.dialect import Dialect
from mlplab.data.table.files import TextFile
from mlplab.data.table.records import Record, plain_dialect, read_records
from mlplab.errors import UserError

Write = Callable[..., Path]


def records(path: Path, dialect: Dialect = Dialect()) -> list[Record]:  # noqa: B008
    return list(read_records(path, TextFile(path, dialect, ())))


def test_each_line_without_quotes_is_a_record(write: Write) -> None:
    assert records(write("a,b\r\n1,\n,2")) == [
        Record(1, 2, b"a,b\r\n", False),
        Record(2, 2, b"1,\n", False),
        Record(3, 2, b",2\n", False),
    ]


def test_a_record_may_go_over_several_lines(write: Write) -> None:
    found = records(write('a,b\n"x\n\n""y"",z",2\n3,"4\r\n5"\n6,7\n'))
    assert found == [
        Record(1, 2, b"a,b\n", False),
        Record(2, 2, b'"x\n\n""y"",z",2\n', False),
        Record(5, 2, b'3,"4\r\n5"\n', False),
        Record(7, 2, b"6,7\n", False),
    ]


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t \n", "  "])
def test_a_blank_line_has_no_cells(write: Write, blank: str) -> None:
    found = records(write(f"a,b\n{blank}"))
    assert [(record.line, record.n_cells) for record in found] == [(1, 2), (2, 0)]


def test_a_line_of_tabs_is_a_row_of_empty_cells_where_tabs_divide(write: Write) -> None:
    found = records(write("a\tb\tc\n\t\t\n \n"), Dialect("\t"))
    assert [record.n_cells for record in found] == [3, 3, 0]


def test_lines_that_are_skipped_count_in_the_numbers(write: Write) -> None:
    path = write('an "unclosed title\n;;\na,b\n1,2\n')
    assert [record.line for record in records(path, Dialect(skip_lines=2))] == [3, 4]
    assert records(path, Dialect(skip_lines=9)) == []


def test_a_byte_order_mark_is_not_part_of_the_first_cell(write: Write) -> None:
    assert records(write('\ufeff"a,b",c\n')) == [Record(1, 2, b'"a,b",c\n', False)]


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ('1, "x,y"', b'1,"x,y"\r\n'),  # blanks before a quote
        ('"x,y" ,2', b'"x,y ",2\r\n'),  # and behind one
        ('5" pipe,2', b'"5"" pipe",2\r\n'),
        ('"x"y,2', b"xy,2\r\n"),
        ('a "b" c,2', b'"a ""b"" c",2\r\n'),
    ],
)
def test_quotes_that_readers_take_in_different_ways_are_written_anew(write: Write, line: str, plain: bytes) -> None:
    assert records(write(f"{line}\n")) == [Record(1, 2, plain, True)]


def test_single_quotes_become_double_ones(write: Write) -> None:
    found = records(write("'x, ''y''',2\nz,5\" \n6,7\n"), Dialect(quote="'"))
    assert found == [
        Record(1, 2, b"\"x, 'y'\",2\r\n", True),
        Record(2, 2, b'z,"5"" "\r\n', True),
        Record(3, 2, b"6,7\n", False),
    ]


def test_blanks_as_delimiter_become_tabs(write: Write) -> None:
    found = records(write(' 1   2 \n"x y" z\n1\t2 3\n\n'), Dialect(" "))
    assert [(record.n_cells, record.plain) for record in found[:3]] == [
        (2, b"1\t2\n"),
        (2, b"x y\tz\r\n"),
        (2, b'"1\t2"\t3\r\n'),
    ]
    assert found[3].n_cells == 0


def test_without_quotes_a_quote_is_a_character(write: Write) -> None:
    assert records(write('"a,b"\n"\n'), Dialect(quote="")) == [
        Record(1, 2, b'"a,b"\n', False),
        Record(2, 1, b'"\n', False),
    ]
    assert records(write('"a b"\n'), Dialect(" ", quote="")) == [Record(1, 2, b'"""a"\t"b"""\r\n', True)]


@pytest.mark.parametrize(
    ("text", "dialect", "line"),
    [
        ('a,b\n1,"x\n2,y\n', Dialect(), 2),
        ('a,b\n1,"x\n2,"y"\n3,z\n', Dialect(), 2),
        ('a,b\n1,2\n"x\n', Dialect(), 3),
        ('a,b\n5" pipe,"x\n2,y\n3,z\n', Dialect(), 2),  # an even number of quotes
        ("a,b\n1,'x\n2,'y'\n", Dialect(quote="'"), 2),
        ('a b\n1 "x\n2 "y"\n', Dialect(" "), 2),
        ('a,b\n\n"x\n\n', Dialect(), 3),
        ('skipped\na,b\n1,"x\n', Dialect(skip_lines=1), 3),
    ],
)
def test_a_quote_that_is_not_closed_is_refused_with_its_line(
    write: Write, text: str, dialect: Dialect, line: int
) -> None:
    with pytest.raises(UserError, match=r"every quote in table\.csv must be closed") as refusal:
        records(write(text), dialect)
    assert refusal.value.actual == f"one that opens in line {line} is not"
    assert "data.quote=none" in refusal.value.hint


def test_blanks_around_a_quote_that_goes_over_several_lines_do_no_harm(write: Write) -> None:
    found = records(write('a,b\n1, "x\ny" \n"z\n" ,2\n'))
    assert [(record.line, record.n_cells, record.plain) for record in found[1:]] == [
        (2, 2, b'1,"x\ny "\r\n'),
        (4, 2, b'"z\n ",2\r\n'),
    ]


def test_a_cell_beyond_all_bounds_is_refused_with_its_line(write: Write) -> None:
    with pytest.raises(UserError, match=r"larger than field limit \(131072\), in line 2"):
        records(write('a,b\n"' + "x" * 200_000 + '\n",2\n'))


def test_a_line_end_of_old_macs_far_into_a_file_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"new-line character seen in unquoted field.*, in line 2"):
        records(write('a,b\n"1",2\r"3",4\n'))


def test_bytes_that_are_no_utf_8_are_refused(write: Write) -> None:
    with pytest.raises(UserError, match="must be a table that can be read"):
        records(write(b'a,b\n"\xff,1\n'))


CELLS = st.text(st.sampled_from(list("ab\"',;|\t \n-0é😀\u2028\x85\x0b\x1c\\#")), max_size=6)


@settings(max_examples=examples(200))
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t| "),
    quote=st.sampled_from("\"'"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_plainly_holds_the_same_cells(
    write: Write, rows: list[list[str]], delimiter: str, quote: str, quoting: int, end: str
) -> None:
    out = StringIO()
    # Blanks around cells would be taken for delimiters.
    quoting = csv.QUOTE_ALL if delimiter == " " else quoting
    csv.writer(out, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    dialect = Dialect(delimiter, quote)
    found = records(write(out.getvalue()), dialect)
    assert [record.n_cells for record in found] == [len(row) for row in rows]
    plain = plain_dialect(dialect)
    text = StringIO(b"".join(record.plain for record in found).decode(), newline="")
    again = list(csv.reader(text, delimiter=plain.delimiter, quotechar=plain.quote, strict=True))
    # Blanks before a cell without quotes are no part of it; table cells are stripped later in any case.
    assert [[cell.lstrip(" ") for cell in row] for row in again] == [[cell.lstrip(" ") for cell in row] for row in rows]
