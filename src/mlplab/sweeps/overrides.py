"""Words of the command line as a sweep takes them: what is swept, over what, and what all jobs share."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

OF_THE_SWEEP = ("sweep.retry_failed", "sweep.rerun")
"""What says how a sweep is run, and is no part of its jobs."""


@dataclass(frozen=True)
class Swept:
    """A name with the values that it takes.

    Attributes:
        name: of the value or the group.
        word: what stands before "=" on the command line: the name, with a + where the configuration lacks it.
        values: what it takes, where they can be counted.
        texts: each value as it is typed.
        interval: the ends of what a search draws from, where they cannot.
        is_log: whether it is drawn by its logarithm.
        is_int: whether only whole numbers are drawn.
        step: between the values of a range; None where they are a choice.
    """

    name: str
    word: str
    values: tuple[Any, ...] = ()
    texts: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    is_log: bool = False
    is_int: bool = False
    step: float | None = None

    @property
    def ends(self) -> list[str]:
        """Overrides with which every value, or each end of an interval, can be tried."""
        texts = self.texts if self.interval is None else [str(int(e) if self.is_int else e) for e in self.interval]
        return [f"{self.word}={text}" for text in texts]

    def as_space(self) -> dict[str, Any]:
        """For sweep.json."""
        if self.interval is None:
            return {"kind": "choice", "values": list(self.values), **({"log": True} if self.is_log else {})}
        low, high = self.interval
        return {"kind": "int" if self.is_int else "float", "low": low, "high": high, "log": self.is_log}


def parse(words: Iterable[str], loader: Any) -> list[Override]:
    """Hydra's reading of each word; of one name given twice the later one counts."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    return list({override.get_key_element(): override for override in parsed}.values())


def params_of(params: Mapping[str, Any] | None, where: str) -> list[str]:
    """`name: space` of the configuration as words of the command line.

    Raises:
        UserError: it is no mapping of names to spaces.
    """
    if params is None:
        return []
    if not isinstance(params, Mapping):
        raise UserError(f"{where} must map names to what they take", f"{where}={params}", f"{where}={{seed: '0,1,2'}}")
    words = []
    for name, space in params.items():
        if isinstance(space, Mapping):
            raise UserError(f"{where} must map names to what they take", f"{where}.{name}={space}", f"{name}: 0,1,2")
        text = str(space).lower() if isinstance(space, bool) else "null" if space is None else str(space)
        words.append(f"{name}={text}")
    return words


def split(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """What is swept, and what all jobs share; without what only the sweep itself is told."""
    mine = [override for override in overrides if override.key_or_group not in OF_THE_SWEEP]
    swept = [override for override in mine if override.is_sweep_override()]
    return swept, [override for override in mine if not override.is_sweep_override()]


def word_of(override: Override) -> str:
    """The override as a word of the command line."""
    key = override.get_key_element()
    return key if override.is_delete() and override.value() is None else f"{key}={override.get_value_element_as_str()}"


def swept(override: Override) -> Swept:
    """What an override sweeps over; one that has a single value sweeps over that.

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
                "a sweep must go over some values", f"{override.input_line or name} has none", f"{name}='range(0,3)'"
            )
        tags = set(getattr(value, "tags", ()))
        _require_tags(name, tags)
        step = float(value.step) if isinstance(value, RangeSweep) and not value.shuffle else None
        return Swept(name, key, tuple(_plain_values(override)), texts, is_log="log" in tags, step=step)
    return Swept(name, key, (plain(value),), (override.get_value_element_as_str(),))


def _interval(name: str, key: str, interval: IntervalSweep) -> Swept:
    low, high = interval.start, interval.end
    if low is None or high is None or not low < high:
        raise UserError(
            "an interval must go from a smaller to a larger number", f"{name}=interval({low},{high})",
            f"{name}=interval({high},{low})",
        )  # fmt: skip
    _require_tags(name, interval.tags)
    is_log = "log" in interval.tags
    if is_log and low <= 0:
        raise UserError(
            "an interval on a logarithmic scale must begin above 0", f"{name}=tag(log,interval({low},{high}))",
            f"{name}=tag(log,interval({high / 1000:g},{high:g}))",
        )  # fmt: skip
    # interval(1,8) has real ends, whatever is typed; int(interval(1,8)) whole ones.
    return Swept(name, key, interval=(low, high), is_log=is_log, is_int=isinstance(low, int))


def _require_tags(name: str, tags: set[str]) -> None:
    unknown = sorted(tags - {"log"})
    if unknown:
        raise UserError(
            "the tag of a space must be log", f"{name}=tag({unknown[0]},…)",
            f"{name}='tag(log,interval(0.001,0.1))'",
        )  # fmt: skip


def _plain_values(override: Override) -> list[Any]:
    return [plain(value) for value in override.sweep_iterator(transformer=Transformer.identity)]


def plain(value: Any) -> Any:
    """A parsed value as JSON has it."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(plain(name)): plain(part) for name, part in value.items()}
    return value


def product(dimensions: Sequence[Swept]) -> list[tuple[dict[str, Any], list[str]]]:
    """All jobs of a grid, the last name changing fastest: the values of each, and its overrides."""
    choices = [list(zip(d.values, d.ends, strict=True)) for d in dimensions]
    return [
        ({d.name: value for d, (value, _) in zip(dimensions, chosen, strict=True)}, [word for _, word in chosen])
        for chosen in itertools.product(*choices)
    ]
