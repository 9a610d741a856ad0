import csv
import gzip
import json
import random
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlplab.data.table import csv_reading, table_reading
from mlplab.data.table.csv_reading import has_leading_zero
from mlplab.data.table.reading_options import Reading
from mlplab.data.table.strings import MISSING, null_missing
from mlplab.data.table.table_opening import open_table
from mlplab.data.table.table_reading import fingerprint, read_table, table_blocks
from mlplab.data.table.text_layout import TextFile, TextOptions
from mlplab.errors import UserError

Write = Callable[..., Path]


def read(path: Path, **options: Any) -> dict[str, list[Any]]:
    as_text = tuple(options.pop("as_text", ()))
    return read_table(path, Reading(TextOptions(**options), as_text=as_text)).frame.to_dict(as_series=False)


def read_blocks(path: Path, size: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[pl.DataFrame]:
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", size)
    return blocks_of(path, **options)


def blocks_of(path: Path, **options: Any) -> list[pl.DataFrame]:
    with open_table(path, TextOptions(**options)) as opened:
        return list(table_blocks(path, opened, []))


def as_written(path: Path, **options: Any) -> pl.DataFrame:
    """The whole file at once, every cell as text."""
    with open_table(path, TextOptions(**options)) as opened:
        names = opened.rows.names
    return read_table(path, Reading(TextOptions(**options), as_text=names)).frame


COLUMNS = {"n": [1, 2, None], "x": [0.5, None, 1.5], "word": ["a", "b", None]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table", "table.parquet"])
def test_text_is_read_whatever_divides_and_packs_it_and_whatever_its_name(
    write: Write, delimiter: str, pack: Callable[[bytes], bytes], name: str
) -> None:
    text = "n,x,word\n1,0.5,a\n2,NA,b\n,1.5,\n".replace(",", delimiter)
    assert read(write(pack(text.encode()), name)) == COLUMNS


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_parquet_is_read_whatever_its_name(write: Write, name: str) -> None:
    out = BytesIO()
    pl.DataFrame(COLUMNS).write_parquet(out)
    path = write(out.getvalue(), name)
    assert read(path) == COLUMNS


@pytest.mark.parametrize("name", ["a=1*[x]?.csv", "a=1*[x]?.parquet"])
def test_a_name_is_no_pattern(write: Write, name: str) -> None:
    out = BytesIO()
    pl.DataFrame(COLUMNS).write_parquet(out)
    content = out.getvalue() if name.endswith("parquet") else "n,x,word\n1,0.5,a\n2,,b\n,1.5,\n"
    path = write(content, name)
    (path.parent / "a=1b[x]c.csv").write_text("n,x,word\n9,9,z\n")
    assert read(path) == COLUMNS


def test_a_column_is_left_as_text_where_that_is_said(write: Write) -> None:
    path = write(" zip ,n\n7,1\n10,2\n")
    assert read(path) == {"zip": [7, 10], "n": [1, 2]}
    assert read(path, as_text=["zip", "not there"]) == {"zip": ["7", "10"], "n": [1, 2]}
    assert read(write("7,1\n10,2\n"), as_text=["column_1"])["column_1"] == ["7", "10"]


@pytest.mark.parametrize("n_before", [0, 3, 60_000, 131_071, 131_072])  # some lie across the end of a block
def test_whole_numbers_stay_text_where_one_begins_with_zero(write: Write, n_before: int) -> None:
    found = read_table(write("a,b\n" + "1,2\n" * n_before + "3,007\n3,10\n"), Reading()).frame
    assert found.dtypes == [pl.Int64, pl.String]
    assert found["b"].tail(2).to_list() == ["007", "10"]


def test_leading_zeros_are_found_beside_missing_values_and_within_quotes(write: Write) -> None:
    assert read(write('a,b\n"007",1\nNA,2\n"8",3\n')) == {"a": ["007", None, "8"], "b": [1, 2, 3]}
    assert read(write("a;b\n1;007\r\n2;8"))["b"] == ["007", "8"]


@pytest.mark.parametrize("cell", ["0", "0.5", "007.5", "00:30", "01/02/2024", "-05", "00a"])
def test_what_is_no_string_of_digits_leaves_whole_numbers_alone(write: Write, cell: str) -> None:
    path = write(f"a,b\n1,{cell}\n20,{cell}\n")
    with open_table(path, TextOptions()) as opened:
        assert isinstance(opened.rows, TextFile)
        assert not has_leading_zero(opened.rows)
    assert read(path)["a"] == [1, 20]


def test_long_whole_numbers_are_exact(write: Write) -> None:
    numbers = [12345678901234567, 123456789012345678901]
    assert read(write(f"a,b\n{numbers[0]},1\n{numbers[1]},2\n"))["a"] == numbers
    assert read(write(f"a,b\n{numbers[0]},1\nNA,3\n{numbers[1]},2\n"))["a"] == [numbers[0], None, numbers[1]]


@pytest.mark.parametrize("late", ["1.5", "x", "NA", "99999999999999999999999999999999999999999999999"])
def test_a_value_far_down_that_does_not_fit_changes_the_type_of_its_column(write: Write, late: str) -> None:
    n_rows = csv_reading.INFERENCE_ROWS + 500
    found = read_table(write("a,b\n" + "1,2\n" * n_rows + f"{late},3\n"), Reading(missing_values=("NA",)))
    assert len(found.frame) == n_rows + 1
    # Where polars cannot read what it takes for a number, all columns come as text.
    assert [int(cell) for cell in found.frame["b"]] == [2] * n_rows + [3]
    last = found.frame["a"][-1]
    assert last == {"1.5": 1.5, "NA": None}.get(late, late)


@pytest.mark.parametrize("odd", ["١٢٣", "9" * 50, "1" * 400])
def test_what_polars_takes_for_a_number_and_cannot_read_is_text(write: Write, odd: str) -> None:
    assert read(write(f"a,b\n{odd},x\n{odd},y\n"))["a"] == [odd, odd]


def test_markers_are_missing_and_those_of_ones_own_too(write: Write) -> None:
    path = write("a,b\n1,x\nNA,\n-9,?\n")
    found = read_table(path, Reading(missing_values=("-9",))).frame
    assert found.to_dict(as_series=False) == {"a": [1, None, None], "b": ["x", None, None]}
    kept = read_table(path, Reading(keep_values={"b": ["?"]})).frame
    assert kept["b"].to_list() == ["x", None, "?"]


BLANKS = [
    ("a,b\n\n1,x\n2,y\n", "after the header"),
    ("\n\na,b\n1,x\n\n\n2,y\n", "before the header"),
    ("\r\na,b\r\n1,x\r\n\r\n2,y\r\n\r\n", "with carriage returns"),
    ("a,b\n1,x\n   \n \t \n2,y\n", "of blanks and tabs"),
    ("a,b\n1,x\n2,y\n\n\n\n", "at the end"),
    ("a,b\n1,x\n2,y\n   ", "at the end without a line end"),
    ("a,b\n\n1,x\n\n2,y", "and no line end at the end"),
    (" \na;b\n\n1;x\n2;y\n\n", "and a semicolon"),
    ("\na b\n\n1  x\n2 y \n\n", "and blanks as delimiter"),
    ('\na,b\n1, "x"\n\n2, "y"\n', "and quotes behind blanks"),
    ("\na,b\n1,'x'\n\n2,'y'\n", "and single quotes"),
]


@pytest.mark.parametrize("text", [text for text, _ in BLANKS], ids=[where for _, where in BLANKS])
def test_blank_lines_are_no_rows(write: Write, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = write(text)
    assert read(path) == {"a": [1, 2], "b": ["x", "y"]}
    for size in (1, 2, 100):
        blocks = read_blocks(path, size, monkeypatch)
        assert pl.concat(blocks).to_dict(as_series=False) == {"a": ["1", "2"], "b": ["x", "y"]}


def test_a_blank_line_within_quotes_is_part_of_a_value(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('a,b\n1,"x\n\ny"\n\n2,z\n')
    assert read(path) == {"a": [1, 2], "b": ["x\n\ny", "z"]}
    assert [block["b"].to_list() for block in read_blocks(path, 1, monkeypatch)] == [["x\n\ny"], ["z"]]


def test_a_row_of_empty_values_is_a_row(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, options in (("a,b\n1,x\n,\n2,y\n", {}), ("a\tb\n1\tx\n\t\n2\ty\n", {}), ('a b\n1 x\n"" ""\n2 y\n', {})):
        assert read(write(text), **options) == {"a": [1, None, 2], "b": ["x", None, "y"]}
        assert len(pl.concat(read_blocks(write(text), 2, monkeypatch))) == 3


def test_a_single_column_is_read_alike_at_once_and_in_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a\n1\n\nNA\n2\n\n")
    assert read(path) == {"a": [1, None, 2]}
    assert pl.concat(read_blocks(path, 2, monkeypatch))["a"].to_list() == ["1", "NA", "2"]


def test_quotes_within_values_are_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('size,b\n5" pipe,"x, ""y"""\n6"" pipe,z\n"7"" pipe", "w"\n')
    expected = {"size": ['5" pipe', '6"" pipe', '7" pipe'], "b": ['x, "y"', "z", "w"]}
    assert read(path) == expected
    assert pl.concat(read_blocks(path, 1, monkeypatch)).to_dict(as_series=False) == expected


def test_a_decimal_comma_is_likelier_where_something_else_divides(write: Write) -> None:
    for text, prefers in (
        ("a;b\n1;x\n", True),
        ("a,b\n1,x\n", False),
        ("a\tb\n1\tx\n", True),
        ("a b\n1 x\n", True),
        ("a;b\n1; 'x'\n2; 'y'\n", True),
        ('a; b\n1; "x"\n', True),
        ('a;b\n1;5" pipe\n', True),
    ):
        assert read_table(write(text), Reading()).prefers_comma is prefers, text


def test_rows_are_not_compared_with_a_header_that_is_one_name_short(write: Write) -> None:
    rows = "".join(f"r{n},1,2\n" if n % 5 else f"r{n},1\n" for n in range(1, 30))
    with pytest.raises(UserError, match=r"must have 3 values, as many rows have"):
        read(write(f"a,b\n{rows}"))


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("a,b\n1,2\n3\n4,5\n", "1 row differs, the first in line 3 with 1"),
        ("a,b\n1,2\n3,4,5\n6\n", "2 rows differ, the first in line 3 with 3"),
        ('a,b\n"x\ny",2\n\n3\n', "1 row differs, the first in line 5 with 1"),
        ("note\na,b\n1,2\n3,4,5\n", "1 row differs, the first in line 4 with 3"),
        ("a b\n1 2\n3 4 5\n", "1 row differs, the first in line 3 with 3"),
        ('a,b\n1, "x"\n2, \'y\', "z"\n', "1 row differs, the first in line 3 with 3"),
    ],
)
def test_rows_of_more_or_fewer_values_are_refused_with_their_line(write: Write, text: str, given: str) -> None:
    options = {"skip_lines": int(text.startswith("note"))}
    path = write(text)
    with pytest.raises(
        UserError, match=r"every row of table\.csv must have 2 values, as its first line has"
    ) as refusal:
        read(path, **options)
    assert refusal.value.actual == given
    assert refusal.value.hint == "mending the file"
    with pytest.raises(UserError) as of_blocks:
        blocks_of(path, **options)
    assert of_blocks.value.args == refusal.value.args


def test_where_all_rows_differ_the_delimiter_is_doubted(write: Write) -> None:
    with pytest.raises(UserError, match="3 rows differ") as refusal:
        read_table(write("a\n1,5\n2,5\n3,5\n"), Reading(TextOptions("comma")), known_names=["a"])
    assert "data.delimiter=…" in refusal.value.hint


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\na,b\n\n \n", 'a,"b\nc"\n'])
def test_a_header_alone_is_refused(write: Write, text: str) -> None:
    with pytest.raises(UserError, match="must hold rows"):
        read(write(text))


def test_an_empty_file_a_folder_and_none_are_refused(write: Write) -> None:
    path = write("")
    with pytest.raises(UserError, match=r"data\.path must hold something, but .* is empty"):
        read(path)
    with pytest.raises(UserError, match=r"data\.path must be a file, but .* is a folder"):
        read(path.parent)
    with pytest.raises(UserError, match=r"must be a file that exists.*try data\.test_path=.*table\.csv"):
        read_table(path.parent / "tabel.csv", Reading(), key="data.test_path")


def test_a_parquet_file_without_rows_is_refused(write: Write) -> None:
    out = BytesIO()
    pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}).write_parquet(out)
    with pytest.raises(UserError, match=r"data\.test_path must hold rows"):
        read_table(write(out.getvalue()), Reading(), key="data.test_path")


def test_damaged_parquet_is_refused_whatever_polars_makes_of_it(write: Write) -> None:
    generator = random.Random(0)
    out = BytesIO()
    pl.DataFrame({"a": range(100), "b": [f"{n % 7}" for n in range(100)]}).write_parquet(out)
    whole = out.getvalue()
    n_refused = 0
    for trial in range(120):
        content = bytearray(whole)
        if trial % 3 == 0:
            content = content[: generator.randrange(4, len(content))]
        else:
            for _ in range(3):
                content[generator.randrange(4, len(content))] = generator.randrange(256)
        path = write(bytes(content))
        for attempt in (lambda path=path: read(path), lambda path=path: blocks_of(path)):
            try:
                attempt()
            except UserError as refusal:
                n_refused += str(refusal).count("\n") == 0
    assert n_refused > 120


def test_a_panic_of_polars_is_a_refusal(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*args: object, **options: object) -> None:
        raise pl.exceptions.PanicException("not yet implemented\nat line 3")

    path = write("a,b\n1,2\n")
    monkeypatch.setattr(pl, "read_csv", panic)
    monkeypatch.setattr(pl, "scan_csv", panic)
    with pytest.raises(UserError, match="not yet implemented at line 3"):
        read(path)
    with pytest.raises(UserError, match="not yet implemented"):
        blocks_of(path)
    monkeypatch.setattr(pl, "read_parquet", panic)
    monkeypatch.setattr(pl, "scan_parquet", panic)
    damaged = write(b"PAR1 and no more")
    for attempt in (lambda: read(damaged), lambda: blocks_of(damaged)):
        with pytest.raises(UserError, match="not yet implemented"):
            attempt()


def test_bytes_that_are_not_in_the_encoding_that_was_said_are_refused_however_far_down(write: Write) -> None:
    path = write(b"a,b\n" + b"1,2\n" * 100_000 + b"\xe4,2\n")
    assert read(path)["a"][-1] == "ä"
    with pytest.raises(UserError, match="must be a table that can be read"):
        read(path, encoding="utf-8")
    with pytest.raises(UserError, match=r"utf-?8"):
        blocks_of(path, encoding="utf-8")


def test_parquet_comes_in_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 4)
    frame = pl.DataFrame({"a": range(10), "b": list("abcdefghij")})
    out = BytesIO()
    frame.write_parquet(out)
    blocks = blocks_of(write(out.getvalue()))
    assert [len(block) for block in blocks] == [4, 4, 2]
    assert_frame_equal(pl.concat(blocks), frame)


CELLS = st.text(st.sampled_from(list("ab\"',; \n-0é😀\\#")), max_size=5)


@settings(max_examples=examples(30))
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20),
    blank_lines=st.lists(st.integers(0, 20), max_size=5),
    size=st.integers(1, 25),
    has_header=st.booleans(),
    delimiter=st.sampled_from(",; "),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_blocks_hold_the_same_values_as_the_whole(
    write: Write,
    rows: list[tuple[str, str]],
    blank_lines: list[int],
    size: int,
    has_header: bool,
    delimiter: str,
    end: str,
) -> None:
    out = StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=end)
    for number, row in enumerate([("a", "b"), *rows] if has_header else rows):
        out.write(end * blank_lines.count(number))
        writer.writerow(row)
    path = write(out.getvalue())
    options = {"delimiter": delimiter, "quote": "double", "header": has_header}
    with pytest.MonkeyPatch.context() as patch:
        blocks = read_blocks(path, size, patch, **options)
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    whole = as_written(path, **options)
    assert_frame_equal(pl.concat(blocks).select(null_missing(series, (), ()) for series in pl.concat(blocks)), whole)
    assert len(whole) == len(rows)


def test_quoted_line_breaks_do_not_disturb_a_large_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(0)
    words = ["plain", "two\nlines", "three\n\nlines", 'a "quote"', "a,comma"]
    rows = [(str(number), generator.choice(words)) for number in range(40_000)]
    out = StringIO()
    csv.writer(out).writerows([("n", "word"), *rows])
    path = write(out.getvalue())
    expected = [word for _, word in rows]
    assert read(path)["word"] == expected
    blocks = read_blocks(path, 999, monkeypatch)
    assert pl.concat(blocks)["word"].to_list() == expected


def test_a_file_without_rows_gives_no_block(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_blocks(write("a,b\n\n"), 5, monkeypatch) == []


def test_fingerprints_tell_files_apart(write: Write) -> None:
    one, two = write("a,b\n1,2\n"), write("a,b\n1,3\n")
    prints = {fingerprint(paths) for paths in ([one], [two], [one, two], [two, one], [one, one])}
    assert len(prints) == 5
    assert fingerprint([one]) == fingerprint([write("a,b\n1,2\n", "other.csv")])
    assert len(fingerprint([one])) == 64


@pytest.mark.parametrize("keep_values", [None, ["NA"], {"a": ["NA"]}])
def test_how_to_read_is_kept_as_plain_values(keep_values: Any) -> None:
    how = Reading(TextOptions(";", encoding="cp1252", skip_lines=3), ("-9",), keep_values, ("zip",))
    again = Reading.from_dict(json.loads(json.dumps(how.as_dict())))
    assert again == Reading(
        TextOptions(";", skip_lines=3, encoding_if_not_utf8="cp1252"), ("-9",), keep_values, ("zip",)
    )
    assert Reading.from_dict(Reading().as_dict()) == Reading()


@pytest.mark.parametrize(
    ("keep_values", "kept"),
    [
        (None, ()),
        (["NA"], ("NA",)),
        ("NA", ("NA",)),
        ([0, "?"], ("0", "?")),
        ({"a": ["NA", "?"]}, ("NA", "?")),
        ({"a": "NA"}, ("NA",)),
        ({"b": ["NA"]}, ()),
        ({"a": None}, ()),
    ],
)
def test_what_is_kept_is_said_for_all_columns_or_for_each(keep_values: Any, kept: tuple[str, ...]) -> None:
    assert Reading(keep_values=keep_values).kept("a") == kept


@pytest.mark.parametrize("keep_values", [["NA"], "NA", {"a": ["NA"]}, {"a": "NA", "b": None}])
def test_a_marker_that_is_kept_anywhere_is_not_left_to_polars(keep_values: Any) -> None:
    found = Reading(missing_values=("-1",), keep_values=keep_values).markers()
    assert "NA" not in found
    assert {"na", "N/A", "NaN", "?", "-1", "null", "NULL"} <= set(found)
    assert {marker.lower() for marker in Reading().markers()} == set(MISSING)


def test_a_missing_value_far_down_leaves_the_type_of_its_column(write: Write) -> None:
    n_rows = csv_reading.INFERENCE_ROWS + 500
    frame = read_table(write("a,b\n" + "1,2\n" * n_rows + "NA,3\n"), Reading()).frame
    assert frame.dtypes == [pl.Int64, pl.Int64]
    assert frame["a"][-1] is None
