import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlplab.data.table.table_opening import open_table
from mlplab.data.table.text_encoding import SAMPLE_CHARACTERS, SAMPLE_LINES
from mlplab.data.table.text_header import find_header
from mlplab.data.table.text_layout import Dialect, TextFile, TextOptions
from mlplab.errors import UserError

Write = Callable[..., Path]


def opened(path: Path, **options: Any) -> tuple[TextFile, str]:
    """What is made of a file, and what its copy holds."""
    known = {key: options.pop(key) for key in ("known_names",) if key in options}
    with open_table(path, TextOptions(**options), **known) as table:
        assert isinstance(table.rows, TextFile)
        file = replace(table.rows, notes=(*table.notes, *table.rows.notes))
        return file, file.path.read_bytes().decode()


def test_plain_text_is_read_where_it_lies(write: Write) -> None:
    path = write("a,b\r\n1,2\r\n")
    file, _ = opened(path)
    assert (file.path, file.dialect, file.names, file.n_before, file.notes) == (path, Dialect(), ("a", "b"), 1, ())
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
            ("the file is no UTF-8 and is read as cp1252; data.encoding=… says otherwise",),
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
        with open_table(write("a,b\r1,2\r"), TextOptions()):
            assert list(tmp_path.iterdir())
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


def test_a_column_without_a_name_is_called_by_its_place(write: Write) -> None:
    file, _ = opened(write("a,,b, ,Unnamed: 4\n1,2,3,4,5\n"), known_names=["a"])
    assert file.names == ("a", "column_2", "b", "column_4", "Unnamed: 4")
    assert file.unnamed == ("column_2", "column_4", "Unnamed: 4")


def test_a_name_that_is_there_twice_is_made_unique_and_told(write: Write) -> None:
    file, _ = opened(write("a,b, b ,a,b,a_2\n1,2,3,4,5,6\n"))
    assert file.names == ("a", "b", "b_2", "a_3", "b_3", "a_2")
    assert file.notes == (
        "3 columns had the name of another: column 3 is called b_2, column 4 is called a_3, column 5 is called b_3",
    )


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
    names = [f"{'measurement_' * 8}{number}" for number in range(3_000)]
    assert sum(map(len, names)) > SAMPLE_CHARACTERS
    assert opened(write(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n"))[0].names == tuple(names)


def test_what_is_skipped_is_no_header_and_is_skipped_beyond_a_sample_of_lines(write: Write) -> None:
    n_lines = SAMPLE_LINES + 50
    file, _ = opened(write("1;2\n" * n_lines + "a,b\n1,2\n"), skip_lines=n_lines)
    assert file.names == ("a", "b")
    assert (file.dialect, file.n_before) == (Dialect(",", '"'), n_lines + 1)


def test_characters_that_only_some_take_for_line_ends_are_part_of_a_value(write: Write) -> None:
    odd = "x\x0by\x0cz\x1cä\x85ö\u2028ü"
    file, _ = opened(write(f"{odd},b\n1,{odd}\n"))
    assert file.names == (odd, "b")


def found(text: str, *, known_names: Sequence[str] = (), **options: Any) -> TextFile:
    return find_header(Path("t.csv"), text.splitlines(keepends=True), TextOptions(**options), known_names)


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
    assert bool(found(text).header) is has_header


def test_what_is_said_of_the_header_is_taken_as_said() -> None:
    assert found("1,2\n3,4\n", header=True).names == ("1", "2")
    assert found("a,b\n3,4\n", header=False).n_before == 0


def test_a_known_name_in_the_first_line_makes_it_the_header() -> None:
    years = "2010,2011,y\n1,2,3\n4,5,6\n"
    assert found(years).first_names == ("2010", "2011", "y")
    assert found(years, known_names=["y"]).names == ("2010", "2011", "y")
    # A number that also stands elsewhere in the line is a value.
    assert found("0,1,1\n1,0,1\n", known_names=["1"]).header == ()


def test_a_file_for_a_model_without_names_has_no_header_where_nothing_decides() -> None:
    text = "x,y\nz,w\n"
    assert found(text).header
    assert not found(text, known_names=["column_1", "column_2"]).header


def test_lines_before_the_header_are_skipped_as_said() -> None:
    file = found("made by X; Y; Z\nsee the manual\na,b\n1,2\n", skip_lines=2)
    assert (file.dialect, file.names, file.n_before) == (Dialect(",", '"'), ("a", "b"), 3)


ROWS = "1,2,x\n3,4,z\n5,6,x\n7,9,z\n"


@pytest.mark.parametrize(
    ("above", "names", "note"),
    [
        ("", "column_1|column_2|column_3", "no header line was found"),
        ("a,b,y\n", "a|b|y", ""),
        ("\n\na,b,y\n\n", "a|b|y", ""),
        ("a,b,y\n# by me\n", "a|b|y", "1 line between the header and the first row is skipped: '# by me'"),
        ("# made by me\n#\na,b,y\n", "a|b|y", "2 lines above the header are skipped: '# made by me', …"),
        ("% by me, you\na,b,y\n", "a|b|y", "1 line above the header is skipped"),
        ("# a,b,y\n", "# a|b|y", ""),
        ("# by me\n# a,b,y\n", "a|b|y", "1 line above the header is skipped: '# by me'"),
        ("Report 2020\na,b,y\n", "a|b|y", "1 line above the header is skipped: 'Report 2020'"),
        ("Report 2020,,\n,,\na,b,y\n", "a|b|y", "2 lines above the header are skipped: 'Report 2020,,', …"),
        ("Report, by me\nfor, you\na,b,y\n", "a|b|y", "2 lines above"),
        ("Station:,Berlin,\na,b,y\n", "a|b|y", "1 line above"),
        ("sep=,\na,b,y\n", "a|b|y", "the delimiter is ',', as the first line says"),
        ("a,b,y\nm,kg,\n", "a|b|y", "1 further header line is not taken for names: m, kg"),
        ("a,b,y\n(m),(kg),(class)\n", "a|b|y", "1 further header line"),
        ("a,b,y\nlength of it,weight of it,its class\n", "a|b|y", "1 further header line"),
        ("V1,V2,V3\na,b,y\n", "a|b|y", "1 further header line is not taken for names: V1, V2, V3"),
        (
            "size,,class\nmin,max,\n",
            "size min|size max|class",
            "2 header lines are joined into names such as 'size min'",
        ),
        ("size,size,class\nmin,max,\n", "size min|size max|class", "2 header lines are joined"),
        ("a,b,y,,\n", "a|b|y", ""),
        ("a,a,y\n", "a|a_2|y", "1 column had the name of another: column 2 is called a_2"),
        (",b,y\n", "column_1|b|y", ""),
        ("---,---,---\na,b,y\n---,---,---\n", "a|b|y", ""),
    ],
)
def test_what_stands_above_the_rows(above: str, names: str, note: str) -> None:
    file = found(above + ROWS)
    assert file.names == tuple(names.split("|"))
    assert note in "; ".join(file.notes)
    assert bool(note) == bool(file.notes)
    assert file.n_before == above.count("\n")


def test_a_title_above_rows_without_a_header_is_no_row() -> None:
    file = found(f"|1x3 Cross validator\n{ROWS}", header=False)
    assert (file.names, file.n_before) == (("column_1", "column_2", "column_3"), 1)
    assert "above the first row" in "; ".join(file.notes)


def test_names_of_rows_as_r_writes_them_need_no_name() -> None:
    file = found('"a","y"\n"1",2,"x"\n"2",4,"z"\n"3",6.5,"x"\n')
    assert (file.names, file.unnamed) == (("column_1", "a", "y"), ("column_1",))
    assert found("a y\n1 2 x\n2 4 z\n3 6 x\n").names == ("column_1", "a", "y")


def test_a_blank_within_values_between_blanks_is_no_name_of_a_row() -> None:
    text = "town height y\n" + "Bad Ems 150 x\nBad Soden 160 z\nBad Orb 170 x\n" * 3
    assert found(text, known_names=["y"]).names == ("town", "height", "y")


def test_a_decimal_comma_between_commas_is_no_name_of_a_row() -> None:
    # 10,5 is more likely one value than two: each row has one string too many, which is refused later.
    assert found("id,price\n1,10,5\n2,11,5\n3,12,5\n", known_names=["price"]).names == ("id", "price")


def test_of_two_header_lines_that_with_a_known_name_is_taken() -> None:
    text = "first,second,third\na,b,y\n" + ROWS
    assert found(text, known_names=["y"]).names == ("a", "b", "y")
    assert found(text).names == ("first", "second", "third")


@pytest.mark.parametrize("word", ["NA", "-", "unknown", "x"])
def test_text_above_numbers_that_stands_for_a_missing_value_is_in_a_row(word: str) -> None:
    assert found(f"a,b,y\n{word},{word},x\n{ROWS}{word},3,x\n").n_before == 1


@pytest.mark.parametrize("row", ['"1,001.50","2,030.00",x', "$9.50,$7.10,x", '"Feb 01, 2000",(12),x', "3.5K,-12 m,x"])
def test_numbers_in_a_form_of_their_own_are_a_row_and_no_units(row: str) -> None:
    assert found(f"a,b,y\n{row}\n{ROWS}").n_before == 1


def test_a_known_name_settles_the_header_below_titles_where_names_are_numbers() -> None:
    text = "Source,World\n\nUpdated,2023\n\ncountry,code,1960,1961,\n" + "".join(
        f"c{n},d,{n},{n}.5,\n" for n in range(9)
    )
    file = found(text, known_names=["1961"])
    assert (file.names[:4], file.n_before) == (("country", "code", "1960", "1961"), 5)


@pytest.mark.parametrize("text", ["c,n\n#a,1\nx,2\nz,3\n", "#a,1\nx,2\nz,3\n#b,4\n", "a\tn\n\t1\n#x\t2\nx\t3\n"])
def test_a_value_may_begin_like_a_comment(text: str) -> None:
    file = found(text)
    assert file.n_before == text.startswith(("c,n", "a\tn"))
    assert not file.is_irregular
