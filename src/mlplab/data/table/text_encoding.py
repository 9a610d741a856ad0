"""The bytes of a text file: whether they are packed, and in which encoding they are."""

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import IO

from mlplab.errors import UserError

SAMPLE_BYTES = 1 << 18
"""Bytes at the beginning of a file from which its layout is detected."""

FEWEST_LINES = 10
"""Lines that a sample has at least, however long they are, as the first one names every column."""

UNREADABLE = (OSError, EOFError, zlib.error, UnicodeError)
"""Errors of unpacking and decoding."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order mark at the beginning of a file → its encoding."""


def is_gzip(path: Path) -> bool:
    """Looks at the first bytes, not at the name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_unpacked(path: Path) -> IO[bytes]:
    """Opens the bytes of the text, whether the file is packed or not."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def read_sample(path: Path, *, encoding: str = "auto") -> tuple[bytes, bool]:
    """Reads the first bytes, and returns with them whether they are all.

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
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None


def _require_text(path: Path, sample: bytes, encoding: str) -> None:
    if sample.startswith(b"PK\x03\x04"):
        found, hint = "is a zip archive, as Excel's .xlsx is", "saving the sheet as CSV"
    # An encoding that the user names may be UTF-16 without its mark, which is full of zero bytes.
    elif encoding == "auto" and b"\x00" in sample and not sample.startswith(tuple(MARKS)):
        found, hint = "holds bytes that are no text", "another file"
    else:
        return
    raise UserError("data.path must be text or Parquet", f"{path} {found}", hint)


def decode(path: Path, sample: bytes, encoding: str, *, is_whole: bool) -> str:
    """Decodes a sample, and removes its byte-order mark.

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
    """Finds the encoding by the byte-order mark; without one it is UTF-8 if the whole file is, else `otherwise`.

    Raises:
        UserError: the file cannot be unpacked.
    """
    for mark, encoding in MARKS.items():
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
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None
    return "utf-8-sig" if sample.startswith(codecs.BOM_UTF8) else "utf-8"


def unreadable_file(path: Path, error: BaseException) -> UserError:
    """Makes the error for a file that a library could not read, with the library's reason."""
    reason = " ".join(str(error).split())[:200]
    return UserError("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
