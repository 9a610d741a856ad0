"""What a table holds and what is done with it, told before anything is learned."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlplab.data.table.columns import Column
from mlplab.errors import printable

SHOWN_COLUMNS = 40
SHOWN_LEVELS = 3
SHOWN_CLASSES = 12


@dataclass(frozen=True)
class ColumnDescription:
    """A column: what it holds, how much is missing, and what becomes of it."""

    name: str
    kind: str
    missing_share: float
    holds: str
    use: str
    levels: dict[str, int] = field(default_factory=dict)
    smallest: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Description:
    """A table. As text for the terminal, as plain values for data.json."""

    name: str
    n_rows: int
    parts: dict[str, int]
    columns: Sequence[ColumnDescription]
    target: dict[str, Any]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return asdict(self)

    def as_text(self) -> str:
        """A table of the columns, then the target, notes and warnings, a line each."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
        for heading, options in (
            ("column", {"max_width": 28}), ("kind", {}), ("missing", {"justify": "right"}),
            ("holds", {"max_width": 34}), ("used as", {"max_width": 44}),
        ):  # fmt: skip
            table.add_column(heading, no_wrap=True, overflow="ellipsis", **options)
        for column in self.columns[:SHOWN_COLUMNS]:
            cells = (column.name, column.kind, _share(column.missing_share), column.holds, column.use)
            table.add_row(*(escape(_one_line(cell)) for cell in cells))
        console = Console(width=140, color_system=None, force_terminal=False, emoji=False)
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
        if len(self.columns) > SHOWN_COLUMNS:
            lines.append(f"… and {len(self.columns) - SHOWN_COLUMNS:,} more columns, all of them in data.json")
        lines += ["", f"target  {_one_line(self.target['name'])}: {_one_line(self._target_text())}"]
        lines += [f"note    {_one_line(note)}" for note in self.notes]
        lines += [f"WARNING {_one_line(warning)}" for warning in self.warnings]
        return "\n".join(lines)

    def _target_text(self) -> str:
        target = self.target
        because = f" (by {target['because']})"
        if target["task"] == "classification":
            counts = target["classes"]
            total = sum(counts.values())
            shown = [f"{name} {count / total:.1%}" for name, count in list(counts.items())[:SHOWN_CLASSES]]
            more = f", … {len(counts) - SHOWN_CLASSES} more" if len(counts) > SHOWN_CLASSES else ""
            return f"classification{because}, {len(counts)} classes: {', '.join(shown)}{more}"
        unit = f" {target['unit']}" if target["unit"] else ""
        numbers = ", ".join(f"{name} {_number(target[name])}" for name in ("smallest", "largest", "mean", "std"))
        return f"regression{because}{unit and f' in{unit}'}: {numbers}"


def describe_column(column: Column, values: pl.Series | None, use: str) -> ColumnDescription:
    """One line of the table; `values` is None for a column that was not read."""
    if values is None:
        return ColumnDescription(column.name, column.kind, 0.0, "", use)
    missing = values.null_count() / max(len(values), 1)
    if values.dtype == pl.Float64:
        smallest, largest = values.min(), values.max()
        if smallest is None or largest is None:
            return ColumnDescription(column.name, column.kind, missing, "", use)
        low, high = float(smallest), float(largest)  # type: ignore[arg-type]
        holds = f"{_number(low)} to {_number(high)}"
        return ColumnDescription(column.name, column.kind, missing, holds, use, smallest=low, largest=high)
    if values.dtype in (pl.String, pl.Enum):
        counts = values.drop_nulls().value_counts(sort=True)
        levels = dict(zip(counts[values.name].head(100), counts["count"].head(100), strict=True))
        shown = ", ".join(list(levels)[:SHOWN_LEVELS])
        holds = f"{len(counts):,}: {shown}{', …' if len(counts) > SHOWN_LEVELS else ''}"
        return ColumnDescription(column.name, column.kind, missing, holds, use, levels=levels)
    holds = " to ".join(str(moment).removesuffix(" 00:00:00") for moment in (values.min(), values.max()))
    return ColumnDescription(column.name, column.kind, missing, holds, use)


def _share(share: float) -> str:
    return "" if share == 0 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:,.4g}"


def _one_line(text: str) -> str:
    return printable(" ".join(str(text).split()))
