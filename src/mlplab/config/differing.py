"""What stands in one configuration and not in another."""

from collections.abc import Mapping
from typing import Any

from mlplab.config.rules import shown

ABSENT = object()

RENAMED = {
    "mlplab.callbacks.Divergence": "mlplab.callbacks.NonFiniteGuard",
    "mlplab.callbacks.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping",
    "mlplab.runs.tensorboard.CalmTensorBoardLogger": "mlplab.loggers.tensorboard.CalmTensorBoardLogger",
    "mlplab.runs.csv_log.ResumableCSVLogger": "mlplab.loggers.csv_log.ResumableCSVLogger",
}
"""Code that conf/ named in earlier versions → the code that it names now. Runs with the old name still go on."""


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys → values that are no dicts."""
    if not isinstance(node, Mapping):
        return {prefix.removesuffix("."): node}
    return {key: value for name, part in node.items() for key, value in flat(part, f"{prefix}{name}.").items()}


def changes(then: Any, now: Any, free: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Each value that differs, as it was and as it is; without those of `free` and what is below them.

    What one of them lacks is `ABSENT`.
    """
    before, after = flat(then), flat(now)
    return {
        key: (before.get(key, ABSENT), after.get(key, ABSENT))
        for key in dict.fromkeys([*before, *after])
        if _differ(before.get(key, ABSENT), after.get(key, ABSENT))
        and not any(key == name or key.startswith(f"{name}.") for name in free)
    }


def _differ(one: Any, other: Any) -> bool:
    """For Python, true is 1."""
    one, other = (RENAMED.get(value, value) if isinstance(value, str) else value for value in (one, other))
    return bool(one != other) or isinstance(one, bool) != isinstance(other, bool)


def shown_or_nothing(value: Any) -> str:
    """A value as one would type it."""
    return "nothing" if value is ABSENT else shown(value)


def told(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """`lr=0.1 instead of 0.01, …` for people."""
    return ", ".join(
        f"{key}={shown_or_nothing(now)} instead of {shown_or_nothing(then)}" for key, (then, now) in changed.items()
    )
