import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table import text_scan
from mlplab.data.table.dialect import Dialect
from mlplab.data.table.files import TextFile
from mlplab.data.table.records import read_records
from mlplab.data.table.text_scan import Scan, scan_text
from mlplab.errors import UserError

Write = Callable[..., Path]

COMMAS, TWO = Dialect(), ("a", "b")


def scanned(
    path: Path,
    dialect: Dialect = COMMAS,
    names: tuple[str, ...] = TWO,
    spellings: tuple[str, ...] = (),
) -> Scan | None:
    return scan_text(TextFile(path, dialect, names), spellings)


@pytest.mark.parametrize(
    ("text", "dialect", "n_records"),
    [
        ("a,b\n1,2\n,\n", Dialect(), 3),
        ("a,b\r\n1,2\r\n3,4", Dialect(), 3),
        ("\ufeffa,b\n1,2\n", Dialect(), 2),
        ("\ta\n\t\n", Dialect("\t"), 2),
        ("title\n\na;b\n1;2\n", Dialect(";", skip_lines=2), 2),
        ('"a","b"\n"x,y\nz","say ""so"""\n"",""""\n', Dialect(), 3),
        ('a,b\r\n"1\r\n2",3\r\n', Dialect(), 2),
        ('\ufeff"a","b"\n1,2\n', Dialect(), 2),
        ('a,b\n5" pipe,2\n"x,3\n', Dialect(quote=""), 3),
        ("a,b\n'x;y,2\n", Dialect(), 2),
        ("ä,é\n😀,\u2028\n", Dialect(), 2),
    ],
)
@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_even_and_plain_files_are_counted(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, dialect: Dialect, n_records: int, block: int
) -> None:
    monkeypatch.setattr(text_scan, "BLOCK_BYTES", block)
    assert scanned(write(text), dialect) == Scan(n_records, ())


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
    assert scanned(write(text), dialect) is None


def test_a_cell_beyond_all_bounds_is_left_to_a_closer_look(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('a,b\n"' + "x" * 200_000 + '\n",2\n')
    assert scanned(path) is None
    monkeypatch.setattr(csv, "field_size_limit", lambda: 300_000)
    assert scanned(path) == Scan(2, ())


def test_a_single_column_is_left_to_a_closer_look(write: Write) -> None:
    assert scanned(write("a\n1\n\n2\n"), names=("a",)) is None


SPELLINGS = ("", "NA", "NaN", "na", "?", "-9", 'a"b', "ü")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b\n1,NA\n", ("NA",)),
        ("a,b\r\n?,2\r\n1,NaN\r\n", ("?", "NaN")),
        ('a,b\n"NA",-9', ("NA", "-9")),
        ("NA,b\n1,2\n", ("NA",)),
        ("a,b\nü,1\n", ("ü",)),
        ("a,b\nBANANA,NAB\nxNA,N\n1-9,-95\nwhy?,nA\n", ()),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_cells_are_found_that_are_searched_for(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, found: tuple[str, ...], block: int
) -> None:
    monkeypatch.setattr(text_scan, "BLOCK_BYTES", block)
    scan = scanned(write(text), spellings=SPELLINGS)
    assert scan is not None
    # The empty cell, and one with a quote that would be doubled, are not searched for.
    assert set(scan.spellings) == {"", 'a"b', *found}


TEXTS = st.text(st.sampled_from(list('aN,,,""\n\n\r; ')), max_size=40)


@settings(max_examples=examples(500))
@given(text=TEXTS, quote=st.sampled_from(['"', "'", ""]), n_columns=st.integers(2, 3), block=st.integers(1, 9))
def test_a_scan_says_what_a_closer_look_says(write: Write, text: str, quote: str, n_columns: int, block: int) -> None:
    path, dialect = write(text), Dialect(quote=quote)
    names = ("a", "b", "c")[:n_columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_scan, "BLOCK_BYTES", block)
        scan = scanned(path, dialect, names)
    try:
        records = list(read_records(path, TextFile(path, dialect, names)))
    except UserError:
        assert scan is None
        return
    if scan is not None:
        assert len(records) == scan.n_records
        assert all(record.n_cells == n_columns and not record.is_rewritten for record in records)


CELLS = st.text(st.sampled_from(list('aN,"\n;é?-9')), max_size=4)


@settings(max_examples=examples(200))
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 20),
)
def test_what_programs_write_is_even_and_plain_and_no_cell_is_missed(
    write: Write, rows: list[list[str]], delimiter: str, quoting: int, end: str, block: int
) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_scan, "BLOCK_BYTES", block)
        scan = scanned(write(out.getvalue()), Dialect(delimiter), spellings=SPELLINGS)
    assert scan is not None
    assert scan.n_records == len(rows)
    assert {cell for row in rows for cell in row} & set(SPELLINGS) <= set(scan.spellings)
