"""Several columns to predict at once: numbers, or labels that are true or false."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.table.column import Column, Hints
from mlplab.data.table.spellings import truth_values
from mlplab.data.table.strings import for_hydra, for_shell
from mlplab.data.table.target_column import Target, infer_target, is_missing, target_values
from mlplab.errors import UserError, first_of


@dataclass(frozen=True)
class Targets:
    """Several columns to predict: all numbers, or all labels of two classes, the second of which is true."""

    targets: tuple[Target, ...]

    @property
    def name(self) -> str:
        return ", ".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(target.name for target in self.targets)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Returns none, as each label has names of its own."""
        return ()

    @property
    def label_names(self) -> tuple[tuple[str, ...], ...]:
        """Returns the names of false and true for each label; none for numbers."""
        return tuple(target.class_names for target in self.targets if target.class_names)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {"targets": [target.as_dict() for target in self.targets]}


AnyTarget = Target | Targets


def target_from_dict(plain: Mapping[str, Any]) -> AnyTarget:
    """Rebuilds one target, or several, from `as_dict`."""
    if "targets" in plain:
        return Targets(tuple(Target.from_dict(one) for one in plain["targets"]))
    return Target.from_dict(dict(plain))


def columns_of(target: AnyTarget) -> tuple[Target, ...]:
    """Returns the columns to predict."""
    return target.targets if isinstance(target, Targets) else (target,)


def as_written(target: AnyTarget, columns: Mapping[str, Column]) -> AnyTarget:
    """Returns the target with its columns as another file writes them, by their names."""
    if isinstance(target, Targets):
        return Targets(tuple(replace(one, column=columns[one.name]) for one in target.targets))
    return replace(target, column=columns[target.name])


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


def read_targets(
    frame: pl.DataFrame, target: AnyTarget, missing_values: Sequence[str], first_row: int = 1
) -> tuple[npt.NDArray[np.generic], dict[str, int]]:
    """Reads one target (N,), or several (N, T), as `target_values`."""
    if isinstance(target, Target):
        return target_values(frame[target.name], target, missing_values, first_row)
    columns, noticed = [], Counter[str]()
    for one in target.targets:
        values, counts = target_values(frame[one.name], one, missing_values, first_row)
        columns.append(values)
        noticed.update({f"in {one.name!r} {what}": count for what, count in counts.items()})
    return np.stack(columns, axis=1), dict(noticed)


def missing_of_each(targets: npt.NDArray[np.generic], target: AnyTarget) -> npt.NDArray[np.bool_]:
    """Tells which rows lack which target, (N, T)."""
    columns = columns_of(target)
    # One target has the shape (N,).
    values = targets.reshape(len(targets), len(columns))
    return np.stack([is_missing(values[:, place], one) for place, one in enumerate(columns)], axis=1)
