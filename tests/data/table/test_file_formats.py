import bz2
import gzip
import json
import lzma
import os
import threading
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from mlplab.data.table.file_formats import FOREIGN, format_of, read_once, unpacked
from mlplab.data.table.reading_options import Reading
from mlplab.data.table.table_reading import fingerprint, read_table
from mlplab.errors import UserError

Write = Callable[..., Path]
TEXT = b"a,b\n1,x\n2,y\n"
FRAME = {"a": [1, 2], "b": ["x", "y"]}


def read(path: Path) -> dict[str, list[object]]:
    return read_table(path, Reading()).frame.to_dict(as_series=False)


def zipped(*names: str) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return out.getvalue()


def zstandard(content: bytes) -> bytes:
    """A frame of one raw block, as RFC 8878 describes it."""
    header = len(content) << 3 | 1  # the last block, raw
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(content)]) + header.to_bytes(3, "little") + content


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(TEXT),
        bz2.compress(TEXT),
        lzma.compress(TEXT),
        zipped("table.csv"),
        zipped("folder/", "folder/table.csv", "__MACOSX/._table.csv"),
        zstandard(TEXT),
        gzip.compress(zipped("table.csv")),
    ],
    ids=["gzip", "bz2", "xz", "zip", "zip from a Mac", "zstd", "zip in gzip"],  # the bytes hold the time
)
def test_packed_files_are_unpacked_whatever_their_name(write: Write, content: bytes) -> None:
    assert read(write(content)) == FRAME


def test_a_packed_file_may_be_of_any_format(write: Write) -> None:
    out = BytesIO()
    pl.DataFrame(FRAME).write_parquet(out)
    assert read(write(gzip.compress(out.getvalue()))) == FRAME
    assert read(write(bz2.compress(json.dumps([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]).encode()))) == FRAME


def test_arrow_is_read(write: Write) -> None:
    out = BytesIO()
    pl.DataFrame(FRAME).write_ipc(out)
    assert read(write(out.getvalue())) == FRAME


def test_several_files_in_an_archive_are_named(write: Write) -> None:
    with pytest.raises(UserError, match=r"a zip archive must hold one file, but .* holds 2: a\.csv, b\.csv"):
        read(write(zipped("a.csv", "b.csv")))


@pytest.mark.parametrize("mark", FOREIGN)
def test_other_formats_are_named_in_one_line(write: Write, mark: bytes) -> None:
    with pytest.raises(UserError, match=r"must be a table: text, JSON, .*\.csv is a") as refusal:
        read(write(mark + b"\x00" * 50))
    assert FOREIGN[mark][0] in refusal.value.actual
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\n<!DOCTYPE html>\n<table><tr><td>1</td></tr></table>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<rows/>', "XML"),
        (b"-- dump\n\nCREATE TABLE t (a int);\n", "an SQL script"),
        (b"1 1:0.5 7:2\n-1 2:1e-3\n", "sparse rows, as LIBSVM's"),
        (b"\x00" * 257 + b"ustar\x00", "a tar archive"),
    ],
)
def test_text_that_is_no_table_is_named(write: Write, content: bytes, what: str) -> None:
    with pytest.raises(UserError) as refusal:
        read(write(content))
    assert refusal.value.actual.endswith(f" {what}")


@pytest.mark.parametrize(
    "text", ["<TICKER>,y\na,1\n", "A\n1\n", "BZh,y\n1,2\n", "ORC,y\n1,2\n", "{x},y\n1,2\n", "[a],b\n1,2\n"]
)
def test_odd_names_of_columns_are_text(write: Write, text: str) -> None:
    path = write(text)
    assert format_of(path, path) == "text"


def test_a_folder_of_parquet_is_read_with_the_columns_of_its_folders(tmp_path: Path) -> None:
    for year in (2020, 2021):
        folder = tmp_path / "x=1" / "table" / f"year={year}"
        folder.mkdir(parents=True)
        pl.DataFrame({"a": [year, 1]}).write_parquet(folder / "part[0].parquet")
        (folder / "_metadata.parquet").write_bytes(b"none")
        (folder / "_SUCCESS").touch()
    path = tmp_path / "x=1" / "table"
    assert read(path) == {"a": [2020, 1, 2021, 1], "year": [2020, 2020, 2021, 2021]}
    before = fingerprint([path])
    pl.DataFrame({"a": [1, 1]}).write_parquet(path / "year=2020" / "part[0].parquet")
    assert fingerprint([path]) != before


def test_a_pipe_is_read_once_into_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(TEXT))
    writer.start()
    copy = read_once(pipe, "data.path")
    writer.join()
    assert read(copy) == FRAME
    # Once more in this process, nobody writes.
    assert read_once(pipe, "data.path") == copy
    plain = tmp_path / "table.csv"
    assert read_once(plain, "data.path") == plain


def test_an_empty_pipe_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pipe = tmp_path / "empty"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b""))
    writer.start()
    with pytest.raises(UserError, match=r"nothing came out of .*; try the same rows piped into"):
        read_once(pipe, "data.path")
    writer.join()


def test_a_truncated_archive_is_refused(write: Write) -> None:
    packed = [gzip.compress(TEXT * 99), bz2.compress(TEXT * 99), lzma.compress(TEXT * 99), zipped("table.csv")]
    for content in packed:
        with (
            pytest.raises(UserError, match="must be a table that can be read") as refusal,
            unpacked(write(content[:-11])),
        ):
            pass
        assert "\n" not in str(refusal.value)
