import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table import row_count
from mlplab.data.table.row_count import count_rows
from mlplab.data.table.text_layout import Dialect, TextFile
from mlplab.data.table.text_records import read_records
from mlplab.errors import UserError

Write = Callable[..., Path]

COMMAS, TWO = Dialect(), ("a", "b")


def counted(path: Path, dialect: Dialect = COMMAS, names: tuple[str, ...] = TWO, n_before: int = 0) -> int | None:
    return count_rows(TextFile(path, dialect, names, n_before))


def records(path: Path, dialect: Dialect = COMMAS, n_before: int = 0) -> list[tuple[int, list[str]]]:
    return [found[:2] for found in read_records(path, TextFile(path, dialect, TWO, n_before), [])]


TEXTS = st.lists(st.sampled_from([*'aN,,,""\n\n; ', "\r\n"]), max_size=40).map("".join)


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
    monkeypatch.setattr(row_count, "BLOCK_BYTES", block)
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


@settings(max_examples=examples(80))
@given(text=TEXTS, quote=st.sampled_from(['"', "'", ""]), n_columns=st.integers(2, 3), block=st.integers(1, 9))
def test_the_quick_count_is_that_of_a_closer_look(
    write: Write, text: str, quote: str, n_columns: int, block: int
) -> None:
    path, dialect = write(text), Dialect(quote=quote)
    names = ("a", "b", "c")[:n_columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_count, "BLOCK_BYTES", block)
        n_rows = counted(path, dialect, names)
    try:
        found = records(path, dialect)
    except UserError:
        assert n_rows is None
        return
    if n_rows is not None:
        assert len(found) == n_rows
        assert all(len(strings) == n_columns for _, strings in found)
