"""Compares two configurations."""

from collections.abc import Mapping
from typing import Any

from mlplab.config.resolvers import mode_of
from mlplab.rules import shown

# None is a value of the configuration, so a missing key needs a mark of its own.
ABSENT = object()

RENAMED = {
    "mlplab.callbacks.Divergence": "mlplab.callbacks.NonFiniteGuard",
    "mlplab.callbacks.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping",
    "mlplab.data.table.source.table": "mlplab.data.table.table_source.table",
    "mlplab.runs.tensorboard.CalmTensorBoardLogger": "mlplab.loggers.tensorboard.CalmTensorBoardLogger",
    "mlplab.runs.csv_log.ResumableCSVLogger": "mlplab.loggers.csv_log.ResumableCSVLogger",
}
"""Name of code in conf/ of an earlier version → its name now. Runs that were configured with the old name resume."""

ADDED = {
    "loss.class_weights": None,
    "train": True,
    "test": True,
    "start_from": None,
    "model.freeze": None,
    "optimizer.groups": None,
    "data.rare_classes": "keep",
    "data.weight_column": None,
}
"""Option that release 0.5.0 lacked → the value by which a run or sweep of then goes on as it was."""


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dicts: dotted key → value that is no dict."""
    if not isinstance(node, Mapping):
        return {prefix.removesuffix("."): node}
    return {key: value for name, part in node.items() for key, value in flat(part, f"{prefix}{name}.").items()}


def changes(then: Any, now: Any, free: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Returns the values that differ: dotted key → (then, now), with `ABSENT` for a missing one.

    Args:
        then: the former configuration, as nested dicts.
        now: the present one.
        free: keys to ignore, with all keys below them.
    """
    # Dotted keys let a whole group be compared with one that has other keys.
    before, after = flat(then), flat(now)
    for values in (before, after):  # release 0.5.0 wrote the mode itself
        if str(values.get("mode")).startswith("${mode_of:"):
            values["mode"] = mode_of(values.get("monitor"))
    before |= {key: value for key, value in ADDED.items() if key in after and key not in before}
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in [*before, *after]}
    return {
        key: pair
        for key, pair in pairs.items()
        if _differ(*pair) and not any(key == name or key.startswith(f"{name}.") for name in free)
    }


def _differ(one: Any, other: Any) -> bool:
    one, other = (RENAMED.get(value, value) if isinstance(value, str) else value for value in (one, other))
    return bool(one != other) or isinstance(one, bool) != isinstance(other, bool)  # for Python, true is 1


def shown_or_nothing(value: Any) -> str:
    """Formats a value as one would type it; an absent one as "nothing"."""
    return "nothing" if value is ABSENT else shown(value)


def describe_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Describes the result of `changes`: `lr=0.1 instead of 0.01, …`."""
    return ", ".join(
        f"{key}={shown_or_nothing(now)} instead of {shown_or_nothing(then)}" for key, (then, now) in changed.items()
    )
