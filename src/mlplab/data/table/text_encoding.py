"""The encoding of a text file, and its first and last lines."""

import codecs
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlplab.data.table.file_errors import MUST_BE_TABLE, unreadable_file
from mlplab.errors import UserError

BLOCK_BYTES = 1 << 18
"""Bytes that are decoded, or counted, at once: few enough to stay in the processor's caches."""

SAMPLE_LINES, SAMPLE_CHARACTERS = 500, 1 << 18
"""Lines, or characters, from which the layout of a file is detected."""

FEWEST_LINES = 10
"""Lines that are read however long they are, as the first one names every column."""

LONGEST_LINE = 1 << 24
"""Characters after which a line is cut, as no table has such a line."""

TAIL_BYTES = 1 << 14
"""Bytes at the end of a file in which a footer is looked for."""

TELLING_BYTES = 1 << 14
"""Bytes of lines with other characters than ASCII, by which an encoding is detected."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order mark at the beginning of a file → its encoding."""

CANDIDATES = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "koi8_r", "iso8859_2", "mac_roman",
    "cp850", "cp866", "cp932", "euc_jp", "gb18030", "big5", "cp949",
)  # fmt: skip
"""Encodings of files that are no Unicode, with those of which the others must be clearly better first."""

CLEARLY_BETTER = 0.05
"""Difference in disorder, between 0 and 1, up to which the more frequent encoding is taken."""

ODD_WORDS = [
    re.compile(r"[^\W\d_][^\w\s.’‘'´`-][^\W\d_]"),  # a sign within
    re.compile(r"^[\u00aa-\u02af]{3,}$"),  # accented letters alone
    re.compile(r"[^\W\d_a-zA-Z]\d"),
    re.compile(r"^[б-джзй-нп-тф-ьБ-ДЖЗЙ-НП-ТФ-Ь]{3,}$"),  # Cyrillic without a vowel
    re.compile(r"^[α-ω]{4,}$"),  # Greek without an accent
]
IMPROBABLE = [
    ("[šžŠŽ]", "[èæðìøòï]"),  # Czech and Croatian as Western
    ("ø", "[ìò]"),
    ("[õÕûÛ](?![eE])", "[áéíóúÁÉÍÓÚ]", "^[^ãçâêôÃÇÂÊÔ]*$"),  # Hungarian
    ("[þðýÞÐÝ]", "^[^áéíóúæÁÉÍÓÚÆ]*$"),  # Turkish
]
"""Letters that hardly stand in one text."""

STRAY = "mlplab_stray"
"""Error handler that reads the few bytes of a file that are no UTF-8 as Windows' Western encoding."""

codecs.register_error(
    STRAY,
    lambda error: (error.object[error.start : error.start + 1].decode("cp1252", "replace"), error.start + 1),  # type: ignore[attr-defined]
)


@dataclass(frozen=True)
class Encoding:
    """Says how the bytes of a file become text.

    Attributes:
        name: of Python's codec.
        errors: its error handler.
        note: what was detected, for people; "" for Unicode.
    """

    name: str
    errors: str = "strict"
    note: str = ""

    @property
    def is_utf8(self) -> bool:
        """Returns whether the bytes are UTF-8 as they are; ASCII is a part of it."""
        return self.errors == "strict" and codecs.lookup(self.name).name in ("utf-8", "utf-8-sig", "ascii")


def first_lines(path: Path, encoding: Encoding, skip_lines: int) -> list[str]:
    """Reads lines to skip and the first ones after them, each with its end, without a byte-order mark.

    Raises:
        UserError: they are not in that encoding, or there is no such encoding.
    """
    lines: list[str] = []
    n_characters = 0
    try:
        # A line feed, a carriage return or both end a line, and stay as they are.
        with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as text:
            for line in itertools.islice(iter(lambda: text.readline(LONGEST_LINE), ""), skip_lines + SAMPLE_LINES):
                lines.append(line)
                n_characters += len(line)
                if n_characters > SAMPLE_CHARACTERS and len(lines) >= skip_lines + FEWEST_LINES:
                    break
    except (LookupError, UnicodeError) as error:
        raise UserError(
            "data.encoding must be the file's own",
            f"{path.name} is no {encoding.name}: {error}",
            "data.encoding=auto, or mending the file",
        ) from None
    # The mark stays in the text where the user names plain utf-8.
    return [line.removeprefix("\ufeff") for line in lines[:1]] + lines[1:]


def last_lines(path: Path) -> list[str]:
    """Reads the last lines of a file in UTF-8, each whole and with its end."""
    with path.open("rb") as file:
        n_bytes = file.seek(0, io.SEEK_END)
        file.seek(max(n_bytes - TAIL_BYTES, 0))
        text = file.read().decode("utf-8", "replace")
    lines = text.split("\n")
    # The first one may be the end of a line.
    begin = 1 if n_bytes > TAIL_BYTES else 0
    return [f"{line}\n" for line in lines[begin:-1]] + ([lines[-1]] if lines[-1] else [])


def find_encoding(path: Path, otherwise: str = "auto") -> Encoding:
    """Finds the encoding: by the byte-order mark, by whether the whole file is UTF-8, else by its characters.

    Args:
        path: of the file.
        otherwise: encoding of a file that is no Unicode; "auto" detects it.

    Raises:
        UserError: the file is no text.
    """
    try:
        with path.open("rb") as file:
            first = file.read(BLOCK_BYTES)
            for mark, encoding in MARKS.items():
                if first.startswith(mark):
                    return Encoding(encoding)
            # A zero byte stands in no text of one byte for a character, but soon in most binary files.
            if b"\x00" in first:
                return _utf16_without_mark(path, first)
            blocks = itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b""))
            if _decodes(blocks, "utf-8"):
                return Encoding("utf-8-sig" if first.startswith(codecs.BOM_UTF8) else "utf-8")
    except OSError as error:
        raise unreadable_file(path, error) from None
    return _detected(path) if otherwise == "auto" else Encoding(otherwise, note=_told(otherwise))


def _told(name: str) -> str:
    return f"the file is no UTF-8 and is read as {name}; data.encoding=… says otherwise"


def _decodes(blocks: Iterator[bytes], encoding: str) -> bool:
    # The decoder is incremental, as a block may end within a character.
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            decoder.decode(block)
        # Refuses a character that the end of the file cuts off.
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _utf16_without_mark(path: Path, first: bytes) -> Encoding:
    """Recognises UTF-16 by the zero bytes of ASCII characters, nearly all of which stand at even or at odd places.

    Raises:
        UserError: the zero bytes are those of no text.
    """
    n_even, n_odd = first[::2].count(0), first[1::2].count(0)
    for name, n_zeros, n_others in (("utf-16-le", n_odd, n_even), ("utf-16-be", n_even, n_odd)):
        # A table is full of delimiters and line ends, whatever its language.
        if n_zeros > max(5 * n_others, 0.05 * len(first)) and any(end.encode(name) in first for end in "\r\n"):
            return Encoding(name, note=f"the file is read as {name}, without a byte-order mark")
    raise UserError(MUST_BE_TABLE, f"{path} holds bytes that are no text", "another file")


def _detected(path: Path) -> Encoding:
    """Detects the encoding of a file that is no Unicode, by its lines with other characters than ASCII."""
    with path.open("rb") as file:
        lines: dict[bytes, None] = {}  # each once
        n_bytes = 0
        for line in iter(lambda: file.readline(LONGEST_LINE), b""):
            if not line.isascii() and line not in lines:
                lines[line[:TELLING_BYTES]] = None
                n_bytes += len(line)
                if n_bytes > TELLING_BYTES:
                    break
    sample = b"".join(lines)
    stray = len(re.findall("[\ue000]", sample.decode("utf-8", "replace").replace("\ufffd", "\ue000")))
    others = sum(character > "\x7f" for character in sample.decode("utf-8", "ignore"))
    if others > 10 * stray:
        return Encoding("utf-8", STRAY, "the file is UTF-8 but for single bytes, which are read as cp1252")
    for name in _ranked(sample):
        with path.open("rb") as file:
            if _decodes(iter(lambda: file.read(BLOCK_BYTES), b""), name):
                return Encoding(name, note=_told(name))
    return Encoding("latin-1", note=_told("latin-1"))


def _ranked(sample: bytes) -> list[str]:
    """Orders the encodings that the bytes can have by the disorder of the text that they give."""
    from charset_normalizer import from_bytes  # only files of other encodings need it

    disorder: dict[str, float] = {}
    for match in from_bytes(sample, steps=10, threshold=0.6, cp_isolation=list(CANDIDATES)):
        # Several encodings may give the same text.
        for name in match.could_be_from_charset:
            disorder.setdefault(name, match.chaos)
    for name in disorder:
        disorder[name] += _oddness(sample.decode(name, "replace"))
    least = min(disorder.values(), default=0.0)
    alike = [name for name in CANDIDATES if disorder.get(name, 9.0) <= least + CLEARLY_BETTER]
    return [*alike, *sorted(disorder.keys() - set(alike), key=disorder.__getitem__)]


def _oddness(text: str) -> float:
    """Returns the share of words with other letters than ASCII that hardly any language has."""
    words = [word for word in re.findall(r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f\s]+", text) if not word.isascii()]
    odd = sum(
        any(pattern.search(word) for pattern in ODD_WORDS)
        or any(one.islower() and other.isupper() for one, other in itertools.pairwise(word))
        for word in words
    )
    improbable = any(all(re.search(letters, text) for letters in together) for together in IMPROBABLE)
    return odd / max(len(words), 1) + 2 * CLEARLY_BETTER * improbable
