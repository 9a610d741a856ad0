"""Options of reading a file, and the frame that is read before anything is inferred."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from mlplab.data.table.strings import MISSING
from mlplab.data.table.text_layout import TextOptions


@dataclass(frozen=True)
class RawTable:
    """A file as it was read: text where a column does not consist of numbers, dates or truth values alone.

    Attributes:
        frame: null where a value is missing.
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        notes: what was detected, for people.
        encoding: of the text, where it is no Unicode; else "auto".
        first_names: strings of the first line, where no header was found.
    """

    frame: pl.DataFrame
    prefers_comma: bool = False
    notes: tuple[str, ...] = ()
    encoding: str = "auto"
    first_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Says how a file was read, to read another one like it.

    Attributes:
        text: layout of text files.
        missing_values: strings that stand for a missing value, beside the usual ones.
        keep_values: of the usual ones, those that are categories: a list for all columns, or a dict by column.
        as_text: columns in which polars infers no type.
        decimal: the decimal mark; "," leaves all columns as text.
        keeps_zeros: leaves whole numbers as text where one begins with 0, as releases up to 0.5 did not.
    """

    text: TextOptions = field(default_factory=TextOptions)
    missing_values: tuple[str, ...] = ()
    keep_values: Any = None
    as_text: tuple[str, ...] = ()
    decimal: str = "auto"
    keeps_zeros: bool = True

    def kept(self, name: str) -> tuple[str, ...]:
        """Returns the missing markers that are categories in a column."""
        kept = self.keep_values.get(name, []) if isinstance(self.keep_values, Mapping) else self.keep_values
        return tuple(str(value) for value in ([kept] if isinstance(kept, str) else kept or []))

    def markers(self) -> list[str]:
        """Returns spellings of missing values for polars to look for; without those that are kept in any column."""
        names = self.keep_values if isinstance(self.keep_values, Mapping) else [""]
        # polars looks for markers in all columns alike, so what one column keeps is left to `null_missing`.
        kept = {value for name in names for value in self.kept(name)}
        # polars compares exactly: every usual mixture of capitals is a marker of its own.
        usual = {spelling for word in MISSING for spelling in (word, word.upper(), word.title(), word.capitalize())}
        return sorted((usual | {"NaN", *self.missing_values}) - kept)

    def like(self, raw: RawTable) -> "Reading":
        """Returns the reading of a further file that is to mean the same as `raw`."""
        # Text where that had text, so that 1.234 and 007 mean the same in both.
        as_text = tuple(series.name for series in raw.frame if series.dtype == pl.String)
        return replace(self.in_encoding(raw.encoding), as_text=as_text)

    def in_encoding(self, encoding: str) -> "Reading":
        """Returns the reading with the encoding of a file. Another file is likely in the same one."""
        return replace(self, text=replace(self.text, encoding_if_not_utf8=encoding))

    def as_trained(self, plain: Mapping[str, Any]) -> "Reading":
        """Returns the reading with the encoding of a run that goes on, and with what its release did otherwise."""
        then = Reading.from_dict(plain)
        return replace(self.in_encoding(then.text.encoding_if_not_utf8), keeps_zeros=then.keeps_zeros)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values. Of the layout they hold what the user said, as another file is likely written alike."""
        return {
            "text": asdict(self.text),
            "missing_values": list(self.missing_values),
            "keep_values": self.keep_values,
            "as_text": list(self.as_text),
            "keeps_zeros": self.keeps_zeros,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """Rebuilds the reading from `as_dict`. UTF-8 is recognised in another file, whatever the encoding was."""
        # Earlier releases wrote no sheet.
        text = TextOptions(**plain["text"])
        # UTF-16 without a byte-order mark would be refused for its zero bytes, so here the user's word stands.
        if text.encoding != "auto" and not text.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
            text = replace(text, encoding="auto", encoding_if_not_utf8=text.encoding)
        return cls(
            text,
            tuple(plain["missing_values"]),
            plain["keep_values"],
            tuple(plain["as_text"]),
            keeps_zeros=plain.get("keeps_zeros", False),
        )
