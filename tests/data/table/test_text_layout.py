import csv
import gzip
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.text_encoding import SAMPLE_LINES
from mlplab.data.table.text_layout import (
    DELIMITERS,
    Dialect,
    TextFile,
    TextOptions,
    detect_dialect,
    open_text,
)
from mlplab.errors import UserError

Write = Callable[..., Path]


def opened(path: Path, **options: Any) -> tuple[TextFile, str]:
    """What is made of a file, and what its copy holds."""
    known = {key: options.pop(key) for key in ("known_names",) if key in options}
    with open_text(path, TextOptions(**options), **known) as file:
        return file, file.path.read_bytes().decode()


def test_plain_text_is_read_where_it_lies(write: Write) -> None:
    path = write("a,b\r\n1,2\r\n")
    file, _ = opened(path)
    assert file == TextFile(path, Dialect(), ("a", "b"))
    assert opened(write("\ufeffa,b\n1,2\n"))[0].names == ("a", "b")


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (gzip.compress("ä,b\n1,ß\n".encode(), mtime=0), ()),
        ("ä,b\n1,ß\n".encode("utf-16"), ()),
        ("ä,b\r1,ß\r".encode(), ()),
        ("ä,b\r\n1,ß\r".encode(), ()),
        (gzip.compress("ä,b\r1,ß\r\n".encode("utf-16"), mtime=0), ()),
        (
            "ä,b\n1,ß\n".encode("latin-1"),
            ("the file is no UTF-8 and is read as latin-1; data.encoding=… says otherwise",),
        ),
    ],
)
def test_other_text_is_copied_as_utf_8_with_line_feeds(write: Write, content: bytes, notes: tuple[str, ...]) -> None:
    path = write(content)
    file, text = opened(path)
    assert text == "ä,b\n1,ß\n"
    assert file.path != path
    assert not file.path.exists()  # the copy is gone
    assert file.notes == notes
    assert path.read_bytes() == content


def test_an_encoding_that_is_said_is_not_noted(write: Write) -> None:
    path = write("ä,b\n1,ß\n".encode("latin-1"))
    assert opened(path, encoding="latin-1")[0].notes == ()
    assert opened(path, encoding="cp1252")[1] == "ä,b\n1,ß\n"


def test_a_file_that_breaks_off_within_a_character_is_refused(write: Write) -> None:
    path = write(("a,b\n" + "1,2\n" * 100_000).encode("utf-16") + b"x")
    with pytest.raises(UserError, match=r"must be a table that can be read, but .*truncated"):
        opened(path)


def test_the_copy_is_removed_when_reading_fails(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with open_text(write("a,b\r1,2\r"), TextOptions()):
            assert len(list(tmp_path.iterdir())) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "names",
    [
        ("a b", "c.d", "[e]", "it's", "ü", "名前", "${x}", "x,y", "{k: v}", "#1", "1", "NA", "?", "a|b", "=1+1", "\\"),
        ('say "hi"', 'a"b'),
    ],
)
def test_columns_may_have_any_name(write: Write, names: tuple[str, ...]) -> None:
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    path = write(f"{header}\n{','.join(['1.5'] * len(names))}\n")
    assert opened(path, header=True)[0].names == names


def test_blanks_around_a_name_are_left_off_and_a_line_break_within_is_a_blank(write: Write) -> None:
    path = write(' a ,"price\n(EUR)","b \r\n\r\n c"\n1,2,3\n')
    assert opened(path)[0].names == ("a", "price (EUR)", "b c")


def test_without_a_header_columns_are_numbered_and_that_is_noted_unless_it_was_said(write: Write) -> None:
    path = write("1,2,x\n3,4,y\n")
    file, _ = opened(path)
    assert file.names == ("column_1", "column_2", "column_3")
    assert file.notes == ("no header line was found: the columns are called column_1 to column_3",)
    assert opened(path, header=False)[0].notes == ()
    assert opened(path, header=True)[0].names == ("1", "2", "x")


@pytest.mark.parametrize(
    ("header", "given"),
    [
        ("a,,b", "1 of 3 in table.csv has none, the first is column 2"),
        ("a,b, , ", "2 of 4 in table.csv have none, the first is column 3"),
        (",a", "1 of 2 in table.csv has none, the first is column 1"),
    ],
)
def test_a_column_without_a_name_is_refused(write: Write, header: str, given: str) -> None:
    n_columns = header.count(",") + 1
    with pytest.raises(UserError) as refusal:
        opened(write(f"{header}\n" + ",".join(["1"] * n_columns) + "\n"), known_names=["a"])
    assert (refusal.value.requirement, refusal.value.actual) == ("every column must have a name", given)
    assert "data.header=false" in refusal.value.hint


@pytest.mark.parametrize(
    ("header", "given"),
    [
        ("a,b,a", "1 name is there more than once in table.csv: 'a' names columns 1 and 3"),
        ("a,b, b ,a,b", "2 names are there more than once in table.csv: 'a' names columns 1 and 4"),
    ],
)
def test_a_name_that_is_there_twice_is_refused(write: Write, header: str, given: str) -> None:
    n_columns = header.count(",") + 1
    with pytest.raises(UserError, match="every column must have a name of its own") as refusal:
        opened(write(f"{header}\n" + ",".join(["1"] * n_columns) + "\n"))
    assert refusal.value.actual == given


@pytest.mark.parametrize("content", ["\n", " \n\t\n", "\r\n\r\n", "\ufeff\n"])
def test_a_file_of_blank_lines_is_refused(write: Write, content: str) -> None:
    with pytest.raises(UserError, match=r"must hold a table, but .* has no line with anything in it"):
        opened(write(content))


def test_more_lines_skipped_than_there_are_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match="no line with anything in it"):
        opened(write("a,b\n1,2\n"), skip_lines=2)


def test_a_first_line_without_an_end_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match="a first line without an end"):
        opened(write('"a,b\n' + f"{'1' * 1000},2\n" * 200))


def test_a_header_may_be_longer_than_a_sample(write: Write) -> None:
    names = [f"measurement_{number}" for number in range(30_000)]
    assert opened(write(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n"))[0].names == tuple(names)


def test_what_is_skipped_is_no_header_and_is_skipped_beyond_a_sample_of_lines(write: Write) -> None:
    n_lines = SAMPLE_LINES + 50
    file, _ = opened(write("1;2\n" * n_lines + "a,b\n1,2\n"), skip_lines=n_lines)
    assert file.names == ("a", "b")
    assert file.dialect == Dialect(",", '"', has_header=True, skip_lines=n_lines)


def test_characters_that_only_some_take_for_line_ends_are_part_of_a_value(write: Write) -> None:
    odd = "x\x0by\x0cz\x1cä\x85ö\u2028ü"
    file, _ = opened(write(f"{odd},b\n1,{odd}\n"))
    assert file.names == (odd, "b")


ROWS = [["height", "name", "n"], ["1.5", "Ada", "3"], ["2.25", "Bob", "4"], ["0.5", "Cy", "5"]]


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def written(rows: list[list[str]], **dialect: str | int) -> list[str]:
    out = StringIO()
    csv.writer(out, lineterminator="\n", **dialect).writerows(rows)  # type: ignore[arg-type]
    return lines(out.getvalue())


@pytest.mark.parametrize("name", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_each_delimiter_is_detected(name: str, quoting: int) -> None:
    found = detect_dialect(written(ROWS, delimiter=DELIMITERS[name], quoting=quoting))
    assert found == Dialect(DELIMITERS[name], '"', has_header=True)


@pytest.mark.parametrize("said", ["bar", "|"])
def test_a_delimiter_is_said_by_its_name_or_by_itself(said: str) -> None:
    # Commas would be even, too.
    assert detect_dialect(lines("a,b|c,d\n1,2|3,4\n"), TextOptions(delimiter=said)).delimiter == "|"


@pytest.mark.parametrize("said", ["", "||", "\n", "\r", '"', "é", "semicolons"])
def test_what_cannot_divide_values_is_refused(said: str) -> None:
    with pytest.raises(
        UserError, match=r"data\.delimiter must be auto, tab, semicolon, bar, comma, blank, or a"
    ) as refusal:
        detect_dialect(lines("a,b\n1,2\n"), TextOptions(delimiter=said))
    assert "\n" not in str(refusal.value)


def test_a_delimiter_within_quotes_does_not_count() -> None:
    found = detect_dialect(lines('a,b\n"1;2;3",x\n"4;5",y\n"6",z\n'))
    assert found.delimiter == ","


def test_a_decimal_comma_does_not_pass_for_a_delimiter() -> None:
    assert detect_dialect(lines("a;b\n1,5;2,5\n3,5;4,5\n")).delimiter == ";"
    assert detect_dialect(lines("1,5\t2,5\n3,5\t4,5\n")).delimiter == "\t"


def test_prose_with_blanks_does_not_pass_for_values() -> None:
    text = "id,text\n1,two words\n2,three small words\n3,two words\n"
    assert detect_dialect(lines(text)).delimiter == ","


def test_blanks_are_even_by_chance_where_something_else_divides_most_lines() -> None:
    names = ["first name,last name", *["Ann Bee,Cid Dee"] * 8, "Ann Bee,Cid,E Dee"]
    assert detect_dialect([f"{line}\n" for line in names]).delimiter == ","


def test_several_blanks_are_one_delimiter_and_those_at_the_ends_of_a_line_none() -> None:
    dialect = detect_dialect(lines("  a    b\n 1   2  \n3 4\n"))
    assert dialect.delimiter == " "
    assert dialect.readable_records(lines("  1   2  \n3 4 \r\n")) == [["1", "2"], ["3", "4"]]


def test_an_empty_value_in_quotes_at_the_end_of_a_line_stays() -> None:
    assert Dialect(" ").readable_records(lines('1 ""\n2 "x "\n')) == [["1", ""], ["2", "x "]]


def test_a_line_break_within_quotes_stays_as_it_is() -> None:
    assert Dialect(" ").readable_records(lines('1 "x \n y"\n')) == [["1", "x \n y"]]
    assert Dialect(",").readable_records(lines('1,"x\n\ny"\n')) == [["1", "x\n\ny"]]


def test_single_quotes_are_detected() -> None:
    found = detect_dialect(lines("a,b\n'x, y',1\n'z',2\n"))
    assert (found.quote, found.delimiter) == ("'", ",")
    assert found.readable_records(lines("'x, y',1\n")) == [["x, y", "1"]]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\nit's,1\nthat's,2\n",
        "a,b,c\n',x,'\n1,2,3\n4,5,6\n",  # by single quotes this line would have one cell
        "a,b\n',x\nx,y\n',x\nx,y\n",
        "a,b\n\"it's, 'so'\",1\nz,2\n",
        "a,b\n'tis,1\n'twas,2\n",
        "a,b,c,d\nx,x,1,u\n',x,,v\n',x',,u\n",  # by single quotes the last two would be one of four cells
    ],
)
def test_apostrophes_do_not_pass_for_quotes(text: str) -> None:
    assert detect_dialect(lines(text)).quote == '"'


@pytest.mark.parametrize(("said", "quote"), [("double", '"'), ("single", "'"), ("none", "")])
def test_quotes_are_said_by_name(said: str, quote: str) -> None:
    assert detect_dialect(lines("a,b\n'x',\"y\"\n"), TextOptions(quote=said)).quote == quote


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("a,b\n1,2\n3,4\n", True),
        ("1,2\n3,4\n5,6\n", False),
        ("1.5,x\n2.5,y\n3.5,x\n", False),
        ("2020-01-01,x\n2020-01-02,y\n", False),
        ("day,word\n2020-01-01,x\n2020-01-02,y\n", True),
        ("a,b\nx,y\nz,w\n", True),  # nothing decides, and most files have one
        ("x,y\nx,z\nw,y\n", False),  # a cell of the first line is there again below it
        ("a,b\n", True),
        ("?,1\n2,3\n4,5\n", False),
        ("12:30,x\n13:00,y\n", False),
        (",a\n0,1.5\n1,2.5\n", True),
    ],
)
def test_a_header_is_said_from_values(text: str, has_header: bool) -> None:
    assert detect_dialect(lines(text)).has_header is has_header


def test_what_is_said_of_the_header_is_taken_as_said() -> None:
    assert detect_dialect(lines("1,2\n3,4\n"), TextOptions(header=True)).has_header
    assert not detect_dialect(lines("a,b\n3,4\n"), TextOptions(header=False)).has_header


def test_a_known_name_in_the_first_line_makes_it_the_header() -> None:
    years = lines("2010,2011,y\n1,2,3\n4,5,6\n")
    assert not detect_dialect(years).has_header
    assert detect_dialect(years, known_names=["y"]).has_header


def test_a_file_for_a_model_without_names_has_no_header_where_nothing_decides() -> None:
    text = lines("x,y\nz,w\n")
    assert detect_dialect(text).has_header
    assert not detect_dialect(text, known_names=["column_1", "column_2"]).has_header


def test_lines_before_the_header_are_skipped() -> None:
    found = detect_dialect(lines("made by X; Y; Z\nsee the manual\na,b\n1,2\n"), TextOptions(skip_lines=2))
    assert found == Dialect(",", '"', has_header=True, skip_lines=2)


def test_values_end_where_one_is_beyond_all_bounds() -> None:
    endless = ['"open\n', *["x" * 1000 + "\n"] * 200]
    assert Dialect(",").readable_records(["a,b\n", "1,2\n", *endless]) == [["a", "b"], ["1", "2"]]


@settings(max_examples=examples(50))
@given(st.lists(st.text("ab1,;|\t \"'\n.-é", max_size=12), max_size=20))
def test_anything_has_some_dialect(wild: list[str]) -> None:
    text = [f"{line}\n" for line in "\n".join(wild).splitlines()]
    found = detect_dialect(text)
    assert found.delimiter in DELIMITERS.values()
    found.readable_records(text)
