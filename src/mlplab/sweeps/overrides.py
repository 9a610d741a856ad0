"""Overrides of the command line as a sweep reads them: what is swept, over which values, and what all jobs share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)

from mlplab.errors import UserError
from mlplab.rules import number_in
from mlplab.sweeps.ledger import Assignment

OF_THE_SWEEP = ("sweep.retry_failed", "sweep.dry_run", "sweep.rerun", "sweep.rerun_top")
"""Options for the sweep alone: its jobs do not get them."""


@dataclass(frozen=True)
class Dimension:
    """A name with the values that it takes in a sweep.

    Attributes:
        name: of the value or the group.
        key: what stands before "=" on the command line: the name, with a + where the configuration lacks it.
        values: what it takes, where they can be counted.
        texts: each value as it is typed.
        interval: the ends of what a search draws from, where values cannot be counted.
        is_log: whether it is drawn by its logarithm.
        is_int: whether only whole numbers are drawn.
        step: between the values of a range; None where they are a choice.
        when: other names on which it depends → their values with which it is swept; of the tags that are typed.
    """

    name: str
    key: str
    values: tuple[Any, ...] = ()
    texts: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    is_log: bool = False
    is_int: bool = False
    step: float | None = None
    when: Mapping[str, list[Any]] = field(default_factory=dict)

    @property
    def assignments(self) -> list[Assignment]:
        """Returns an assignment of every value, or of both ends of an interval."""
        if self.interval is None:
            return [self.assign(value, text) for value, text in zip(self.values, self.texts, strict=True)]
        ends = [int(end) if self.is_int else end for end in self.interval]
        return [self.assign(end, str(end)) for end in ends]

    def assign(self, value: Any, text: str) -> Assignment:
        """Gives the name one value, which is typed as `text`."""
        return Assignment(self.name, value, f"{self.key}={text}")

    def as_space(self) -> dict[str, Any]:
        """Describes the dimension for sweep.json."""
        if self.interval is None:
            return {"kind": "choice", "values": list(self.values), **({"log": True} if self.is_log else {})}
        low, high = self.interval
        return {"kind": "int" if self.is_int else "float", "low": low, "high": high, "log": self.is_log}


def parse_overrides(texts: Iterable[str], loader: Any) -> list[Override]:
    """Parses each override as Hydra does; of one name given twice the later one counts."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(texts))
    return list({override.get_key_element(): override for override in parsed}.values())


def params_as_overrides(params: Mapping[str, Any] | None, where: str) -> list[str]:
    """Spells `name: space` of the configuration as overrides of the command line.

    Raises:
        UserError: it is no mapping of names to spaces.
    """
    requirement = f"{where} must map names to the values they take"
    if not isinstance(params, Mapping | None):
        raise UserError(requirement, f"{where}={params}", f"{where}={{seed: '0,1,2'}}")
    overrides = []
    for name, space in (params or {}).items():
        if isinstance(space, Mapping):  # as in Hydra's own Optuna sweeper
            raise UserError(requirement, f"{where}.{name}={space}", f"{name}: 0,1,2")
        # In Hydra's grammar Python's None would be the text "None".
        text = str(space).lower() if isinstance(space, bool) else "null" if space is None else str(space)
        overrides.append(f"{name}={text}")
    return overrides


def split_swept(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """Splits overrides into those that are swept and those that all jobs share, without those for the sweep alone."""
    of_jobs = [override for override in overrides if override.key_or_group not in OF_THE_SWEEP]
    swept = [override for override in of_jobs if override.is_sweep_override()]
    return swept, [override for override in of_jobs if not override.is_sweep_override()]


def as_typed(override: Override) -> str:
    """Spells a parsed override as on the command line."""
    key = override.get_key_element()
    # ~name has no value; ~name=value, which deletes only that value, keeps it.
    return key if override.is_delete() and override.value() is None else f"{key}={override.get_value_element_as_str()}"


def dimension_of(override: Override) -> Dimension:
    """Reads what an override sweeps over; one with a single value sweeps over that.

    Raises:
        UserError: it cannot be swept over.
    """
    key, name = override.get_key_element(), override.key_or_group
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(name, key, value)
    if isinstance(value, ChoiceSweep | RangeSweep | Glob):
        texts = tuple(override.sweep_string_iterator())
        if not texts:
            raise UserError(
                "a sweep must go over some values",
                f"there are none in {override.input_line or name}",
                f"{name}='range(0,3)'",
            )
        tags = set(getattr(value, "tags", ()))
        when = _conditions(name, tags)
        values = tuple(map(plain_value, override.sweep_iterator(transformer=Transformer.identity)))
        # A shuffled range is a choice.
        step = float(value.step) if isinstance(value, RangeSweep) and not value.shuffle else None
        return Dimension(name, key, values, texts, is_log="log" in tags, step=step, when=when)
    return Dimension(name, key, (plain_value(value),), (override.get_value_element_as_str(),))


def _interval(name: str, key: str, interval: IntervalSweep) -> Dimension:
    low, high = interval.start, interval.end
    if low is None or high is None or not low < high:
        raise UserError(
            "an interval must go from a smaller to a larger number", f"{name}=interval({low},{high})",
            f"{name}=interval({high},{low})",
        )  # fmt: skip
    when = _conditions(name, interval.tags)
    is_log = "log" in interval.tags
    if is_log and low <= 0:
        raise UserError(
            "an interval on a logarithmic scale must begin above 0", f"{name}=tag(log,interval({low},{high}))",
            f"{name}=tag(log,interval({high / 1000:g},{high:g}))",
        )  # fmt: skip
    # interval(1,8) has real ends, whatever is typed; int(interval(1,8)) whole ones.
    return Dimension(name, key, interval=(low, high), is_log=is_log, is_int=isinstance(low, int), when=when)


def _conditions(name: str, tags: set[str]) -> dict[str, list[Any]]:
    """Reads the tags of a space: log, or a condition such as optimizer:sgd|momentum.

    Raises:
        UserError: there is another tag.
    """
    conditions = {}
    for tag in sorted(tags - {"log"}):
        parent, colon, values = tag.partition(":")
        if not (colon and parent and values):
            raise UserError(
                "the tag of a space must be log, or a condition NAME:VALUE|VALUE", f"{name}=tag({tag},…)",
                f"{name}='tag(log,interval(0.001,0.1))', or {name}='tag(optimizer:sgd|adam,choice(0.1,0.2))'",
            )  # fmt: skip
        conditions[parent.strip()] = values_of_condition(values)
    return conditions


def values_of_condition(text: str) -> list[Any]:
    """Reads `sgd|momentum`: values as in conf/, separated by bars."""
    import yaml

    values = [yaml.safe_load(value.strip()) for value in text.split("|")]
    # YAML takes 1e-3 for text.
    numbers = [number_in(value) if isinstance(value, str) else None for value in values]
    return [value if number is None else number for value, number in zip(values, numbers, strict=True)]


def plain_value(value: Any) -> Any:
    """Converts a parsed value to plain Python, as JSON has it."""
    if isinstance(value, QuotedString):
        return value.text  # its quotes belong to the command line
    if isinstance(value, list):
        return [plain_value(part) for part in value]
    if isinstance(value, dict):
        return {str(plain_value(name)): plain_value(part) for name, part in value.items()}
    return value
