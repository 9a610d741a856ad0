"""The bytes of a text file: packed or not, and in which encoding."""

import codecs
import gzip
import zlib
from pathlib import Path
from typing import IO

from mlplab.errors import Refusal

SAMPLE_BYTES = 1 << 18
"""Of the beginning of a file, from which its dialect is detected."""


def is_gzip(path: Path) -> bool:
    """By its first bytes, not its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_unpacked(path: Path) -> IO[bytes]:
    """The bytes of the text, whether the file is packed or not."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def read_sample(path: Path) -> tuple[bytes, bool]:
    """The first bytes, and whether they are all.

    Raises:
        Refusal: they are no text.
    """
    try:
        with open_unpacked(path) as file:
            sample = file.read(SAMPLE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from None
    is_utf16 = sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if sample.startswith(b"PK\x03\x04"):
        raise Refusal(
            "data.path must be text or Parquet",
            f"{path} is a zip archive, as Excel's .xlsx is",
            "saving the sheet as CSV",
        )
    if b"\x00" in sample and not is_utf16:
        raise Refusal("data.path must be text or Parquet", f"{path} holds bytes that are no text", "another file")
    return sample[:SAMPLE_BYTES], len(sample) <= SAMPLE_BYTES


def find_encoding(path: Path, sample: bytes) -> str:
    """UTF-8 if every byte of the file allows it, with or without a byte-order mark; UTF-16 by its mark; else latin-1.

    Raises:
        Refusal: the file cannot be unpacked.
    """
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_unpacked(path) as file:
            for block in iter(lambda: file.read(1 << 24), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from None
    return "utf-8-sig" if sample.startswith(codecs.BOM_UTF8) else "utf-8"


def unreadable_file(path: Path, error: Exception) -> Refusal:
    """The refusal of a file that a library could not read, with its reason."""
    reason = " ".join(str(error).split())[:200]
    return Refusal("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
