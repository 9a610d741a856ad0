import codecs
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.data.table import text_encoding
from mlplab.data.table.text_encoding import find_encoding, first_lines, is_gzip, open_unpacked
from mlplab.errors import UserError

Write = Callable[..., Path]
TEXT = "größe,名前\n1,😀\n"
LINES = ["größe,名前\n", "1,😀\n"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8-sig"),
        (TEXT.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-32"), "utf-32"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "utf-32"),
        ("größe,x\n1,ä\n".encode("latin-1"), "latin-1"),
        (b"plain,ascii\n", "utf-8"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_encoding_is_found(write: Write, content: bytes, expected: str, pack: Callable[[bytes], bytes]) -> None:
    path = write(pack(content))
    assert find_encoding(path) == expected
    text = content.decode(expected).removeprefix("\ufeff")
    assert first_lines(path, expected, 0) == text.splitlines(keepends=True)


def test_one_byte_far_into_the_file_decides(write: Write) -> None:
    assert find_encoding(write(b"a,b\n" + b"1,2\n" * 100_000 + b"\xe4,2\n")) == "latin-1"


def test_a_block_may_end_within_a_character(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "BLOCK_BYTES", 6)
    assert find_encoding(write("a,b\nxä\n")) == "utf-8"


def test_lines_end_as_they_are_written(write: Write) -> None:
    assert first_lines(write("a\rb\r\nc\n\nd"), "utf-8", 0) == ["a\r", "b\r\n", "c\n", "\n", "d"]
    assert first_lines(write(""), "utf-8", 0) == []


def test_many_short_lines_are_enough_and_a_few_long_ones(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(first_lines(write("1,2\n" * 2000), "utf-8", 100)) == 100 + text_encoding.SAMPLE_LINES
    line = "x" * text_encoding.SAMPLE_CHARACTERS + "\n"
    assert first_lines(write(line * 20), "utf-8", 2) == [line] * (2 + text_encoding.FEWEST_LINES)
    monkeypatch.setattr(text_encoding, "LONGEST_LINE", 5)
    assert first_lines(write("123456789\n"), "utf-8", 0) == ["12345", "6789\n"]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"a,b\n1,\x002\n"])
def test_bytes_that_are_no_text_are_refused(write: Write, content: bytes) -> None:
    with pytest.raises(UserError, match=r"must be text or Parquet, but .* holds bytes that are no text"):
        find_encoding(write(content))


def test_an_excel_file_is_refused_with_what_to_do(write: Write, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    for path in (tmp_path / "book.xlsx", write(gzip.compress((tmp_path / "book.xlsx").read_bytes()))):
        for read in (find_encoding, lambda path: first_lines(path, "utf-8", 0)):
            with pytest.raises(UserError) as refusal:
                read(path)
            assert "is a zip archive, as Excel's .xlsx is" in refusal.value.actual
            assert refusal.value.hint == "saving the sheet as CSV"


def test_who_says_the_encoding_may_mean_utf_16_without_its_mark(write: Write) -> None:
    path = write(TEXT, encoding="utf-16-le")
    with pytest.raises(UserError, match="no text"):
        find_encoding(path)
    assert first_lines(path, "utf-16-le", 0) == LINES


@pytest.mark.parametrize("cut", [1, 11, 40])
def test_a_truncated_gzip_is_refused(write: Write, cut: int) -> None:
    packed = gzip.compress("".join(f"{number},{number**2}\n" for number in range(400)).encode())
    path = write(packed[:-cut])
    for read in (find_encoding, lambda path: first_lines(path, "utf-8", 0)):
        with pytest.raises(UserError, match="must be a table that can be read") as refusal:
            read(path)
        assert "\n" not in str(refusal.value)


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(write: Write) -> None:
    assert is_gzip(write(gzip.compress(b"a"), "table.csv"))
    plain = write("a,b\n", "table.csv.gz")
    assert not is_gzip(plain)
    with open_unpacked(plain) as file:
        assert file.read() == b"a,b\n"


@pytest.mark.parametrize("said", ["hex", "rot13", "base64", "undefined", "klingon", "utf-8", "ascii"])
def test_an_encoding_that_the_file_does_not_have_is_refused(write: Write, said: str) -> None:
    path = write(b"gr\xf6\xdfe,x\n")
    with pytest.raises(UserError, match=r"data\.encoding must be the file's own, but table\.csv is no ") as refusal:
        first_lines(path, said, 0)
    assert "data.encoding=auto" in refusal.value.hint
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "said"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")]
)
def test_a_byte_order_mark_is_no_text_whatever_encoding_is_said(write: Write, written: str, said: str) -> None:
    assert first_lines(write(TEXT.encode(written)), said, 0) == LINES


def test_text_that_ends_within_a_character_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"is no utf-16: .*truncated"):
        first_lines(write(TEXT.encode("utf-16") + b"a"), "utf-16", 0)
