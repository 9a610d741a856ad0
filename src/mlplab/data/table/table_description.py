"""Describes a table, before anything is learned: what its columns hold, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlplab.data.table.column import Column
from mlplab.data.table.datetime_strings import CLOCKS
from mlplab.data.table.targets import AnyTarget, Targets
from mlplab.errors import first_of, printable

# A wide table would otherwise fill the terminal for pages; data.json holds every column.
SHOWN_COLUMNS = 40
SHOWN_CATEGORIES = 3
SHOWN_CLASSES = 12

HEADINGS: dict[str, dict[str, Any]] = {
    "column": {"max_width": 28},
    "kind": {},
    "missing": {"justify": "right"},
    "holds": {"max_width": 34},
    "used as": {"max_width": 44},
}


@dataclass(frozen=True)
class ColumnDescription:
    """A column: what it holds, how much is missing, and what becomes of it."""

    name: str
    kind: str
    missing_share: float = 0.0
    holds: str = ""
    use: str = ""
    levels: dict[str, int] = field(default_factory=dict)
    smallest: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Description:
    """Description of a table: as text for the terminal, as plain values for data.json."""

    name: str
    n_rows: int
    parts: dict[str, int]
    columns: Sequence[ColumnDescription]
    target: dict[str, Any]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """Writes a table of the columns, then the target, notes and warnings, a line each."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
        for heading, options in HEADINGS.items():
            table.add_column(heading, no_wrap=True, overflow="ellipsis", **options)
        for column in self.columns[:SHOWN_COLUMNS]:
            shown = (column.name, column.kind, _percent(column.missing_share), column.holds, column.use)
            # Anybody may have written the names and values, which could hold rich's markup and control characters.
            table.add_row(*(escape(_one_line(text)) for text in shown))
        # The width does not depend on the terminal, so the same table always gives the same text.
        console = Console(width=140, color_system=None, force_terminal=False, force_jupyter=False, emoji=False)
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
        if len(self.columns) > SHOWN_COLUMNS:
            lines.append(f"… and {len(self.columns) - SHOWN_COLUMNS:,} more columns, all of them in data.json")
        targets = self.target.get("targets", [self.target])
        lines += ["", *(f"target  {_one_line(one['name'])}: {_one_line(_target_text(one))}" for one in targets)]
        lines += [f"note    {_one_line(note)}" for note in self.notes]
        lines += [f"WARNING {_one_line(warning)}" for warning in self.warnings]
        return "\n".join(lines)


def _target_text(target: dict[str, Any]) -> str:
    because = f" (by {target['because']})"
    if target["task"] == "classification":
        counts = target["classes"]
        shown = [f"{name} {count / sum(counts.values()):.1%}" for name, count in counts.items()][:SHOWN_CLASSES]
        more = f", … {len(counts) - SHOWN_CLASSES} more" if len(counts) > SHOWN_CLASSES else ""
        return f"classification{because}, {len(counts)} classes: {', '.join(shown)}{more}"
    unit = f" in {target['unit']}" if target["unit"] else ""
    numbers = ", ".join(f"{name} {_number(target[name])}" for name in ("smallest", "largest", "mean", "std"))
    return f"regression{because}{unit}: {numbers}"


def describe_column(column: Column, values: pl.Series | None, use: str) -> ColumnDescription:
    """Describes a column; `values` is None for one that was not read."""
    # Columns that are no features are never converted to values.
    if values is None:
        return ColumnDescription(column.name, column.kind, use=use)
    known = values.drop_nulls()
    missing = values.null_count() / max(len(values), 1)
    if len(known) == 0:
        return ColumnDescription(column.name, column.kind, missing, use=use)
    if values.dtype == pl.Float64:
        low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
        # 1e17 ± 800 would look constant.
        form = "{:,.17g}" if low < high and _number(low) == _number(high) else ""
        holds = " to ".join(form.format(end) if form else _number(end) for end in (low, high))
        return ColumnDescription(column.name, column.kind, missing, holds, use, smallest=low, largest=high)
    if values.dtype in (pl.String, pl.Enum):
        counts = known.rename("").value_counts(sort=True)
        # At most 100, so that data.json does not grow with the rows.
        categories = dict(zip(counts[""].head(100), counts["count"].head(100), strict=True))
        holds = f"{len(counts):,}: {first_of(list(categories), SHOWN_CATEGORIES)}"
        return ColumnDescription(column.name, column.kind, missing, holds, use, levels=categories)
    # A date without a time of day is read as midnight; a time of day without a date, as one of 1970.
    ends = [str(end).removesuffix(" 00:00:00") for end in (known.min(), known.max())]
    holds = " to ".join(end.removeprefix("1970-01-01 ") if column.date_format in CLOCKS else end for end in ends)
    return ColumnDescription(column.name, column.kind, missing, holds, use)


def describe_target(target: AnyTarget, targets: npt.NDArray[np.generic], unit: str | tuple[str, ...]) -> dict[str, Any]:
    """Describes the target as plain values: rows of each class, or the range of its numbers; of several one by one."""
    if isinstance(target, Targets):
        each = [
            describe_target(one, targets[:, place], unit[place] if unit else "")
            for place, one in enumerate(target.targets)
        ]
        return {"name": target.name, "task": "multilabel" if target.label_names else "regression", "targets": each}
    task = "classification" if target.class_names else "regression"
    plain: dict[str, Any] = {"name": target.name, "task": task, "because": target.reason}
    if target.class_names:
        # A class of a named list may have no row: it shows a count of 0.
        counts = np.bincount(targets.astype(np.int64), minlength=len(target.class_names))
        return {**plain, "classes": dict(zip(target.class_names, counts.tolist(), strict=True))}
    numbers = targets.astype(np.float64)
    ends = {"smallest": float(numbers.min()), "largest": float(numbers.max())}
    return {**plain, "unit": unit, **ends, "mean": float(numbers.mean()), "std": float(numbers.std())}


def _percent(share: float) -> str:
    # 0.0% would look like none.
    return "" if share == 0 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:,.4g}"


def _one_line(text: str) -> str:
    return printable(" ".join(str(text).split()))
