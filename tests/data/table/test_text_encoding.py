import codecs
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.data.table import text_encoding
from mlplab.data.table.text_encoding import decode, find_encoding, is_gzip, open_unpacked, read_sample
from mlplab.errors import UserError

Write = Callable[..., Path]
TEXT = "größe,名前\n1,😀\n"


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
    sample, is_whole = read_sample(path)
    assert (sample, is_whole) == (content, True)
    assert find_encoding(path, sample) == expected
    text = decode(path, sample, expected, is_whole=True)
    assert text == content.decode(expected).removeprefix("\ufeff")


def test_one_byte_far_into_the_file_decides(write: Write) -> None:
    path = write(b"a,b\n" + b"1,2\n" * 100_000 + b"\xe4,2\n")
    sample, is_whole = read_sample(path)
    assert not is_whole
    assert find_encoding(path, sample) == "latin-1"


def test_a_sample_may_end_within_a_character(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "SAMPLE_BYTES", 6)
    monkeypatch.setattr(text_encoding, "FEWEST_LINES", 0)
    path = write("a,b\nxä\n")
    sample, is_whole = read_sample(path)
    assert sample == b"a,b\nx\xc3"
    assert not is_whole
    assert find_encoding(path, sample) == "utf-8"
    assert decode(path, sample, "utf-8", is_whole=False) == "a,b\nx"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_sample_has_whole_lines_however_long_they_are(write: Write, end: str) -> None:
    line = ",".join(f"measurement_{number}" for number in range(30_000)) + end
    sample, is_whole = read_sample(write(line * 20))
    assert len(line) > text_encoding.SAMPLE_BYTES
    assert not is_whole
    assert sample.count(end.encode()) >= text_encoding.FEWEST_LINES


def test_a_sample_of_exactly_the_file_is_whole(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "SAMPLE_BYTES", 4)
    monkeypatch.setattr(text_encoding, "FEWEST_LINES", 0)
    assert read_sample(write("a,b\n")) == (b"a,b\n", True)
    assert read_sample(write("a,b\n1")) == (b"a,b\n", False)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"a,b\n1,\x002\n"])
def test_bytes_that_are_no_text_are_refused(write: Write, content: bytes) -> None:
    with pytest.raises(UserError, match=r"must be text or Parquet, but .* holds bytes that are no text"):
        read_sample(write(content))


def test_an_excel_file_is_refused_with_what_to_do(write: Write, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    for path in (tmp_path / "book.xlsx", write(gzip.compress((tmp_path / "book.xlsx").read_bytes()))):
        with pytest.raises(UserError) as refusal:
            read_sample(path)
        assert "is a zip archive, as Excel's .xlsx is" in refusal.value.actual
        assert refusal.value.hint == "saving the sheet as CSV"


def test_who_says_the_encoding_may_mean_utf_16_without_its_mark(write: Write) -> None:
    path = write(TEXT, encoding="utf-16-le")
    with pytest.raises(UserError, match="no text"):
        read_sample(path)
    sample, _ = read_sample(path, encoding="utf-16-le")
    assert decode(path, sample, "utf-16-le", is_whole=True) == TEXT


@pytest.mark.parametrize("cut", [1, 2, 11, 40])
def test_a_truncated_gzip_is_refused(write: Write, cut: int) -> None:
    packed = gzip.compress("".join(f"{number},{number**2}\n" for number in range(1000)).encode())
    path = write(packed[:-cut])
    assert is_gzip(path)
    with pytest.raises(UserError, match="must be a table that can be read") as refusal:
        read_sample(path)
    assert "\n" not in str(refusal.value)


def test_a_gzip_that_is_damaged_beyond_the_sample_is_refused(write: Write) -> None:
    packed = bytearray(gzip.compress(b"1,2\n" * 200_000))
    packed[-5] ^= 255
    path = write(bytes(packed))
    sample, _ = read_sample(path)
    with pytest.raises(UserError, match="must be a table that can be read"):
        find_encoding(path, sample)


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
        decode(path, path.read_bytes(), said, is_whole=True)
    assert "data.encoding=auto" in refusal.value.hint
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "said"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")]
)
def test_a_byte_order_mark_is_no_text_whatever_encoding_is_said(write: Write, written: str, said: str) -> None:
    content = TEXT.encode(written)
    assert decode(write(content), content, said, is_whole=True) == TEXT


def test_text_that_ends_within_a_character_is_refused(write: Write) -> None:
    path = write(TEXT.encode("utf-16") + b"a")
    with pytest.raises(UserError, match=r"is no utf-16: .*truncated"):
        decode(path, path.read_bytes(), "utf-16", is_whole=True)
