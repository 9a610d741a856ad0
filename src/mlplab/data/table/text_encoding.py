"""The bytes of a text file: whether they are packed, in which encoding they are, and its first lines."""

import codecs
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlplab.errors import UserError

BLOCK_BYTES = 1 << 18
"""Bytes that are looked at at once: few enough to stay, with their text, in the processor's caches."""

SAMPLE_LINES, SAMPLE_CHARACTERS = 500, 1 << 18
"""Lines, or characters, from which the layout of a file is detected."""

FEWEST_LINES = 10
"""Lines that are read however long they are, as the first one names every column."""

LONGEST_LINE = 1 << 24
"""Characters after which a line is cut, as no table has such a line."""

MUST_BE_TEXT = "data.path must be text or Parquet"

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


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Opens the bytes of the text, whether the file is packed or not.

    Raises:
        UserError: they are those of an Excel file.
    """
    with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as file:
        # `peek` leaves the position alone, so the caller begins at the first byte.
        if file.peek(4).startswith(b"PK\x03\x04"):
            raise UserError(MUST_BE_TEXT, f"{path} is a zip archive, as Excel's .xlsx is", "saving the sheet as CSV")
        yield file  # type: ignore[misc]


def first_lines(path: Path, encoding: str, skip_lines: int) -> list[str]:
    """Reads lines to skip and the first ones after them, each with its end, without a byte-order mark.

    Raises:
        UserError: they are not in that encoding, there is no such encoding, or the file cannot be unpacked.
    """
    lines: list[str] = []
    n_characters = 0
    try:
        # A line feed, a carriage return or both end a line, and stay as they are.
        with open_unpacked(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            for line in itertools.islice(iter(lambda: text.readline(LONGEST_LINE), ""), skip_lines + SAMPLE_LINES):
                lines.append(line)
                n_characters += len(line)
                if n_characters > SAMPLE_CHARACTERS and len(lines) >= skip_lines + FEWEST_LINES:
                    break
    except (LookupError, UnicodeError) as error:
        raise UserError(
            "data.encoding must be the file's own",
            f"{path.name} is no {encoding}: {error}",
            "data.encoding=auto, or mending the file",
        ) from None
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None
    # The mark stays in the text where the user names plain utf-8.
    return [line.removeprefix("\ufeff") for line in lines[:1]] + lines[1:]


def find_encoding(path: Path, otherwise: str = "latin-1") -> str:
    """Finds the encoding by the byte-order mark; without one it is UTF-8 if the whole file is, else `otherwise`.

    Raises:
        UserError: the file is no text, or cannot be unpacked.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_unpacked(path) as file:
            first = file.read(BLOCK_BYTES)
            for mark, encoding in MARKS.items():
                if first.startswith(mark):
                    return encoding
            # A zero byte stands in no text in UTF-8 or latin-1, but soon in most binary files.
            if b"\x00" in first:
                raise UserError(
                    "data.path must be text or Parquet", f"{path} holds bytes that are no text", "another file"
                )
            for block in itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b"")):
                # The decoder is incremental, as a block may end within a character.
                decoder.decode(block)
            # Refuses a character that the end of the file cuts off.
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return otherwise
    except UNREADABLE as error:
        raise unreadable_file(path, error) from None
    return "utf-8-sig" if first.startswith(codecs.BOM_UTF8) else "utf-8"


def unreadable_file(path: Path, error: BaseException) -> UserError:
    """Makes the error for a file that a library could not read, with the library's reason."""
    # Messages of polars go on with advice on its own options, which users of this project do not have.
    reason = " ".join(str(error).split())[:200]
    return UserError("data.path must be a table that can be read", f"{path}: {reason}", "another file, or mending it")
