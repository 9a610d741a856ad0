"""Rules for single values, and options with a rule. Imports nothing heavy."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

NUMBER = r"[+-]?(\d+([.,]\d*)?|[.,]\d+|\d{1,3}([., ']\d{3})+([.,]\d+)?)([eE][+-]?\d+)?\s?%?"
"""Pattern of a number without a unit. Tables read many more forms, most of which could also be a column's name."""


@dataclass(frozen=True)
class Rule:
    """A requirement on one value, in words and in code, with an example that meets it."""

    holds: Callable[[Any], bool]
    requirement: str
    example: str
    names: tuple[str, ...] = ()


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number, and not true or false (for Python, true is 1)."""
    # YAML reads .nan and .inf as numbers.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: Any) -> bool:
    """Returns whether a value is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


POSITIVE = Rule(lambda v: is_number(v) and v > 0, "a positive number", "0.001")
NOT_NEGATIVE = Rule(lambda v: is_number(v) and v >= 0, "a number of 0 or more", "0.0")
SHARE = Rule(lambda v: is_number(v) and 0 <= v < 1, "a number in [0, 1)", "0.5")
PROPER_SHARE = Rule(lambda v: is_number(v) and 0 < v < 1, "a number in (0, 1)", "0.15")
COUNT = Rule(lambda v: is_integer(v) and v >= 1, "a positive integer", "10")
WHOLE = Rule(lambda v: is_integer(v) and v >= 0, "an integer of 0 or more", "0")
SWITCH = Rule(lambda v: isinstance(v, bool), "true or false", "false")


def one_of(names: Iterable[Any], example: str) -> Rule:
    """Makes a rule for one of several names; messages suggest the nearest name instead of the example."""
    names = tuple(names)
    texts = [name for name in names if isinstance(name, str)]
    requirement = f"one of {', '.join(texts)}"
    # For Python, true is 1, which may be one of the names.
    return Rule(lambda v: v in names and not isinstance(v, bool), requirement, example, tuple(texts))


def optional(rule: Rule) -> Rule:
    """Makes the same rule, with null allowed."""
    return replace(rule, holds=lambda v: v is None or rule.holds(v), requirement=f"null, or {rule.requirement}")


@dataclass(frozen=True)
class Option:
    """An option of a network or a loss: its rule, and whether networks of one stack may differ in it.

    They may if it only changes the initial weights, or if the stack computes each network with its own value.
    """

    rule: Rule
    may_differ_in_stack: bool = False


def shown(value: Any) -> str:
    """Formats a value as one would type it."""
    if value is None:
        return "null"
    # Before numbers, as for Python a boolean is an integer.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(shown(part) for part in value)}]"
    # In quotes, or YAML would read the text as something else.
    return f"'{value}'" if number_in(value) is not None or value in ("null", "true", "false") else str(value)


def number_in(value: Any) -> float | int | None:
    """Returns the number that a quoted text contains; None for any other value."""
    # Whole numbers first, so that 3 does not become 3.0.
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return kind(value)
        except ValueError:
            continue
    return None
