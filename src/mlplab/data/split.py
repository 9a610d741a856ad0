"""Splits rows into training, validation and test part."""

import re
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlplab.data.folds import rows_of_fold
from mlplab.data.stratified import draw
from mlplab.errors import UserError

Rows = npt.NDArray[np.int64]

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitRules:
    """Constraints of a data set on its split; by default there are none.

    Attributes:
        parts: (N,) "train", "val" or "test" for rows with a given part, "" for rows to be drawn.
        groups: (N,) group number of each row; rows of a group stay together.
        times: (N,) time of each row; later rows go to later parts.
        rare_classes: treatment of classes with too few rows for all parts. `keep` and `drop` put them into training;
            with `drop` the data set then removes them. `refuse` or None refuses them.
    """

    parts: npt.NDArray[np.str_] | None = None
    groups: npt.NDArray[np.int64] | None = None
    times: npt.NDArray[np.float64] | None = None
    rare_classes: str | None = None

    def of_rows(self, kept: npt.NDArray[np.bool_]) -> "SplitRules":
        """Returns the rules for the given rows, (n,)."""
        arrays = {name: getattr(self, name) for name in ("parts", "groups", "times")}
        return replace(self, **{name: array[kept] for name, array in arrays.items() if array is not None})


class Splittable(Protocol):
    """Interface of data sets that can be split."""

    @property
    def targets(self) -> npt.NDArray[np.generic]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def split_rules(self) -> SplitRules: ...


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each ascending. No row is in two parts; only folds by time leave rows out.

    `rare` lists the classes that are only in the training part, as they have too few rows.
    """

    train: Rows
    val: Rows
    test: Rows
    rare: tuple[int, ...] = ()

    @property
    def not_empty(self) -> list[str]:
        """Returns the names of the parts with rows; the test part may be empty."""
        return [part for part in PARTS if len(getattr(self, part))]


def split_fold(dataset: Splittable, fold: int, n_folds: int, *, validation_fraction: float, seed: int) -> Split:
    """Splits rows for a fold of a cross-validation; `rows_of_fold` gives its test part.

    The validation part is drawn from the others as in `split_rows`.

    Raises:
        UserError: the test part is given, or there are too few rows.
    """
    rules = dataset.split_rules
    if rules.parts is not None:
        raise UserError(
            "data.folds must draw the test part of each fold", "data.test_path or data.split_column gives it",
            "data.folds=null, or leaving these out",
        )  # fmt: skip
    labels = dataset.targets.astype(np.int64) if dataset.class_names else None
    others, tested = rows_of_fold(
        len(dataset.targets), fold, n_folds, seed=seed, labels=labels, groups=rules.groups, times=rules.times
    )
    rows = np.union1d(others, tested)
    parts = np.where(np.isin(rows, tested), "test", "")
    kept = np.isin(np.arange(len(dataset.targets)), rows)
    part = _Part(dataset.targets[rows], dataset.class_names, replace(rules.of_rows(kept), parts=parts))
    split = split_rows(part, validation_fraction=validation_fraction, test_fraction=0.0, seed=seed)
    return Split(rows[split.train], rows[split.val], rows[split.test], split.rare)


@dataclass(frozen=True)
class _Part:
    """A subset of a data set's rows, with their rules."""

    targets: npt.NDArray[np.generic]
    class_names: tuple[str, ...]
    split_rules: SplitRules


def split_rows(dataset: Splittable, *, validation_fraction: float, test_fraction: float, seed: int) -> Split:
    """Splits rows by the rules of the data, and draws those parts that are not given.

    With a `test_fraction` of 0 the test part may be empty.

    Given parts are taken over. The other parts are drawn from the remaining rows: at random, stratified by class for
    classification; with groups, whole groups at random; with times, the latest rows for the test and those before them
    for validation.

    Raises:
        UserError: a part would be empty, or a class has too few rows to be in each part.
    """
    rules, n_rows = dataset.split_rules, len(dataset.targets)
    part_of = np.zeros(n_rows, np.int8)  # position in PARTS; rows that are not drawn stay in the training part
    if rules.parts is not None:
        for position, part in enumerate(PARTS):
            part_of[rules.parts == part] = position
    free = np.flatnonzero(rules.parts == "") if rules.parts is not None else np.arange(n_rows)
    fractions = {
        part: fraction
        # The test part comes first, so that by time it gets the latest rows.
        for part, fraction in (("test", test_fraction), ("val", validation_fraction))
        # Neither a given part is drawn, nor a test part that is to be empty.
        if fraction and not (part_of == PARTS.index(part)).any()
    }
    rare: tuple[int, ...] = ()
    # Shares of the rows to be drawn, without those of given parts.
    sizes = {part: round(fraction * len(free)) for part, fraction in fractions.items()}
    if not sizes:
        drawn: dict[str, Rows] = {}
    elif rules.times is not None:
        drawn = _latest(rules.times[free], sizes)
    elif rules.groups is not None:
        drawn = _whole_groups(dataset, rules.groups[free], free, sizes, seed)
    else:
        # Before drawing, which needs a row for each part; groups and times have their own checks.
        _require_rows(dataset, {"train": len(free) - sum(sizes.values()), **sizes}, len(free))
        drawn, rare = _at_random(dataset, free, sizes, seed)
    for part, rows in drawn.items():
        part_of[free[rows]] = PARTS.index(part)
    train, val, test = (np.flatnonzero(part_of == position) for position in range(len(PARTS)))
    split = Split(train, val, test, rare)
    lengths = {part: len(getattr(split, part)) for part in PARTS}
    _require_rows(dataset, {part: n for part, n in lengths.items() if n or part != "test" or test_fraction}, n_rows)
    return split


def _require_rows(dataset: Splittable, sizes: dict[str, int], n_rows: int) -> None:
    least = 1 if dataset.class_names else 2  # r2 needs two targets
    if min(sizes.values()) < least:
        counts = [str(sizes[part]) for part in PARTS if part in sizes]
        raise UserError(
            f"the training, validation and test part must each have {'a row' if least == 1 else 'two rows'}",
            f"they have {', '.join(counts[:-1])} and {counts[-1]} of {n_rows} rows",
            "data.validation_fraction=0.15 data.test_fraction=0.15, on more rows",
        )


def _at_random(
    dataset: Splittable, free: Rows, sizes: dict[str, int], seed: int
) -> tuple[dict[str, Rows], tuple[int, ...]]:
    """Draws positions within `free` at random, stratified by class for classification; also returns the rare classes.

    Raises:
        UserError: a rare class is refused, or fewer than two other classes remain.
    """
    if not dataset.class_names:
        return _drawn(None, len(free), sizes, seed), ()
    rules = dataset.split_rules
    labels = dataset.targets[free].astype(np.int64)
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    # If the test part is given, a class may be in that part only.
    possible = counts > 0 if rules.parts is not None else np.ones(len(counts), bool)
    rare = np.zeros(len(counts), bool)
    while True:
        rows = np.flatnonzero(~rare[labels])
        try:
            drawn = {part: rows[places] for part, places in _drawn(labels[rows], len(rows), sizes, seed).items()}
        except ValueError:
            # A class has one row, or a part has fewer rows than classes: the smallest classes count as rare.
            too_rare = possible & (counts == counts[possible & ~rare].min())
        else:
            n_parts = sum(np.bincount(labels[part], minlength=len(counts)) > 0 for part in drawn.values())
            # Rounding may leave a small class without a row in a part; given parts may lack a class anyway.
            too_rare = possible & ~rare & (n_parts < len(sizes)) & (rules.parts is None)
            n_left = counts - sum(np.bincount(labels[part], minlength=len(counts)) for part in drawn.values())
            too_rare |= possible & ~rare & (n_left == 0) & (rules.parts is None)
            if not too_rare.any():
                return drawn, tuple(int(number) for number in np.flatnonzero(rare))
        rare |= too_rare
        if rules.rare_classes in (None, "refuse") or (possible & ~rare).sum() < 2:
            raise _too_rare(dataset, counts, possible)


def _drawn(labels: npt.NDArray[np.int64] | None, n_rows: int, sizes: dict[str, int], seed: int) -> dict[str, Rows]:
    """Draws the rows of each part.

    Raises:
        ValueError: a class has too few rows for that.
    """
    # The test part is drawn first, the validation part from the rest.
    rest = np.arange(n_rows)
    drawn = {}
    for part, size in sizes.items():
        left, chosen = draw(len(rest), size, seed, None if labels is None else labels[rest])
        rest, drawn[part] = rest[left], rest[chosen]
    return drawn


def _latest(times: npt.NDArray[np.float64], sizes: dict[str, int]) -> dict[str, Rows]:
    """Takes the latest rows as test part, and those before them for validation; rows of equal time stay together.

    Each part begins at the time that brings it nearest to its requested size, but leaves at least one time for each
    earlier part.
    """
    # Stable, so that rows of equal time keep their order on every machine.
    order = np.argsort(times, kind="stable")
    begins = np.unique(times[order], return_index=True)[1]
    if len(begins) < len(sizes) + 1:
        raise UserError(
            f"data.time_column must have at least {len(sizes) + 1} different times, one for each part",
            f"it has {len(begins)}",
            "another data.time_column",
        )
    drawn, end = {}, len(order)
    for n_later, (part, size) in enumerate(sizes.items(), 1):
        # Skips the first times, one for each earlier part.
        possible = begins[len(sizes) + 1 - n_later :]
        start = int(possible[np.abs(possible - (end - size)).argmin()])
        drawn[part] = order[start:end]
        begins, end = begins[begins < start], start
    return drawn


GROUP_DRAWS = 50
"""Random orders of the groups to try; the one with the best sizes and class shares is used."""


def _whole_groups(
    dataset: Splittable, groups: npt.NDArray[np.int64], free: Rows, sizes: dict[str, int], seed: int
) -> dict[str, Rows]:
    """Draws whole groups in random order, until each part has nearly its requested size."""
    names, members = np.unique(groups, return_inverse=True)
    counts = np.bincount(members)
    if len(names) < len(sizes) + 1:
        raise UserError(
            f"there must be at least {len(sizes) + 1} groups, one for each part",
            f"data.group_column has {len(names)}",
            "another data.group_column",
        )
    # Regression is treated as one class, so that only the sizes count.
    classes = dataset.targets[free].astype(np.int64) if dataset.class_names else np.zeros(len(free), np.int64)
    table = np.zeros((len(names), max(1, len(dataset.class_names))))
    np.add.at(table, (members, classes), 1)
    # One generator for all draws, so that a seed always gives the same parts.
    generator = np.random.default_rng(seed)
    best: tuple[float, dict[str, Rows]] | None = None
    for _ in range(GROUP_DRAWS):
        order = generator.permutation(len(names))
        chosen, begin = {}, 0
        for position, (part, size) in enumerate(sizes.items()):
            filled = np.cumsum(counts[order[begin:]])
            most = len(filled) - (len(sizes) - position)  # leaves a group for each later part and for training
            n_groups = min(int(np.abs(filled - size).argmin()) + 1, most)
            chosen[part] = order[begin : begin + n_groups]
            begin += n_groups
        distance = sum(
            # The deviation in rows from a proportional share of each class.
            float(np.abs(table[chosen[part]].sum(0) - size * table.sum(0) / len(free)).sum())
            for part, size in sizes.items()
        )
        if best is None or distance < best[0]:
            best = distance, chosen
    assert best is not None
    return {part: np.flatnonzero(np.isin(members, chosen)) for part, chosen in best[1].items()}


def _too_rare(dataset: Splittable, counts: npt.NDArray[np.int64], possible: npt.NDArray[np.bool_]) -> UserError:
    classes = np.flatnonzero(possible)
    rarest = int(classes[counts[classes].argmin()])
    hint = "leaving that class out, more rows, or larger data.validation_fraction and data.test_fraction"
    if dataset.split_rules.rare_classes == "refuse":
        hint = "data.rare_classes=keep, which takes its rows for training, or data.rare_classes=drop"
    elif all(re.fullmatch(r"-?\d+([.,]0+)?", name) for name in dataset.class_names):
        hint = "data.task=regression if the classes are numbers, or more rows"
    return UserError(
        f"each part must have a row of each of the {len(classes)} classes",
        f"class {dataset.class_names[rarest]!r} has {counts[rarest]} of {counts.sum()} rows",
        hint,
    )
