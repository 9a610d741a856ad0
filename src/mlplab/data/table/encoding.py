"""The bytes of a text file: packed or not, and in which encoding."""

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import IO

from mlplab.errors import UserError

SAMPLE_BYTES = 1 << 18
"""Of the beginning of a file, from which its dialect is detected, …"""

FEWEST_LINES = 10
"""… but at least so many lines, however long they are: the first names every column."""

MARKED = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the byte-order mark that a file in them begins with."""


def is_gzip(path: Path) -> bool:
    """By its first bytes, not its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_unpacked(path: Path) -> IO[bytes]:
    """The bytes of the text, whether the file is packed or not."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def read_sample(path: Path, *, encoding: str = "auto") -> tuple[bytes, bool]:
    """The first bytes, and whether they are all.

    Raises:
        UserError: they are no text.
    """
    try:
        with open_unpacked(path) as file:
            sample = file.read(SAMPLE_BYTES)
            _require_text(path, sample, encoding)
            while max(sample.count(b"\n"), sample.count(b"\r")) < FEWEST_LINES and (more := file.read(SAMPLE_BYTES)):
                sample += more
            return sample, not file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from None


def _require_text(path: Path, sample: bytes, encoding: str) -> None:
    if sample.startswith(b"PK\x03\x04"):
        raise UserError(
            "data.path must be text or Parquet",
            f"{path} is a zip archive, as Excel's .xlsx is",
            "saving the sheet as CSV",
        )
    # Who says the encoding may mean UTF-16 without its mark.
    if encoding == "auto" and b"\x00" in sample and not sample.startswith(tuple(MARKED)):
        raise UserError("data.path must be text or Parquet", f"{path} holds bytes that are no text", "another file")


def decoded(path: Path, sample: bytes, encoding: str, *, is_whole: bool) -> str:
    """A sample as text, without a byte-order mark.

    Raises:
        UserError: it is not in that encoding, or there is no such encoding of text.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)  # refuses a codec that is no encoding of text, such as hex
        return codecs.getincrementaldecoder(encoding)().decode(sample, final=is_whole).removeprefix("\ufeff")
    except (LookupError, UnicodeError) as error:
        raise UserError(
            "data.encoding must be the file's own",
            f"{path.name} is no {encoding}: {error}",
            "data.encoding=auto, or mending the file",
        ) from None


def find_encoding(path: Path, sample: bytes, otherwise: str = "latin-1") -> str:
    """By its byte-order mark; without one UTF-8 if every byte of the file allows it, else `otherwise`.

    Raises:
        UserError: the file cannot be unpacked.
    """
    for mark, encoding in MARKED.items():
        if sample.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_unpacked(path) as file:
            # Blocks of this size and their text stay in the processor's caches.
            for block in iter(lambda: file.read(SAMPLE_BYTES), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return otherwise
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from None
    return "utf-8-sig" if sample.startswith(codecs.BOM_UTF8) else "utf-8"


def unreadable_file(path: Path, error: Exception) -> UserError:
    """The refusal of a file that a library could not read, with its reason."""
    reason = " ".join(str(error).split())[:200]
    return UserError("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
