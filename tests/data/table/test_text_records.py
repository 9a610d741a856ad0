import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table import text_records
from mlplab.data.table.text_footer import without_tail
from mlplab.data.table.text_header import TextFile
from mlplab.data.table.text_layout import Dialect
from mlplab.data.table.text_records import copy_plainly, count_rows, read_records
from mlplab.errors import UserError

Write = Callable[..., Path]

COMMAS, TWO = Dialect(), ("a", "b")


def counted(path: Path, dialect: Dialect = COMMAS, names: tuple[str, ...] = TWO, n_before: int = 0) -> int | None:
    return count_rows(TextFile(path, dialect, names, n_before))


def records(path: Path, dialect: Dialect = COMMAS, n_before: int = 0) -> list[tuple[int, list[str]]]:
    return [found[:2] for found in read_records(path, TextFile(path, dialect, TWO, n_before), [])]


def copied(path: Path, dialect: Dialect = COMMAS, names: tuple[str, ...] = TWO) -> bytes:
    copy, n_rows = copy_plainly(path, TextFile(path, dialect, names), path.with_name("copy"))
    assert count_rows(copy) == n_rows or len(names) == 1
    return copy.path.read_bytes()


@pytest.mark.parametrize(
    ("text", "dialect", "n_records"),
    [
        ("a,b\n1,2\n,\n", Dialect(), 3),
        ("a,b\r\n1,2\r\n3,4", Dialect(), 3),
        ("\ufeffa,b\n1,2\n", Dialect(), 2),
        ("\ta\n\t\n", Dialect("\t"), 2),
        ("title\n\na;b\n1;2\n", Dialect(";"), 2),
        ('"a","b"\n"x,y\nz","say ""so"""\n"",""""\n', Dialect(), 3),
        ('a,b\r\n"1\r\n2",3\r\n', Dialect(), 2),
        ('\ufeff"a","b"\n1,2\n', Dialect(), 2),
        ('a,b\n5" pipe,2\n"x,3\n', Dialect(quote=""), 3),
        ("a,b\n'x;y,2\n", Dialect(), 2),
        ("ä,é\n😀,\u2028\n", Dialect(), 2),
    ],
)
@pytest.mark.parametrize("block", [5, 1 << 20])
def test_even_and_plain_files_are_counted(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, dialect: Dialect, n_records: int, block: int
) -> None:
    monkeypatch.setattr(text_records, "BLOCK_BYTES", block)
    assert counted(write(text), dialect, n_before=2 if text.startswith("title") else 0) == n_records


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a,b\n1,2,3\n4\n", Dialect()),  # as many delimiters as there should be
        ("a,b\n1,2\n\n3,4\n", Dialect()),
        ("a,b\n1,2\n \t\n", Dialect()),
        ("a,b\n1,2\n\n", Dialect()),
        ('a,b\n5" pipe,2\n6" pipe,3\n', Dialect()),
        ('a,b\n"x"y,2\n', Dialect()),
        ('a,b\n1, "x"\n', Dialect()),
        ('a,b\n"x" ,2\n', Dialect()),
        ('a,b\n"1",2\r3\n', Dialect()),
        ('a,b\n1,"x\n2,y\n', Dialect()),
        ("a,b\n1,'x'\n", Dialect(quote="'")),
        ('a,b\n1,"x"\n', Dialect(quote="'")),
        ("a b\n1 2\n", Dialect(" ")),
        ('a,b\n"' + "x\n" * 100_000 + '",2\n', Dialect()),
    ],
)
def test_what_readers_may_take_in_different_ways_is_left_to_a_closer_look(
    write: Write, text: str, dialect: Dialect
) -> None:
    assert counted(write(text), dialect) is None


def test_a_value_beyond_all_bounds_is_left_to_a_closer_look(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('a,b\n"' + "x" * 200_000 + '\n",2\n')
    assert counted(path) is None
    monkeypatch.setattr(csv, "field_size_limit", lambda: 300_000)
    assert counted(path) == 2


def test_a_single_column_is_left_to_a_closer_look(write: Write) -> None:
    assert counted(write("a\n1\n\n2\n"), names=("a",)) is None


TEXTS = st.lists(st.sampled_from([*'aN,,,""\n\n; ', "\r\n"]), max_size=40).map("".join)


@settings(max_examples=examples(80))
@given(text=TEXTS, quote=st.sampled_from(['"', "'", ""]), n_columns=st.integers(2, 3), block=st.integers(1, 9))
def test_the_quick_count_is_that_of_a_closer_look(
    write: Write, text: str, quote: str, n_columns: int, block: int
) -> None:
    path, dialect = write(text), Dialect(quote=quote)
    names = ("a", "b", "c")[:n_columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_records, "BLOCK_BYTES", block)
        n_rows = counted(path, dialect, names)
    try:
        found = records(path, dialect)
    except UserError:
        assert n_rows is None
        return
    if n_rows is not None:
        assert len(found) == n_rows
        assert all(len(strings) == n_columns for _, strings in found)


def test_each_line_without_quotes_is_a_record(write: Write) -> None:
    assert records(write("a,b\r\n1,\n,2")) == [(1, ["a", "b"]), (2, ["1", ""]), (3, ["", "2"])]


def test_a_record_may_go_over_several_lines(write: Write) -> None:
    found = records(write('a,b\n"x\n\n""y"",z",2\n3,"4\r\n5"\n6,7\n'))
    assert found == [(1, ["a", "b"]), (2, ['x\n\n"y",z', "2"]), (5, ["3", "4\r\n5"]), (7, ["6", "7"])]


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t \n", "  "])
def test_a_blank_line_is_no_record(write: Write, blank: str) -> None:
    assert records(write(f"a,b\n{blank}")) == [(1, ["a", "b"])]


def test_a_line_of_tabs_is_a_row_of_empty_strings_where_tabs_separate(write: Write) -> None:
    found = records(write("a\tb\tc\n\t\t\n \n"), Dialect("\t"))
    assert [len(strings) for _, strings in found] == [3, 3]


def test_lines_that_are_skipped_count_in_the_numbers(write: Write) -> None:
    path = write('an "unclosed title\n;;\na,b\n1,2\n')
    assert [line for line, _ in records(path, n_before=2)] == [3, 4]
    assert records(path, n_before=9) == []


def test_a_byte_order_mark_is_not_part_of_the_first_string(write: Write) -> None:
    assert records(write('\ufeff"a,b",c\n')) == [(1, ["a,b", "c"])]


@pytest.mark.parametrize(
    ("line", "dialect", "plain"),
    [
        ('1, "x,y"', COMMAS, b'1,"x,y"\r\n'),  # blanks before a quote
        ('"x,y" ,2', COMMAS, b'"x,y",2\r\n'),  # and behind one
        ('5" pipe,2', COMMAS, b'"5"" pipe",2\r\n'),
        ('"x"y,2', COMMAS, b"xy,2\r\n"),
        ('a "b" c,2', COMMAS, b'"a ""b"" c",2\r\n'),
        ("'x, ''y''',2", Dialect(quote="'"), b"\"x, 'y'\",2\r\n"),  # single quotes become double ones
        ('z,5" ', Dialect(quote="'"), b'z,"5"""\r\n'),
        (" 1   2 ", Dialect(" "), b"1\t2\r\n"),  # blanks as delimiter become tabs
        ('"x y" z', Dialect(" "), b"x y\tz\r\n"),
        ("1\t2 3", Dialect(" "), b'"1\t2"\t3\r\n'),
        ("1 \t 2", Dialect(" ", has_tabs=True), b"1\t2\r\n"),
        ('"a,b"', Dialect(quote=""), b'"""a","b"""\r\n'),  # a quote is a character
        ('"a b"', Dialect(" ", quote=""), b'"""a"\t"b"""\r\n'),
    ],
)
def test_all_readers_agree_about_a_copy(write: Write, line: str, dialect: Dialect, plain: bytes) -> None:
    assert copied(write(f"{line}\n"), dialect) == plain


def test_a_copy_has_no_blank_lines(write: Write) -> None:
    assert copied(write("a\n\n1\n  \n"), names=("a",)) == b"a\r\n1\r\n"


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
        ('skipped\na,b\n1,"x\n', Dialect(), 3),
    ],
)
def test_a_quote_that_is_not_closed_is_refused_with_its_line(
    write: Write, text: str, dialect: Dialect, line: int
) -> None:
    with pytest.raises(UserError, match=r"every quote in table\.csv must be closed") as refusal:
        records(write(text), dialect, n_before=int(text.startswith("skipped")))
    assert refusal.value.actual == f"one that opens in line {line} is not"
    assert "data.quote=none" in refusal.value.hint


def test_blanks_around_a_quote_that_goes_over_several_lines_do_no_harm(write: Write) -> None:
    found = records(write('a,b\n1, "x\ny" \n"z\n" ,2\n'))
    assert found[1:] == [(2, ["1", "x\ny "]), (4, ["z\n ", "2"])]


def test_a_value_beyond_all_bounds_is_refused_with_its_line(write: Write) -> None:
    with pytest.raises(UserError, match=r"larger than field limit \(131072\), in line 2"):
        records(write('a,b\n"' + "x" * 200_000 + '\n",2\n'))


def test_a_line_end_of_old_macs_far_into_a_file_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"new-line character seen in unquoted field.*, in line 2"):
        records(write('a,b\n"1",2\r"3",4\n'))


def test_bytes_that_are_no_utf_8_are_refused(write: Write) -> None:
    with pytest.raises(UserError, match="must be a table that can be read"):
        records(write(b'a,b\n"\xff,1\n'))


CELLS = st.text(st.sampled_from(list("ab\"',;|\t \n-0é😀\u2028\x85\x0b\x1c\\#")), max_size=6)


@settings(max_examples=examples(40))
@given(
    rows=st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=8)),
    delimiter=st.sampled_from(",;\t| "),
    quote=st.sampled_from("\"'"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_copy_holds_the_same_strings(
    write: Write, rows: list[list[str]], delimiter: str, quote: str, quoting: int, end: str
) -> None:
    out = io.StringIO()
    rows = [*rows, ["0"] * len(rows[0])]  # behind it, empty rows would be no rows
    # Blanks around strings would be taken for delimiters.
    quoting = csv.QUOTE_ALL if delimiter == " " else quoting
    csv.writer(out, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    copy = copied(write(out.getvalue()), Dialect(delimiter, quote), tuple("abcd"[: len(rows[0])]))
    text = io.StringIO(copy.decode(), newline="")
    again = list(csv.reader(text, delimiter="\t" if delimiter == " " else delimiter, strict=True))
    # Blanks before a string without quotes are no part of it; strings are stripped later in any case.
    assert [[cell.strip(" ") for cell in row] for row in again] == [[cell.strip(" ") for cell in row] for row in rows]


def copied_rows(write: Write, text: str, **of_file: Any) -> tuple[list[list[str]], str]:
    """The rows of a copy, and what is told of the others."""
    options = {"dialect": COMMAS, "names": ("a", "b", "c"), "numeric": (True, True, False), **of_file}
    path = write(text)
    copy, n_rows = copy_plainly(path, TextFile(path, **options), path.with_name("copy"))
    rows = [line.split(",") for line in copy.path.read_text().splitlines()]
    assert len(rows) == n_rows
    return rows, "; ".join(copy.notes)


ROWS = "".join(f"{number},{number}.5,x\n" for number in range(20))
PLAIN = [line.split(",") for line in ROWS.splitlines()]


@pytest.mark.parametrize(
    ("below", "note"),
    [
        ("Total,345,\n", "1 line below the rows is skipped: 'Total 345'"),
        ("Total,345\n", "1 line below"),
        ("\nSource: WHO, Geneva\n", "1 line below the rows is skipped: 'Source: WHO Geneva'"),
        ("(20 rows)\n\n", "1 line below"),
        ("20 rows selected.\n", "1 line below"),
        ("Mean,2.5,\nSD,1.5,\n\n* by me\n", "3 lines below the rows are skipped: 'Mean 2.5'"),
        (",,\n,,\n", "2 empty rows at the end are skipped"),
        ("# the end\n", "1 line of comment between the rows is skipped: '# the end'"),
        ("a,b,c\n", "1 line that repeats"),
        ("---,---,---\n", "1 line below"),
        ("99,1", "the last line, 21, is cut off: left out"),
    ],
)
def test_lines_below_the_rows_are_skipped_and_told(write: Write, below: str, note: str) -> None:
    rows, notes = copied_rows(write, ROWS + below, header=(("a", "b", "c"),))
    assert rows == PLAIN
    assert note in notes


def test_lines_between_the_rows_that_are_none_are_skipped_and_told(write: Write) -> None:
    rows, notes = copied_rows(
        write, f"{ROWS}# Tuesday, and, so\na,b,c\n+---+---+\n\n{ROWS}", header=(("a", "b", "c"),), is_comment_sure=True
    )
    assert rows == PLAIN * 2
    assert notes == (
        "1 line of comment between the rows is skipped: '# Tuesday, and, so'; 1 line that repeats the header is skipped"
    )


def test_what_looks_like_a_footer_between_the_rows_is_a_row(write: Write) -> None:
    rows, _ = copied_rows(write, f"{ROWS}mean,1,\n{ROWS}mean,2,\n")
    assert rows == [*PLAIN, ["mean", "1", ""], *PLAIN, ["mean", "2", ""]]


def test_a_few_rows_may_be_short_at_the_right_and_end_with_delimiters(write: Write) -> None:
    rows, notes = copied_rows(write, f"{ROWS}21,2\n22,3,x,,\n{ROWS}")
    assert rows == [*PLAIN, ["21", "2", ""], ["22", "3", "x"], *PLAIN]
    assert "1 row has fewer values than there are columns, the first in line 21: the last ones are taken" in notes
    assert "delimiters behind the last column are left out, in 1 row" in notes


@pytest.mark.parametrize(
    "odd",
    [
        "21,x\n",  # text where the others have numbers: a value is missing in between
        "21,2,x,3\n",
        "21,2\n" * 5,  # many
    ],
)
def test_other_rows_that_differ_are_refused(write: Write, odd: str) -> None:
    with pytest.raises(UserError, match=r"every row of table\.csv must have 3 values"):
        copied_rows(write, f"{ROWS}{odd}{ROWS}")


def test_an_even_file_with_a_total_or_a_second_header_is_left_to_a_closer_look(write: Write) -> None:
    of_file: Any = {"names": ("a", "b", "c"), "header_line": "a,b,c", "numeric": (True, True, False)}
    for text, n_rows in ((ROWS, 20), (f"{ROWS}Total,345,\n", None), (f"{ROWS}a,b,c\n{ROWS}", None)):
        assert count_rows(without_tail(TextFile(write(text), COMMAS, **of_file))) == n_rows


@pytest.mark.parametrize(
    ("below", "n_lines"),
    [
        ("\n\n", 0),
        ("\nSource: WHO\n", 1),
        ("(20 rows)\n\n", 1),
        ("# by me, with\n\n# and others\n", 2),
        ("", 0),
        ("99,1\n", 0),  # a short row
        ('"Source: "\n', 0),  # may be the end of a string
    ],
)
def test_a_tail_that_needs_no_closer_look_is_cut_off(write: Write, below: str, n_lines: int) -> None:
    file = TextFile(write(ROWS + below), COMMAS, ("a", "b", "c"), numeric=(True, True, False))
    cut = without_tail(file)
    is_cut = below not in ("", "99,1\n", '"Source: "\n')
    assert cut.n_tail_bytes == (len(below) if is_cut else 0)
    assert count_rows(cut) == (20 if is_cut or not below else None)
    assert (f"{n_lines} line" in "; ".join(cut.notes)) == bool(n_lines)


@pytest.mark.parametrize("delimiter", ["§", "¦", "::", "名"])
def test_delimiters_of_several_bytes_become_tabs(write: Write, delimiter: str) -> None:
    path = write(f"1{delimiter}2\n")
    file = TextFile(path, Dialect(delimiter), TWO)
    assert count_rows(file) is None
    copy, _ = copy_plainly(path, file, path.with_name("copy"))
    assert copy.path.read_bytes() == b"1\t2\r\n"
