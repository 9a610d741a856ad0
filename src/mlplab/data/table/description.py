"""What a table holds and what is done with it, told before anything is learned."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlplab.data.split import Split
from mlplab.data.table.cells import quoted
from mlplab.data.table.columns import Column
from mlplab.data.table.target import Target

SHOWN_COLUMNS = 40
SHOWN_LEVELS = 3
SHOWN_CLASSES = 12

RARE_SHARE = 0.01
"""A class below this share of the rows is warned about."""


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
        console = Console(width=140, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
        if len(self.columns) > SHOWN_COLUMNS:
            lines.append(f"… and {len(self.columns) - SHOWN_COLUMNS:,} more columns, all of them in data.json")
        lines += ["", f"target  {_one_line(self.target['name'])}: {self._target_text()}"]
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
    if values.dtype == pl.String:
        counts = values.drop_nulls().value_counts(sort=True)
        levels = dict(zip(counts[values.name].head(100), counts["count"].head(100), strict=True))
        shown = ", ".join(list(levels)[:SHOWN_LEVELS])
        holds = f"{len(counts):,}: {shown}{', …' if len(counts) > SHOWN_LEVELS else ''}"
        return ColumnDescription(column.name, column.kind, missing, holds, use, levels=levels)
    holds = " to ".join(str(moment).removesuffix(" 00:00:00") for moment in (values.min(), values.max()))
    return ColumnDescription(column.name, column.kind, missing, holds, use)


def find_warnings(
    values: pl.DataFrame,
    columns: Sequence[Column],
    targets: npt.NDArray[np.generic],
    target: Target,
    split: Split,
    not_features: set[str],
) -> list[str]:
    """What is likely to make the result look better than it is, or worse."""
    features = [column for column in columns if column.is_feature and column.name not in not_features]
    warnings = [
        f"{column.name} is equal to the target, or one-to-one with it: if it is not known when a prediction is made, "
        f"the scores are worthless; data.drop=[{quoted(column.name)}] leaves it out"
        for column in features
        if _gives_away(values[column.name], targets, bool(target.class_names))
    ]
    out = [column for column in columns if column.kind in ("identifier", "text", "nested")]
    if out:
        names = ", ".join(column.name for column in out[:5]) + (", …" if len(out) > 5 else "")
        warnings.append(
            f"{len(out)} {'column is' if len(out) == 1 else 'columns are'} left out as identifier or text: {names}; "
            "data.categorical=[…] or data.numeric=[…] takes one in"
        )
    warnings += [
        f"{column.name} numbers the rows and says nothing about new ones; data.drop=[{quoted(column.name)}] "
        "leaves it out"
        for column in features
        if column.kind == "numeric" and _numbers_the_rows(values[column.name])
    ]
    if target.class_names:
        counts = np.bincount(targets.astype(np.int64), minlength=len(target.class_names))
        rare = [
            f"{name} ({count:,} rows)"
            for name, count in zip(target.class_names, counts, strict=True)
            if count < RARE_SHARE * len(targets)
        ]
        if rare:
            warnings.append(f"rare classes: {', '.join(rare)}; loss.class_weights=balanced makes them count")
        for part in ("train", "val", "test"):
            absent = set(range(len(target.class_names))) - set(np.unique(targets[getattr(split, part)]).tolist())
            if absent:
                names = ", ".join(target.class_names[index] for index in sorted(absent))
                warnings.append(f"no row of the {part} part has the class {names}")
    repeated = _repeated_across_parts(values.select(column.name for column in features), targets, split)
    if repeated:
        warnings.append(
            f"{repeated:,} validation and test rows are equal to a training row in every feature and the target: the "
            "scores are too good by what is known by heart"
        )
    return warnings


def _gives_away(values: pl.Series, targets: npt.NDArray[np.generic], are_classes: bool) -> bool:
    """Whether a feature is the target in other words: linear in it, or one level for each class."""
    known = values.is_not_null().to_numpy()
    if known.sum() < max(3, 0.5 * len(known)):
        return False
    if not are_classes:
        if values.dtype != pl.Float64:
            return False
        x, y = values.drop_nulls().to_numpy(), targets[known].astype(np.float64)
        if x.min() == x.max() or y.min() == y.max():
            return False
        # Scaled, so that squares of tiny and of huge numbers stay in range.
        x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
        return bool(abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9)
    n_classes = len(np.unique(targets[known]))
    if values.drop_nulls().n_unique() != n_classes or n_classes < 2:
        return False
    pairs = pl.DataFrame({"x": values.drop_nulls(), "y": targets[known]}).unique()
    return len(pairs) == n_classes


def _numbers_the_rows(values: pl.Series) -> bool:
    """1, 2, 3, … in some order."""
    if values.null_count() or len(values) < 20:
        return False
    smallest, largest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    return largest - smallest == len(values) - 1 and values.n_unique() == len(values) and bool((values % 1 == 0).all())


def _repeated_across_parts(features: pl.DataFrame, targets: npt.NDArray[np.generic], split: Split) -> int:
    hashes = features.with_columns(pl.Series("\0target", targets)).hash_rows().to_numpy()
    others = np.concatenate([split.val, split.test])
    return int(np.isin(hashes[others], hashes[split.train]).sum())


def _share(share: float) -> str:
    return "" if share == 0 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:,.4g}"


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
