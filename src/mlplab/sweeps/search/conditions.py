"""`when`: names that are searched over only where another has a certain value."""

from collections.abc import Mapping
from typing import Any

from mlplab.config.rules import shown
from mlplab.errors import UserError

WHEN = " when "


def split_conditions(params: Any, when: Any) -> tuple[Any, dict[str, dict[str, list[Any]]]]:
    """Takes the conditions out of the space.

    Args:
        params: name → space, with ` when name=value|value` behind it where it has a condition.
        when: name → {other name: value or values}, the same for spaces of the command line.

    Returns:
        The space without conditions, and name → {other name: values}.

    Raises:
        UserError: a condition cannot be read.
    """
    conditions: dict[str, dict[str, list[Any]]] = {}
    plain: Any = params
    if isinstance(params, Mapping):
        plain = {}
        for name, space in params.items():
            text, _, condition = space.partition(WHEN) if isinstance(space, str) else (space, "", "")
            plain[name] = text
            if condition:
                conditions[str(name)] = _read(str(name), condition)
    if when is not None and not isinstance(when, Mapping):
        raise _refusal(f"hydra.sweeper.when={shown(when)}")
    for name, condition in (when or {}).items():
        if not isinstance(condition, Mapping) or not condition:
            raise _refusal(f"{name}: {shown(condition)}")
        conditions[str(name)] = {
            str(parent): list(values) if isinstance(values, list) else [values] for parent, values in condition.items()
        }
    return plain, conditions


def _read(name: str, text: str) -> dict[str, list[Any]]:
    """`optimizer=sgd|momentum`, several joined by " and "."""
    import yaml

    condition = {}
    for part in text.split(" and "):
        parent, equals, values = part.strip().partition("=")
        if not (equals and parent and values):
            raise _refusal(f"{name}: … when {text}")
        condition[parent] = [yaml.safe_load(value) for value in values.split("|")]
    return condition


def _refusal(given: str) -> UserError:
    return UserError(
        "a condition must say of which name and which value", given,
        "hydra.sweeper.when={optimizer.momentum:{optimizer:[momentum,nesterov]}}",
    )  # fmt: skip
