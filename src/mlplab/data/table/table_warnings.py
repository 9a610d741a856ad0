"""Warns of what likely makes the result of a table look better than it is, or worse."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.split import Split
from mlplab.data.table.column import Column
from mlplab.data.table.datetime_inference import infer_dates
from mlplab.data.table.seen_categories import NEARLY_ALL
from mlplab.data.table.strings import override_of
from mlplab.data.table.table_preprocessing import CategoricalInput
from mlplab.data.table.targets import AnyTarget, Target, columns_of
from mlplab.data.threads import for_each
from mlplab.errors import agree, counted, first_of

RARE_SHARE = 0.01
"""Share of the rows below which a class is warned of."""

LIKELY_MARKERS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)
"""Numbers that often stand for a missing value. Others do where they come again beside many that do not."""

FEWEST_ALIKE = 5
MANY_NUMBERS = 10
"""Different numbers from which any other that lies alone, in several rows, is a likely marker: 999.9, -200."""

LIKELY_DATES = (datetime(9999, 12, 31), datetime(2099, 12, 31), datetime(1970, 1, 1), datetime(1900, 1, 1))
"""Dates that often stand for a missing value."""

ALONE = timedelta(days=5 * 365)

FIRST_ROWS = 1000
"""Rows that are enough to show of most features that they are not the target in other words."""

HASHED_ROWS = 1 << 15
"""Rows that are hashed at once, as polars takes a copy of them."""

MOST_COMPARED = 20
"""Targets that each feature is compared with, of several: more would take longer than reading the file."""

Values = npt.NDArray[Any]


def find_warnings(
    values: pl.DataFrame,
    columns: Sequence[Column],
    targets: Values,
    target: AnyTarget,
    split: Split,
    not_features: set[str],
) -> list[str]:
    """Finds features that give the target away, number the rows or have likely markers; rare classes; equal rows."""
    features = [column for column in columns if column.is_feature and column.name not in not_features]
    # One target has the shape (N,).
    learned = list(zip(columns_of(target), targets.reshape(len(targets), -1).T, strict=True))
    compared = learned[:MOST_COMPARED]

    def of_column(column: Column) -> list[str]:
        return list(_warnings_of_column(column, values[column.name], compared))

    warnings = [warning for found in for_each(features, of_column) for warning in found]
    out = [column.name for column in columns if column.kind in ("identifier", "text", "nested")]
    if out:
        warnings.append(
            f"{counted(len(out), 'column', 'is')} left out as identifier, text or lists: "
            f"{first_of(out, 5)}; data.categorical=[…] or data.numeric=[…] takes one in"
        )
    for one, own in learned:
        warnings += _differing_in_capitals(one.name, one.class_names)
        names = pl.Series(one.class_names, dtype=pl.String)
        if len(names) and infer_dates(names, pl.ones(len(names), pl.Int64, eager=True)).share == 1:
            warnings.append(f"the target {one.name} holds dates, and each is a class: no new date can be predicted")
        if len(learned) > 1:
            warnings += _warnings_of_label(one, own, split)
        elif one.class_names:
            warnings += _warnings_of_classes(own, one.class_names, split)
    repeated = _repeated_across_parts(pl.DataFrame([values[column.name] for column in features]), targets, split)
    if repeated:
        warnings.append(
            f"{counted(repeated, 'row')} of the validation and test parts {agree(repeated, 'is')} equal to "
            "a training row in every feature and the target: the scores count rows that training has seen"
        )
    return warnings


def warnings_of_unknown(values: pl.DataFrame, inputs: Sequence[CategoricalInput], split: Split) -> list[str]:
    """Finds columns of which a part has hardly any category of training, as if another program had written it."""

    def of_input(one: CategoricalInput) -> list[str]:
        warnings = []
        for part in ("val", "test"):
            known = values[getattr(split, part)].select(one.name).drop_nulls()
            unknown = known.filter(one.of(known) == 0)
            if len(known) > 1 and len(unknown) >= NEARLY_ALL * len(known):
                warnings.append(
                    f"{len(unknown):,} of {len(known):,} rows of the {part} part have a category of {one.name} that "
                    f"training lacks, such as {unknown[0, 0]!r}: if they are spelled otherwise, the scores are too low"
                )
        return warnings

    return [warning for found in for_each(inputs, of_input) for warning in found]


def _warnings_of_column(column: Column, values: pl.Series, learned: list[tuple[Target, Values]]) -> Iterator[str]:
    leave_out = override_of("data.drop", [column.name])
    for target, own in learned:
        n_classes = len(target.class_names)
        if _is_one_to_one(values, own, n_classes) if n_classes else _is_linear(values, own):
            which = f"the target {target.name}" if len(learned) > 1 else "the target"
            yield (
                f"{column.name} is equal to {which}, or one-to-one with it: if it is not known when a prediction is "
                f"made, the scores are worthless; {leave_out} leaves it out"
            )
    if column.kind == "numeric":
        if _numbers_the_rows(values):
            yield f"{column.name} numbers the rows and says nothing about new ones; {leave_out} leaves it out"
        for marker, count in _likely_markers(values):
            yield (
                f"{column.name} has the number {marker:,.12g} in {counted(count, 'row')}, far from all others: "
                f"{override_of('data.missing_values', [f'{marker:.12g}'])} if it means that there is no value"
            )
    elif column.kind == "datetime":
        ends = values.min(), values.max()
        for date in (date for date in LIKELY_DATES if date in ends):
            rest = values.filter(values != date)
            # The first day of a century may be one of many.
            if len(rest) >= 2 and not rest.min() - ALONE < date < rest.max() + ALONE:  # type: ignore[operator]
                yield (
                    f"{column.name} is {date:%Y-%m-%d} in {counted(values.count() - len(rest), 'row')}, far from all "
                    "others: data.missing_values=[…] with that date, as written, if it means that there is no value"
                )
    elif column.kind == "categorical":
        yield from _differing_in_capitals(column.name, values.unique().to_list())


def _likely_markers(values: pl.Series) -> Iterator[tuple[float, int]]:
    """Yields numbers that lie further from all others than these do from each other, and how many rows have them."""
    for marker in (values.min(), values.max()):
        if marker is None:
            return
        count = int((values == marker).sum())
        is_likely = marker in LIKELY_MARKERS
        # A single extreme number may be an outlier.
        if count < (2 if is_likely else FEWEST_ALIKE):
            continue
        rest = values.filter(values != marker)
        if len(rest) >= 2:
            low, high = float(rest.min()), float(rest.max())  # type: ignore[arg-type]
            # -200 is none of many numbers that are not negative, though these may lie further apart.
            end = float(marker)  # type: ignore[arg-type]
            is_far = max(low - end, end - high) > high - low or (end <= -9 and low >= 0)
            if is_far and (is_likely or rest.n_unique() >= MANY_NUMBERS):
                yield end, count


def _differing_in_capitals(name: str, categories: Sequence[str | None]) -> Iterator[str]:
    """Warns of the first two categories that are one but for capitals."""
    seen: dict[str, str] = {}
    for category in sorted(category for category in categories if category is not None):
        # casefold also takes ß and ss for the same.
        other = seen.setdefault(category.casefold(), category)
        if other != category:
            yield f"{name} has categories that differ only in capitals, and are two: {other!r} and {category!r}"
            return


def _warnings_of_classes(targets: Values, class_names: Sequence[str], split: Split) -> Iterator[str]:
    rare = [
        f"{name} ({counted(int(count), 'row')})"
        for name, count in zip(class_names, _class_counts(targets, len(class_names)), strict=True)
        if count < RARE_SHARE * len(targets)
    ]
    if rare:
        yield f"rare classes: {', '.join(rare)}; loss.class_weights=balanced makes them count"
    lacking: dict[bool, list[str]] = {True: [], False: []}
    for part in split.not_empty:
        counts = _class_counts(targets[getattr(split, part)], len(class_names))
        # Those that are rare have a note of their own.
        absent = [name for number, name in enumerate(class_names) if counts[number] == 0 and number not in split.rare]
        if absent:
            yield f"no row of the {part} part has the class {', '.join(absent)}"
        if part != "train" and (counts == 0).any():
            lacking[bool(np.count_nonzero(counts) > 1)].append(part)
    # Classes without rows have no area under a curve.
    if lacking[True]:
        yield f"auroc of the {' and '.join(lacking[True])} part is the mean over the classes that have rows in it"
    if lacking[False]:
        yield f"auroc of the {' and '.join(lacking[False])} part is left empty: its rows are all of one class"


def _warnings_of_label(target: Target, labels: Values, split: Split) -> Iterator[str]:
    for part in split.not_empty:
        own = labels[getattr(split, part)]
        if target.class_names and own.min() == own.max():
            value = target.class_names[int(own[0])]
            yield f"{target.name} is {value} in every row of the {part} part: auroc leaves it out"


def _class_counts(targets: Values, n_classes: int = 0) -> npt.NDArray[np.int64]:
    """Counts the rows of each class, of `n_classes` at least."""
    return np.bincount(targets.astype(np.int64), minlength=n_classes)


def _is_one_to_one(values: pl.Series, classes: Values, n_classes: int) -> bool:
    """Checks for a feature that has one value for each class."""
    known = values.drop_nulls()
    # With few known values, one for each class may be chance.
    # The first rows show of most features that they have too many values, without a pass over all.
    if len(known) < max(3, 0.5 * len(values)) or known.head(max(FIRST_ROWS, 10 * n_classes)).n_unique() > n_classes:
        return False
    classes = classes[values.is_not_null().to_numpy()]
    n_classes = int(np.count_nonzero(_class_counts(classes)))
    if n_classes < 2 or known.n_unique() != n_classes:
        return False
    # As many pairs as values and as classes: then each value goes with one class.
    return len(pl.DataFrame({"x": known, "y": classes}).unique()) == n_classes


def _is_linear(values: pl.Series, numbers: Values) -> bool:
    """Checks for a feature that is the target in another unit."""
    if values.dtype != pl.Float64 or values.count() < max(3, 0.5 * len(values)):
        return False
    x, y = values.drop_nulls().to_numpy(), numbers.astype(np.float64, copy=False)
    if values.null_count():
        y = y[values.is_not_null().to_numpy()]
    if x.min() == x.max() or (span := np.ptp(y)) == 0:
        return False
    # A cheap look first. No line fits the first rows better than their own best line: if even that leaves a residual
    # above the limit for all rows, as in most columns, the feature is not linear.
    first = slice(FIRST_ROWS)
    residual = (1 - _correlation(x[first], y[first]) ** 2) * np.square((y[first] - y[first].mean()) / span).sum()
    # Another unit leaves only rounding errors, about 1e-16 of each number.
    return bool(residual < 1e-9 * len(y) and abs(_correlation(x, y)) > 1 - 1e-9)


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Returns the correlation of two variables, 0 where one of them is constant."""
    spans = np.ptp(x), np.ptp(y)
    if 0 in spans:
        return 0.0
    # Scaled, so that squares of tiny and of huge numbers stay in range.
    return float(np.corrcoef((x - x.mean()) / spans[0], (y - y.mean()) / spans[1])[0, 1])


def _numbers_the_rows(values: pl.Series) -> bool:
    """Checks for 1, 2, 3, … in some order."""
    if values.null_count() or len(values) < 20:
        return False
    smallest, largest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    # The cheapest condition first: it is false for most columns.
    return largest - smallest == len(values) - 1 and values.n_unique() == len(values) and bool((values % 1 == 0).all())


def _repeated_across_parts(features: pl.DataFrame, targets: Values, split: Split) -> int:
    """Counts rows of the validation and test parts that are equal to a training row."""
    # A name that no column has.
    by_target = targets.reshape(len(targets), -1).T
    rows = features.with_columns([pl.Series(f"\0target{place}", own) for place, own in enumerate(by_target)])
    # A hash has 64 bits: among a million rows, two different ones share one with a probability of about 3e-8.
    hashes = pl.concat(for_each(rows.iter_slices(HASHED_ROWS), pl.DataFrame.hash_rows))
    others = np.concatenate([split.val, split.test])
    return int(hashes[others].is_in(hashes[split.train].implode()).sum())
