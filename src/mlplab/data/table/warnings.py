"""What is likely to make the result of a table look better than it is, or worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import Split
from mlplab.data.table.cells import listed
from mlplab.data.table.columns import Column
from mlplab.data.table.target import Target
from mlplab.data.threads import for_each
from mlplab.errors import counted

RARE_SHARE = 0.01
"""A class below this share of the rows is warned about."""


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
    n_classes = len(target.class_names)
    found = for_each(features, lambda column: _Findings.of(column, values[column.name], targets, n_classes))
    looked_at = list(zip(features, found, strict=True))
    warnings = [
        f"{column.name} is equal to the target, or one-to-one with it: if it is not known when a prediction is made, "
        f"the scores are worthless; {listed('data.drop', [column.name])} leaves it out"
        for column, findings in looked_at
        if findings.gives_away
    ]
    out = [column for column in columns if column.kind in ("identifier", "text", "nested")]
    if out:
        names = ", ".join(column.name for column in out[:5]) + (", …" if len(out) > 5 else "")
        warnings.append(
            f"{counted(len(out), 'column')} {'is' if len(out) == 1 else 'are'} left out as identifier, text or lists: "
            f"{names}; "
            "data.categorical=[…] or data.numeric=[…] takes one in"
        )
    warnings += [
        f"{column.name} numbers the rows and says nothing about new ones; {listed('data.drop', [column.name])} "
        "leaves it out"
        for column, findings in looked_at
        if findings.numbers_the_rows
    ]
    warnings += [
        f"{column.name} has the number {marker:,.0f} in {counted(count, 'row')}, far from all others: "
        f"{listed('data.missing_values', [f'{marker:.0f}'])} if it means that there is no value"
        for column, findings in looked_at
        for marker, count in findings.likely_markers
    ]
    spelled = {column.name: findings.alike for column, findings in looked_at}
    for name, alike in {**spelled, target.name: _differing_in_capitals(target.class_names)}.items():
        if alike:
            warnings.append(f"{name} has levels that differ only in capitals, and are two: {' and '.join(alike)}")
    if target.class_names:
        counts = _class_counts(targets, n_classes)
        rare = [
            f"{name} ({counted(int(count), 'row')})"
            for name, count in zip(target.class_names, counts, strict=True)
            if count < RARE_SHARE * len(targets)
        ]
        if rare:
            warnings.append(f"rare classes: {', '.join(rare)}; loss.class_weights=balanced makes them count")
        for part in ("train", "val", "test"):
            absent = np.flatnonzero(_class_counts(targets[getattr(split, part)], n_classes) == 0)
            if len(absent):
                names = ", ".join(target.class_names[index] for index in absent)
                warnings.append(f"no row of the {part} part has the class {names}")
    repeated = _repeated_across_parts(pl.DataFrame([values[column.name] for column in features]), targets, split)
    if repeated:
        warnings.append(
            f"{counted(repeated, 'row')} of the validation and test parts {'is' if repeated == 1 else 'are'} equal to "
            "a training row in every feature and the target: the scores are too good by what is known by heart"
        )
    return warnings


@dataclass(frozen=True)
class _Findings:
    """Findings in a feature.

    Attributes:
        gives_away: whether it is the target in other words.
        numbers_the_rows: whether it is 1, 2, 3, … in some order.
        likely_markers: numbers that are likely to mean "missing", and in how many rows each stands.
        alike: two levels that differ only in capitals.
    """

    gives_away: bool
    numbers_the_rows: bool = False
    likely_markers: Sequence[tuple[float, int]] = ()
    alike: tuple[str, str] | None = None

    @classmethod
    def of(cls, column: Column, values: pl.Series, targets: npt.NDArray[np.generic], n_classes: int) -> "_Findings":
        gives_away = _is_one_to_one(values, targets, n_classes) if n_classes else _is_linear(values, targets)
        if column.kind == "numeric":
            return cls(gives_away, _numbers_the_rows(values), _likely_markers(values))
        if column.kind == "categorical":
            return cls(gives_away, alike=_differing_in_capitals(values.unique().to_list()))
        return cls(gives_away)


LIKELY_MARKERS = (-99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)


def _likely_markers(values: pl.Series) -> list[tuple[float, int]]:
    """Numbers that often mean "missing", and lie further from all others than these do from each other."""
    found, ends = [], (values.min(), values.max())
    for marker in (marker for marker in LIKELY_MARKERS if marker in ends):
        rest = values.filter(values != marker)
        count = len(values) - values.null_count() - len(rest)
        if count < 2 or len(rest) < 2:
            continue
        low, high = float(rest.min()), float(rest.max())  # type: ignore[arg-type]
        if max(low - marker, marker - high) > high - low:
            found.append((marker, count))
    return found


def _differing_in_capitals(levels: Sequence[str | None]) -> tuple[str, str] | None:
    """The first two levels that are one but for capitals."""
    seen: dict[str, str] = {}
    for level in sorted(level for level in levels if level is not None):
        other = seen.setdefault(level.casefold(), level)
        if other != level:
            return repr(other), repr(level)
    return None


def _class_counts(targets: npt.NDArray[np.generic], n_classes: int = 0) -> npt.NDArray[np.int64]:
    """Counts the rows of each class, of `n_classes` at least."""
    return np.bincount(targets.astype(np.int64), minlength=n_classes)


FIRST_ROWS = 1000
"""Rows that are enough to show of most features that they are not the target in other words."""


def _is_one_to_one(values: pl.Series, classes: npt.NDArray[np.generic], n_classes: int) -> bool:
    """Checks whether a feature has one level for each class."""
    known = values.drop_nulls()
    if len(known) < max(3, 0.5 * len(values)) or known.head(max(FIRST_ROWS, 10 * n_classes)).n_unique() > n_classes:
        return False
    classes = classes[values.is_not_null().to_numpy()]
    n_classes = int(np.count_nonzero(_class_counts(classes)))
    if n_classes < 2 or known.n_unique() != n_classes:
        return False
    return len(pl.DataFrame({"x": known, "y": classes}).unique()) == n_classes


def _is_linear(values: pl.Series, numbers: npt.NDArray[np.generic]) -> bool:
    """Checks whether a feature is the target in another unit."""
    if values.dtype != pl.Float64 or len(values) - values.null_count() < max(3, 0.5 * len(values)):
        return False
    x, y = values.drop_nulls().to_numpy(), numbers.astype(np.float64, copy=False)
    if values.null_count():
        y = y[values.is_not_null().to_numpy()]
    if x.min() == x.max() or (span := np.ptp(y)) == 0:
        return False
    # The line that is best for all rows is no nearer to the first few than the one that is best for them: if that
    # leaves more of them than this, as it mostly does, the correlation of all rows is smaller.
    first = slice(FIRST_ROWS)
    residual = (1 - _correlation(x[first], y[first]) ** 2) * np.square((y[first] - y[first].mean()) / span).sum()
    return bool(residual < 1e-9 * len(y) and abs(_correlation(x, y)) > 1 - 1e-9)


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Returns the correlation of two variables, 0 where one of them is constant."""
    spans = np.ptp(x), np.ptp(y)
    if 0 in spans:
        return 0.0
    # Scaled, so that squares of tiny and of huge numbers stay in range.
    return float(np.corrcoef((x - x.mean()) / spans[0], (y - y.mean()) / spans[1])[0, 1])


def _numbers_the_rows(values: pl.Series) -> bool:
    """1, 2, 3, … in some order."""
    if values.null_count() or len(values) < 20:
        return False
    smallest, largest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    return largest - smallest == len(values) - 1 and values.n_unique() == len(values) and bool((values % 1 == 0).all())


HASHED_ROWS = 1 << 15
"""Rows that are hashed at once: polars takes a copy of them."""


def _repeated_across_parts(features: pl.DataFrame, targets: npt.NDArray[np.generic], split: Split) -> int:
    """Counts rows of the validation and test parts that are equal to a training row."""
    rows = features.with_columns(pl.Series("\0target", targets))
    hashes = pl.concat(for_each(rows.iter_slices(HASHED_ROWS), pl.DataFrame.hash_rows))
    others = np.concatenate([split.val, split.test])
    return int(hashes[others].is_in(hashes[split.train].implode()).sum())
