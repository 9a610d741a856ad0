"""A column of a table: what it holds, and how its strings are read."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from mlplab.data.table.compound_strings import as_compounds
from mlplab.data.table.datetime_strings import first_that_fits
from mlplab.data.table.number_strings import SCALED, as_numbers


@dataclass(frozen=True)
class Column:
    """Says how the strings of a column become values.

    Attributes:
        name: as in the file.
        kind: numeric, categorical, boolean or datetime, which become features; text, identifier, nested or
            empty, which do not.
        decimal: the decimal mark of its numbers.
        thousands: what groups their digits, or "".
        prefix, suffix: what stands around its numbers: a currency, a percent sign, a unit.
        compound: the unit of numbers that are made of several, such as seconds of 1:30; else "".
        date_format: of its dates, as `strptime` takes it; "" where they are stored as dates.
        other_formats: of further dates in the same column.
        latest_year: of dates with two digits for the year, later ones are a century earlier; 0 for no such limit.
        kept: strings that stand for a missing value elsewhere and are categories here.
        reason: why it is not a feature, for people.
        note: what was assumed in reading it, for people.
        unreadable_cells: the share of its values that may be no numbers or dates, and then count as missing.
    """

    name: str
    kind: str
    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
    date_format: str = ""
    kept: tuple[str, ...] = ()
    reason: str = ""
    note: str = ""
    compound: str = ""
    other_formats: tuple[str, ...] = ()
    latest_year: int = 0
    unreadable_cells: float = 0.0

    @property
    def is_feature(self) -> bool:
        return self.kind in ("numeric", "categorical", "boolean", "datetime")

    @property
    def unit(self) -> str:
        """Returns what stands around its numbers, but for the scales that are multiplied out."""
        return f"{self.prefix}{'' if self.suffix == SCALED else self.suffix}".strip()

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Column":
        """Rebuilds the column from `as_dict`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**values)


@dataclass(frozen=True)
class Hints:
    """Holds what is known of a column beside its strings.

    Attributes:
        kind: "numeric" or "categorical", where the user says so.
        decimal: the decimal mark, or "auto".
        prefers_comma: whether "1,234" is more likely 1.234 than 1234.
        date_format: of dates, where the user says it; other columns may have others.
        kept: strings that stand for a missing value elsewhere and are categories here.
        unreadable_cells: the share of values that may be no numbers or dates, and then count as missing.
    """

    kind: str | None = None
    decimal: str = "auto"
    prefers_comma: bool = False
    date_format: str | None = None
    kept: tuple[str, ...] = ()
    unreadable_cells: float = 0.0


def read_strings(text: pl.Series, column: Column) -> pl.Series:
    """Reads the strings of a numeric column as Float64, and those of dates as Datetime; null where they are none."""
    if column.kind == "datetime":
        return first_that_fits(text, [column.date_format, *column.other_formats], column.latest_year)
    if column.compound:
        return as_compounds(text, column.compound)
    return as_numbers(text, column.decimal, column.thousands, column.prefix, column.suffix)


def name_words(name: str) -> set[str]:
    """Splits customer_id, customerId and CustomerID alike, so that the word id is found in each."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)}
