"""The space of a search: names with their values, some only where another name has a certain value."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.rules import shown
from mlplab.sweeps.job_values import canonical
from mlplab.sweeps.ledger import Assignment
from mlplab.sweeps.overrides import Dimension, values_of_condition

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Conditions = Mapping[str, Mapping[str, Sequence[Any]]]
"""Name → other names on which it depends → their values with which it is drawn."""

WHEN = " when "


@dataclass(frozen=True)
class Space:
    """Names in the order in which they are drawn: a name stands after those on which it depends.

    Attributes:
        dimensions: the values of each name.
        conditions: of the names that are not always drawn.
    """

    dimensions: tuple[Dimension, ...]
    conditions: Conditions = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [dimension.name for dimension in self.dimensions]

    def is_drawn(self, name: str, values: Mapping[str, Any]) -> bool:
        """Returns whether a name is drawn, given the values that have been drawn before."""
        return all(
            # A name that is not drawn itself has no value on which others could depend.
            parent in values and canonical(values[parent]) in {canonical(value) for value in allowed}
            for parent, allowed in self.conditions.get(name, {}).items()
        )

    def propose(self, trial: "Trial") -> list[Assignment]:
        """Draws a value for each name by a trial of Optuna."""
        # Its public methods would need the three kinds of distribution told apart once more.
        return self._chosen(lambda dimension: trial._suggest(dimension.name, distribution(dimension)))

    def of_params(self, params: Mapping[str, Any]) -> list[Assignment]:
        """Returns the assignments of an earlier trial, from its parameters."""
        return self._chosen(lambda dimension: params[dimension.name])

    def _chosen(self, draw: Callable[[Dimension], Any]) -> list[Assignment]:
        chosen: dict[str, Assignment] = {}
        for dimension in self.dimensions:
            if self.is_drawn(dimension.name, {name: one.value for name, one in chosen.items()}):
                chosen[dimension.name] = _as_typed(dimension, draw(dimension))
        return list(chosen.values())

    def combinations(self) -> Iterator[list[Assignment]]:
        """Yields all jobs of a grid; the values of the last name change first."""

        def extended(chosen: list[Assignment], place: int) -> Iterator[list[Assignment]]:
            if place == len(self.dimensions):
                yield chosen
                return
            dimension = self.dimensions[place]
            if not self.is_drawn(dimension.name, {one.name: one.value for one in chosen}):
                yield from extended(chosen, place + 1)
                return
            for assignment in dimension.assignments:
                yield from extended([*chosen, assignment], place + 1)

        return extended([], 0)

    def n_points(self) -> int | None:
        """Counts the different jobs; returns None where there are real intervals or conditions."""
        if self.conditions or any(one.interval is not None and not one.is_int for one in self.dimensions):
            return None
        # Values that are spelled in two ways, such as 1 and 1.0, are one job.
        ends = [one.interval or (1, len(set(map(canonical, one.values)))) for one in self.dimensions]
        return math.prod(int(high - low + 1) for low, high in ends)

    def to_check(self) -> list[list[str]]:
        """Returns overrides of jobs that together try every value, and both ends of every interval."""
        tried = [self._at({})]
        for dimension in self.dimensions:
            needed = self._positions_for(dimension.name)
            tried += [self._at({**needed, dimension.name: place}) for place in range(len(dimension.assignments))]
        return [list(overrides) for overrides in dict.fromkeys(map(tuple, tried))]

    def _positions_for(self, name: str) -> dict[str, int]:
        """Returns the positions of the values with which a name is drawn, for the names on which it depends."""
        positions: dict[str, int] = {}
        for parent, allowed in self.conditions.get(name, {}).items():
            (dimension,) = (dimension for dimension in self.dimensions if dimension.name == parent)
            known = [canonical(value) for value in dimension.values]
            # A parent may have conditions too.
            positions |= {**self._positions_for(parent), parent: known.index(canonical(allowed[0]))}
        return positions

    def _at(self, positions: Mapping[str, int]) -> list[str]:
        """Returns overrides with the value at a position of each name, by default the first."""
        chosen: dict[str, Assignment] = {}
        for dimension in self.dimensions:
            if self.is_drawn(dimension.name, {name: one.value for name, one in chosen.items()}):
                chosen[dimension.name] = dimension.assignments[positions.get(dimension.name, 0)]
        return [str(one.override) for one in chosen.values()]

    def as_json(self) -> dict[str, Any]:
        """Describes the space for sweep.json."""
        described = {dimension.name: dimension.as_space() for dimension in self.dimensions}
        for name, condition in self.conditions.items():
            if condition:
                described[name]["when"] = {parent: list(allowed) for parent, allowed in condition.items()}
        return described


def space_of(dimensions: Sequence[Dimension], conditions: Conditions) -> Space:
    """Orders the names such that they can be drawn.

    Raises:
        UserError: a condition has a name or a value that the search does not draw, or conditions form a circle.
    """
    by_name = {dimension.name: dimension for dimension in dimensions}
    for name, condition in conditions.items():
        for parent, allowed in condition.items():
            _require_known(by_name, name, parent, allowed)
    ordered: dict[str, Dimension] = {}
    while len(ordered) < len(by_name):
        waiting = [name for name in by_name if name not in ordered]
        # All that they depend on is ordered.
        ready = [name for name in waiting if ordered.keys() >= conditions.get(name, {}).keys()]
        if not ready:
            raise UserError("conditions must not form a circle", " ↔ ".join(waiting), "hydra.sweeper.when=null")
        # One at a time, as typed: the sampler's random numbers depend on the order of the names.
        ordered[ready[0]] = by_name[ready[0]]
    return Space(tuple(ordered.values()), {n: dict(c) for n, c in conditions.items() if n in by_name})


def _require_known(by_name: Mapping[str, Dimension], name: str, parent: str, allowed: Iterable[Any]) -> None:
    if name not in by_name:
        near = nearest_name(name, list(by_name)) or next(iter(by_name), "optimizer.lr")
        raise UserError("a condition must be on a name that is searched over", f"{name} is not", f"one on {near}")
    dimension = by_name.get(parent)
    if dimension is None or not dimension.values:
        raise UserError(
            "a condition must ask for values of a name that is searched over as a choice",
            f"{name} depends on {parent}={shown(next(iter(allowed), None))}",
            f"several values of {parent}, such as {parent}=a,b",
        )
    known = [canonical(value) for value in dimension.values]
    for value in allowed:
        if canonical(value) not in known:
            raise UserError(
                f"a condition must ask for values that {parent} takes, {', '.join(map(shown, dimension.values))}",
                f"{name} depends on {parent}={shown(value)}",
                f"{name} when {parent}={shown(dimension.values[0])}",
            )


def distribution(dimension: Dimension) -> "BaseDistribution":
    """Returns the distribution from which Optuna draws a name."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.interval is not None:
        low, high = dimension.interval
        if dimension.is_int:
            return IntDistribution(int(low), int(high), log=dimension.is_log)
        return FloatDistribution(float(low), float(high), log=dimension.is_log)
    if dimension.step and len(dimension.values) > 1:
        # A range can fall: range(9,1,-2).
        low, high = sorted((dimension.values[0], dimension.values[-1]))
        step = abs(dimension.step)
        if isinstance(low, int) and isinstance(high, int) and step == int(step):
            is_log = dimension.is_log and step == 1  # Optuna has no steps on a logarithmic scale
            return IntDistribution(low, high, log=is_log, step=int(step))
        return FloatDistribution(low, high, step=step)
    return CategoricalDistribution(_choices(dimension))  # also a choice of numbers: nothing lies between them


def _choices(dimension: Dimension) -> list[Any]:
    """Returns the values as Optuna stores them: lists and mappings as text."""
    pairs = zip(dimension.values, dimension.texts, strict=True)
    kept = [value if isinstance(value, bool | int | float | str | None) else text for value, text in pairs]
    return list({canonical(value): value for value in kept}.values())  # Optuna refuses a value that is there twice


def grid_of(space: Space) -> dict[str, list[Any]]:
    """Returns the values of each name, for a search that tries all combinations.

    Raises:
        UserError: an interval has no values that can be counted.
    """
    for dimension in space.dimensions:
        if dimension.interval is not None:
            low, high = dimension.interval
            raise UserError(
                "sampler=grid must have values that can be counted",
                f"{dimension.name}=interval({low},{high})",
                f"{dimension.name}={low},{high}, or hydra.sweeper.sampler=qmc",
            )
    return {d.name: _choices(d) for d in space.dimensions}


def _as_typed(dimension: Dimension, drawn: Any) -> Assignment:
    """Finds the value that was drawn among those that were typed."""
    values = dimension.values
    if dimension.interval is not None:
        return dimension.assign(drawn, repr(drawn))  # reads back to the last bit
    if dimension.step and len(values) > 1:  # a value of a range comes back with a rounding error
        position = min(range(len(values)), key=lambda i: abs(values[i] - drawn))
    else:
        known = [canonical(value) for value in values]
        position = known.index(canonical(drawn)) if canonical(drawn) in known else dimension.texts.index(drawn)
    return dimension.assignments[position]


def split_conditions(params: Any, when: Any) -> tuple[Any, dict[str, dict[str, list[Any]]]]:
    """Splits a space and its conditions.

    Args:
        params: name → space, followed by ` when name=value|value` where it has a condition.
        when: name → {other name: value or values}, the same for spaces of the command line.

    Returns:
        The space without conditions, and name → {other name: values}.

    Raises:
        UserError: a condition cannot be parsed.
    """
    conditions: dict[str, dict[str, list[Any]]] = {}
    plain: Any = params
    if isinstance(params, Mapping):
        plain = {}
        for name, space in params.items():
            text, _, condition = space.partition(WHEN) if isinstance(space, str) else (space, "", "")
            plain[name] = text
            if condition:
                conditions[str(name)] = _parse(str(name), condition)
    if when is not None and not isinstance(when, Mapping):
        raise _unreadable(f"hydra.sweeper.when={shown(when)}")
    for name, condition in (when or {}).items():
        if not isinstance(condition, Mapping) or not condition:
            raise _unreadable(f"{name}: {shown(condition)}")
        conditions[str(name)] = {
            str(parent): list(values) if isinstance(values, list) else [values] for parent, values in condition.items()
        }
    return plain, conditions


def _parse(name: str, text: str) -> dict[str, list[Any]]:
    """Parses `optimizer=sgd|momentum`; several conditions are joined by " and "."""
    condition = {}
    for part in text.split(" and "):
        parent, equals, values = part.strip().partition("=")
        if not (equals and parent and values):
            raise _unreadable(f"{name}: … when {text}")
        condition[parent] = values_of_condition(values)
    return condition


def _unreadable(condition: str) -> UserError:
    return UserError(
        "a condition must have the form NAME=VALUE|VALUE", condition,
        "hydra.sweeper.when={optimizer.momentum:{optimizer:[momentum,nesterov]}}",
    )  # fmt: skip
