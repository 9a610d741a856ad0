"""The columns to predict, one or several, and their values as the network learns them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.column import Column
from mlplab.data.table.column_values import column_values
from mlplab.data.table.spellings import Spellings
from mlplab.errors import UserError, counted


@dataclass(frozen=True)
class Target:
    """The column to predict.

    Attributes:
        column: how its strings are read.
        class_names: of a classification, in the order of their indices; empty for regression.
        reason: why it is that task, for people.
    """

    column: Column
    class_names: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        return self.column.name

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {**asdict(self), "column": self.column.as_dict(), "class_names": list(self.class_names)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Target":
        """Rebuilds the target from `as_dict`."""
        return cls(Column.from_dict(plain["column"]), tuple(plain["class_names"]), plain["reason"])


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


def target_values(
    series: pl.Series, target: Target, missing_values: Sequence[str], first_row: int = 1
) -> tuple[npt.NDArray[np.generic], dict[str, int]]:
    """Reads a target as class indices (N,) int64 with −1 where missing, or as values (N,) float64 with NaN.

    A label that is no class is taken for the one that it spells in another way (see `Spellings`).

    Returns:
        the values, and what was noticed → in how many rows.

    Raises:
        UserError: a label is no class, or a value no finite number.
    """
    values = column_values(series, target.column, missing_values, first_row)
    if not target.class_names:
        return values.fill_null(float("nan")).to_numpy(), {}
    names, noticed = list(target.class_names), {}
    # Only labels that are no class: few or none, so a pass over the column for each costs little.
    distinct = values.drop_nulls().unique(maintain_order=True)
    others = distinct.filter(~distinct.is_in(names))
    meant = Spellings(target.class_names).meant(others) if len(others) else others
    for label, name in zip(others, meant, strict=True):
        places = (values == label).fill_null(False)
        # The network has no output for a label that training did not have.
        if name is None:
            near = nearest_name(label, names)
            raise UserError(
                f"every label in column {target.name!r} must be one of the {len(names)} classes that are learned",
                f"{label!r} stands in {counted(int(places.sum()), 'row')}, the first is row "
                f"{first_row + int(places.arg_true()[0])}",
                f"{near!r}, or leaving those rows out" if near else "leaving those rows out",
            )
        noticed[f"the label {label!r}, which is taken for {name!r}"] = int(places.sum())
        values = values.set(places, name)
    # The physical values of an Enum are the places in its list of names, so they are the class indices.
    codes = values.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64)
    return codes.fill_null(-1).to_numpy(), noticed


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


def is_missing(targets: npt.NDArray[np.generic], target: Target) -> npt.NDArray[np.bool_]:
    """Tells which rows have no target, (N,)."""
    return targets.astype(np.int64) < 0 if target.class_names else np.isnan(targets.astype(np.float64))
