import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplab.data.table.dialect import Dialect
from mlplab.data.table.files import SAMPLE_LINES, TextFile, TextOptions, text_file
from mlplab.errors import UserError

Write = Callable[..., Path]


def opened(path: Path, **options: Any) -> tuple[TextFile, str]:
    """What is made of a file, and what its copy holds."""
    known = {key: options.pop(key) for key in ("known_names", "usual_header") if key in options}
    with text_file(path, TextOptions(**options), **known) as file:
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
        with text_file(write("a,b\r1,2\r"), TextOptions()):
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


def test_characters_that_only_some_take_for_line_ends_are_part_of_a_cell(write: Write) -> None:
    odd = "x\x0by\x0cz\x1cä\x85ö\u2028ü"
    file, _ = opened(write(f"{odd},b\n1,{odd}\n"))
    assert file.names == (odd, "b")
