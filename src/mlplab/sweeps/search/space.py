"""What a search draws from: names with what they take, some only when another name has a certain value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlplab.config.rules import shown
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.sweeps.ledger import canonical
from mlplab.sweeps.overrides import Swept

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Conditions = Mapping[str, Mapping[str, Sequence[Any]]]
"""Name → the other names that decide whether it is drawn → the values with which it is."""


@dataclass(frozen=True)
class Space:
    """Names in the order in which they are drawn: what decides on another stands before it.

    Attributes:
        dimensions: what each name takes.
        conditions: of the names that are not always drawn.
    """

    dimensions: tuple[Swept, ...]
    conditions: Conditions = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [dimension.name for dimension in self.dimensions]

    def is_drawn(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a name is drawn, beside values that have been."""
        return all(
            parent in values and canonical(values[parent]) in {canonical(value) for value in allowed}
            for parent, allowed in self.conditions.get(name, {}).items()
        )

    def propose(self, trial: "Trial") -> tuple[dict[str, Any], list[str]]:
        """What a trial of Optuna suggests: the value of each name that is drawn, and its words."""
        return self._chosen(lambda dimension: _suggested(trial, dimension))

    def of_params(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The same from what an earlier trial has been given."""
        return self._chosen(lambda dimension: params[dimension.name])

    def _chosen(self, draw: Any) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {}
        words = []
        for dimension in self.dimensions:
            if self.is_drawn(dimension.name, values):
                value, text = _as_typed(dimension, draw(dimension))
                values[dimension.name] = value
                words.append(f"{dimension.word}={text}")
        return values, words

    def n_points(self) -> int | None:
        """How many different jobs it has; None where they cannot be counted."""
        if any(dimension.interval is not None and not dimension.is_int for dimension in self.dimensions):
            return None
        parents = {parent for condition in self.conditions.values() for parent in condition}

        def count(position: int, values: dict[str, Any]) -> int:
            if position == len(self.dimensions):
                return 1
            dimension = self.dimensions[position]
            if not self.is_drawn(dimension.name, values):
                return count(position + 1, values)
            if dimension.name in parents:
                return sum(count(position + 1, {**values, dimension.name: value}) for value in dimension.values)
            low, high = dimension.interval or (1, len(set(map(canonical, dimension.values))))
            return int(high - low + 1) * count(position + 1, values)

        return count(0, {})

    def to_check(self) -> list[list[str]]:
        """Words of jobs that, together, try every value and the ends of every interval, where it is drawn."""
        tried = [self._at({})]
        for dimension in self.dimensions:
            needed = self._positions_for(dimension.name)
            tried += [self._at({**needed, dimension.name: position}) for position in range(len(dimension.ends))]
        return [list(words) for words in dict.fromkeys(map(tuple, tried))]

    def _positions_for(self, name: str) -> dict[str, int]:
        """With which positions, of the names that decide on it, a name is drawn."""
        positions: dict[str, int] = {}
        for parent, allowed in self.conditions.get(name, {}).items():
            known = [canonical(value) for value in self._by_name[parent].values]
            positions |= {**self._positions_for(parent), parent: known.index(canonical(allowed[0]))}
        return positions

    @property
    def _by_name(self) -> dict[str, Swept]:
        return {dimension.name: dimension for dimension in self.dimensions}

    def _at(self, positions: Mapping[str, int]) -> list[str]:
        """Words with the value at a position of each name, the first where none is said."""
        values: dict[str, Any] = {}
        words = []
        for dimension in self.dimensions:
            if self.is_drawn(dimension.name, values):
                position = positions.get(dimension.name, 0)
                values[dimension.name] = dimension.values[position] if dimension.values else None
                words.append(dimension.ends[position])
        return words

    def as_json(self) -> dict[str, Any]:
        """For sweep.json."""
        return {dimension.name: {**dimension.as_space(), **self._when(dimension.name)} for dimension in self.dimensions}

    def _when(self, name: str) -> dict[str, Any]:
        condition = self.conditions.get(name)
        return {"when": {parent: list(allowed) for parent, allowed in condition.items()}} if condition else {}


def space_of(dimensions: Sequence[Swept], conditions: Conditions) -> Space:
    """The names in an order in which they can be drawn.

    Raises:
        UserError: a condition is about a name, or a value, that the search does not draw, or goes round in a circle.
    """
    by_name = {dimension.name: dimension for dimension in dimensions}
    for name, condition in conditions.items():
        for parent, allowed in condition.items():
            _require_known(by_name, name, parent, allowed)
    ordered: dict[str, Swept] = {}
    while len(ordered) < len(by_name):
        waiting = [name for name in by_name if name not in ordered]
        ready = [name for name in waiting if ordered.keys() >= conditions.get(name, {}).keys()]
        if not ready:
            raise UserError("conditions must not go round in a circle", " ↔ ".join(waiting), "hydra.sweeper.when=null")
        ordered[ready[0]] = by_name[ready[0]]
    return Space(tuple(ordered.values()), {n: dict(c) for n, c in conditions.items() if n in by_name})


def _require_known(by_name: Mapping[str, Swept], name: str, parent: str, allowed: Iterable[Any]) -> None:
    if name not in by_name:
        near = nearest_name(name, list(by_name)) or next(iter(by_name), "optimizer.lr")
        raise UserError("a condition must be on a name that is searched over", f"when: {name}", f"when: {near}")
    dimension = by_name.get(parent)
    if dimension is None or not dimension.values:
        raise UserError(
            "a condition must ask for values of a name that is searched over as a choice",
            f"{name} when {parent}={shown(next(iter(allowed), None))}",
            f"{parent}=a,b beside it",
        )
    known = [canonical(value) for value in dimension.values]
    for value in allowed:
        if canonical(value) not in known:
            raise UserError(
                f"a condition must ask for values that {parent} takes, {', '.join(map(shown, dimension.values))}",
                f"{name} when {parent}={shown(value)}",
                f"{name} when {parent}={shown(dimension.values[0])}",
            )


def distribution(dimension: Swept) -> "BaseDistribution":
    """What Optuna draws a name from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.interval is not None:
        low, high = dimension.interval
        if dimension.is_int:
            return IntDistribution(int(low), int(high), log=dimension.is_log)
        return FloatDistribution(float(low), float(high), log=dimension.is_log)
    if dimension.step and len(dimension.values) > 1:
        low, high = sorted((dimension.values[0], dimension.values[-1]))
        step = abs(dimension.step)
        if isinstance(low, int) and isinstance(high, int) and step == int(step):
            is_log = dimension.is_log and step == 1
            return IntDistribution(low, high, log=is_log, step=int(step))
        return FloatDistribution(low, high, step=step)
    return CategoricalDistribution(_choices(dimension))


def _choices(dimension: Swept) -> list[Any]:
    """What Optuna keeps of each value: itself, or its text where it is a list."""
    pairs = zip(dimension.values, dimension.texts, strict=True)
    kept = [value if isinstance(value, bool | int | float | str | None) else text for value, text in pairs]
    return list({canonical(value): value for value in kept}.values())


def grid_of(space: Space) -> dict[str, list[Any]]:
    """The values of each name, for a search that tries all combinations.

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


def _suggested(trial: "Trial", dimension: Swept) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    of = distribution(dimension)
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(dimension.name, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(dimension.name, of.low, of.high, step=of.step, log=of.log)
    assert isinstance(of, FloatDistribution)
    return trial.suggest_float(dimension.name, of.low, of.high, step=of.step, log=of.log)


def _as_typed(dimension: Swept, drawn: Any) -> tuple[Any, str]:
    """The value that was drawn, and its text on the command line."""
    values, texts = dimension.values, dimension.texts
    if dimension.interval is not None:
        return drawn, repr(drawn)
    if dimension.step and len(values) > 1:  # a value of a range comes back with a rounding error
        position = min(range(len(values)), key=lambda i: abs(values[i] - drawn))
    else:
        known = [canonical(value) for value in values]
        position = known.index(canonical(drawn)) if canonical(drawn) in known else texts.index(drawn)
    return values[position], texts[position]
