"""Infers the task that one target, or several, make: classes or numbers to learn."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from mlplab.data.table.column import Column, Hints, read_strings
from mlplab.data.table.column_inference import infer_column
from mlplab.data.table.column_values import column_values
from mlplab.data.table.spellings import are_truth_values, merged, truth_values
from mlplab.data.table.string_forms import infer_all_numbers
from mlplab.data.table.strings import for_hydra, for_shell
from mlplab.data.table.targets import AnyTarget, Target, Targets
from mlplab.errors import UserError, agree, first_of

FEW_CLASSES = 20
"""Most whole numbers that are taken for classes, with `ROWS_PER_CLASS` rows each."""

ROWS_PER_CLASS = 10

VERY_FEW_CLASSES = 10
"""Most whole numbers that are taken for classes with only two rows each."""

SURELY_CLASSES = 4
"""Whole numbers up to which one with hardly a row is a rare class. Beyond, it is the end of a scale or a count."""

FEW_ROWS = 3
"""Rows of a class that can be in each of the three parts."""

MAY_BE_CLASSES = 100
"""Whole numbers up to which a regression tells how to make them classes."""


def infer_target(series: pl.Series, task: str, hints: Hints) -> Target:
    """Infers the task of a target whose missing values are null.

    Args:
        series: the target.
        task: `classification` or `regression`, or `auto`: text, truth values and few whole numbers are classes.
        hints: what is known of its strings; no kind and no date format.

    Raises:
        UserError: the column cannot be what `task` says, or there is nothing to learn in it.
    """
    name = str(series.name)
    if series.null_count() == len(series):
        raise UserError(f"the target {name!r} must have a value in some row", "all are missing", "another data.target")
    numbers = _numbers(series, hints)
    if numbers is None:
        return _infer_target_of_text(series, task, hints)
    column, values = numbers
    _require_finite(name, values)
    classes = Column(name, "categorical", kept=hints.kept)
    fractions = (values % 1 != 0).fill_null(False).arg_true()
    if task == "classification":
        if len(fractions):
            row = int(fractions[0])
            raise UserError(
                f"classes in column {name!r} must be text, truth values or whole numbers",
                f"row {row + 1} has {values[row]:g}",
                "data.task=regression",
            )
        return _class_target(series, classes, "data.task")
    if task == "auto" and _holds_codes(series):
        return _class_target(series, classes, "codes with leading zeros; data.task=regression says otherwise")
    if values.min() == values.max():
        raise UserError(
            f"the target {name!r} must vary", f"every row has {values.drop_nulls()[0]:g}", "another data.target"
        )
    reason = "data.task" if task == "regression" else "numbers"
    if task == "auto" and not len(fractions):
        are_classes, reason = _whole_numbers_are_classes(values)
        if are_classes:
            return _class_target(series, classes, reason)
    column_values(series, column, [])  # refuses what does not fit into 32 bits
    return Target(column, reason=reason)


def _infer_target_of_text(series: pl.Series, task: str, hints: Hints) -> Target:
    """Takes text and truth values for classes."""
    name = str(series.name)
    if series.dtype.is_temporal() or series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise UserError(f"the target {name!r} must hold numbers or classes", f"{series.dtype}", "another data.target")
    # Numbers with a typing error must not become text with many classes.
    if series.dtype == pl.String and task != "classification":
        _require_no_mistakes(series, hints)
    if task == "regression":
        raise _no_numbers(series, hints)
    reason = "truth values" if _holds_truth_values(series) else "text"
    return _class_target(series, Column(name, "categorical", kept=hints.kept), reason)


def _require_finite(name: str, values: pl.Series) -> None:
    infinite = (~values.is_finite()).fill_null(False).arg_true()
    if len(infinite):
        row = int(infinite[0])
        raise UserError(
            f"every target in column {name!r} must be finite",
            f"{len(infinite)} of {len(values)} {agree(len(infinite), 'is')} not, the first is {values[row]} "
            f"in row {row + 1}",
            "data.missing_values=[inf,-inf] data.drop_missing_target=true",
        )


def _whole_numbers_are_classes(values: pl.Series) -> tuple[bool, str]:
    """Tells classes from counts, as few whole numbers with several rows each are more likely classes; adds a reason."""
    rows = values.drop_nulls().rename("").value_counts()["count"]
    n_distinct, rows_per_class, fewest = len(rows), values.count() / len(rows), int(rows.min())  # type: ignore[arg-type]
    are_few = (n_distinct <= FEW_CLASSES and rows_per_class >= ROWS_PER_CLASS) or (
        n_distinct <= VERY_FEW_CLASSES and rows_per_class >= 2
    )
    whole = f"{n_distinct:,} whole numbers"
    if are_few and (fewest >= FEW_ROWS or n_distinct <= SURELY_CLASSES):
        return True, f"{whole}; data.task=regression says otherwise"
    if n_distinct > MAY_BE_CLASSES:
        return False, "numbers"
    of_few = f", some in fewer than {FEW_ROWS} rows" if are_few else ""
    return False, f"{whole}{of_few}; data.task=classification says otherwise"


def _holds_codes(series: pl.Series) -> bool:
    """Checks for whole numbers with leading zeros that come again: 01 and 1 are two codes of one value."""
    if series.dtype != pl.String or not series.str.contains(r"^0\d+$").any():
        return False
    # Many of them are more likely numbers that are filled up to one width.
    return series.drop_nulls().n_unique() <= min(MAY_BE_CLASSES, series.count() / 2)


def _holds_truth_values(series: pl.Series) -> bool:
    """Checks for truth values, which are text where their spelling was kept."""
    if series.dtype != pl.String:
        return series.dtype == pl.Boolean
    return are_truth_values(series.drop_nulls().unique())


def _numbers(series: pl.Series, hints: Hints) -> tuple[Column, pl.Series] | None:
    """Reads the target as numbers; returns None where it is text, or truth values."""
    if series.dtype == pl.String:
        column = infer_all_numbers(series, hints)
        if column is None:
            return None
        return column, read_strings(series, column)
    # Truth values, dates and lists are no numbers, though polars could cast the first two.
    if not series.dtype.is_numeric():
        return None
    return Column(str(series.name), "numeric"), series.cast(pl.Float64)


def _no_numbers(series: pl.Series, hints: Hints) -> UserError:
    found = f"{series.dtype}"
    if series.dtype == pl.String:
        try:
            # Refused as numbers, as that error names the first string that is none.
            infer_column(series, replace(hints, kind="numeric"))
        except UserError as error:
            found = error.actual
    return UserError(f"the target of a regression, {series.name!r}, must hold numbers", found, "data.task=auto")


def _require_no_mistakes(text: pl.Series, hints: Hints) -> None:
    """Refuses numbers with a few strings that are none, which would pass for so many classes."""
    try:
        infer_column(text, hints)
    except UserError as error:
        markers = error.hint.partition(" if ")[0]  # of the bad strings, as they can be typed
        raise UserError(
            error.requirement,
            error.actual,
            f"{markers} data.drop_missing_target=true if there is no target in such rows, or data.task=classification",
        ) from None


def _class_target(series: pl.Series, column: Column, reason: str) -> Target:
    counts = column_values(series, column, []).drop_nulls().value_counts(name="\0count")
    # Sorted, so that class indices do not depend on the order of the rows, and class 10 comes after class 9.
    names = sorted(merged(dict(counts.iter_rows())), key=_numbers_then_text)
    n_known = series.count()
    if len(names) == 1:
        raise UserError(
            f"the target {column.name!r} must have at least two classes",
            f"every row has {names[0]!r}",
            "another data.target",
        )
    # Labels that hardly repeat are names or prose, which no training could learn.
    if len(names) > 0.5 * n_known:
        raise UserError(
            f"the classes in column {column.name!r} must each have several rows",
            f"there are {len(names)} different labels in {n_known} rows",
            "another data.target",
        )
    return Target(column, tuple(names), reason)


def _numbers_then_text(label: str) -> tuple[int, float, str]:
    """Sorts numbers by size, then text by alphabet."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def infer_targets(frame: pl.DataFrame, names: Sequence[str], task: str, hints: Callable[[str], Hints]) -> AnyTarget:
    """Infers the task of one target or several, as `infer_target`.

    Raises:
        UserError: a column cannot be what `task` says, or there is nothing to learn in it; of several targets, some are
            numbers and some are labels, or a label is not of two classes of which one means true.
    """
    targets = [infer_target(frame[name], task, hints(name)) for name in names]
    if len(targets) == 1:
        return targets[0]
    labels = [target for target in targets if target.class_names]
    if not labels:
        return Targets(tuple(targets))
    unusable = [target for target in labels if not _label(target)]
    are_numbers = all(_are_numbers(target) for target in targets)
    if len(labels) < len(targets):
        numeric = next(target for target in targets if not target.class_names)
        raise UserError(
            "several targets must all be numbers, or all be labels",
            f"{numeric.name!r} holds numbers, and {labels[0].name!r} {len(labels[0].class_names)} classes",
            "data.task=regression" if are_numbers else _alone(numeric),
        )
    if unusable:
        first = unusable[0]
        raise UserError(
            "each of several labels must be 0 or 1, yes or no, or true or false",
            f"{first.name!r} has {len(first.class_names)} classes: {first_of(first.class_names, 5)}",
            _alone(first) + (", or data.task=regression" if are_numbers else ""),
        )
    return Targets(tuple(replace(target, class_names=_label(target)) for target in labels))


def _alone(target: Target) -> str:
    return f"{for_shell(f'data.target={for_hydra(target.name)}')} alone"


def _are_numbers(target: Target) -> bool:
    try:
        return all(np.isfinite(float(name)) for name in target.class_names)
    except ValueError:
        return False


def _label(target: Target) -> tuple[str, ...]:
    """Returns the names of false and true; none if the classes are others."""
    truth = truth_values(pl.Series(target.class_names, dtype=pl.String)).to_list()
    # Capitals are sorted first: YES comes before no.
    pairs = dict(zip(truth, target.class_names, strict=True))
    return (pairs["false"], pairs["true"]) if len(truth) == 2 and set(truth) == {"false", "true"} else ()
