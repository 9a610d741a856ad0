"""What is likely to make the result of a table look better than it is, or worse."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import Split
from mlplab.data.table.cells import listed
from mlplab.data.table.columns import Column
from mlplab.data.table.target import Target
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
    warnings = [
        f"{column.name} is equal to the target, or one-to-one with it: if it is not known when a prediction is made, "
        f"the scores are worthless; {listed('data.drop', [column.name])} leaves it out"
        for column in features
        if _gives_away(values[column.name], targets, bool(target.class_names))
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
        for column in features
        if column.kind == "numeric" and _numbers_the_rows(values[column.name])
    ]
    warnings += [
        f"{column.name} has the number {marker:,.0f} in {counted(count, 'row')}, far from all others: "
        f"{listed('data.missing_values', [f'{marker:.0f}'])} if it means that there is no value"
        for column in features
        if column.kind == "numeric"
        for marker, count in _likely_markers(values[column.name])
    ]
    spelled = {
        column.name: values[column.name].unique().to_list() for column in features if column.kind == "categorical"
    }
    for name, levels in {**spelled, target.name: list(target.class_names)}.items():
        alike = _differing_in_capitals(levels)
        if alike:
            warnings.append(f"{name} has levels that differ only in capitals, and are two: {' and '.join(alike)}")
    if target.class_names:
        counts = np.bincount(targets.astype(np.int64), minlength=len(target.class_names))
        rare = [
            f"{name} ({counted(int(count), 'row')})"
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
    repeated = _repeated_across_parts(pl.DataFrame([values[column.name] for column in features]), targets, split)
    if repeated:
        warnings.append(
            f"{counted(repeated, 'row')} of the validation and test parts {'is' if repeated == 1 else 'are'} equal to "
            "a training row in every feature and the target: the scores are too good by what is known by heart"
        )
    return warnings


LIKELY_MARKERS = (-99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)


def _likely_markers(values: pl.Series) -> list[tuple[float, int]]:
    """Numbers that often mean "missing", and lie further from all others than these do from each other."""
    found = []
    for marker in LIKELY_MARKERS:
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
