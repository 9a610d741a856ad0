"""Makes JSON schemas from rules and types, so that editors mark mistakes in conf/."""

import re
import typing
from collections.abc import Sequence
from typing import Any

import yaml

from mlplab.rules import Rule

Schema = dict[str, Any]

# A value may be an interpolation, or still missing.
REFERENCE: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
"""Python type → its name in a schema."""

NUMBERS = (-(10**12), -(10**6), -1000, -10, -2, -1, 0, 1, 2, 3, 5, 10, 16, 20, 32, 50, 64, 100, 1000, 10**6, 10**12)
SHARES = (-0.5, 1e-9, 1e-6, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.5, 2.5)
TEXTS = ("some text", "a_name", "/a/path.csv", ";", "%d", "latin-1")
"""Texts for trying a rule: a rule that accepts one of them accepts any text."""


def schema_of_option(rule: Rule | None, types: Sequence[Any] = ()) -> Schema:
    """Makes the schema of one option from its rule, or else its types; {} accepts anything."""
    if rule is not None:
        return schema_of_rule(rule)
    schemas: list[Schema] = [{"type": "null"}, REFERENCE] if types else []
    for member in types:
        if typing.get_origin(member) is typing.Literal:
            schemas.append({"enum": list(typing.get_args(member))})
        elif member in TYPES:
            schemas.append({"type": TYPES[member]})
        elif member is not type(None):  # of an unknown type
            return {}
    return {"anyOf": schemas} if schemas else {}


def schema_of_rule(rule: Rule) -> Schema:
    """Makes the schema of a rule by trying values: it accepts all valid values, and some invalid ones."""
    found = [*_scalars(rule), *_lists(rule), REFERENCE]
    example = yaml.safe_load(rule.example)
    tried: tuple[Any, ...] = ({}, {"_target_": "a.b"}, {"a": ["b"]}, example if isinstance(example, dict) else {})
    if any(rule.holds(value) for value in tried):
        found.append({"type": "object"})
    return {"description": f"{rule.requirement}; such as {rule.example}", "anyOf": found}


def _scalars(rule: Rule) -> list[Schema]:
    found: list[Schema] = [{"type": "null"}] if rule.holds(None) else []
    switches = [value for value in (True, False) if rule.holds(value)]
    if switches:
        found.append({"enum": switches})
    texts = dict.fromkeys((*rule.names, *re.findall(r"[\w.-]*\w", rule.requirement)))
    example = yaml.safe_load(rule.example)
    # An example that the requirement does not name represents other values of its form.
    is_form = isinstance(example, str) and example not in texts and rule.holds(example)
    if is_form or any(rule.holds(text) for text in TEXTS):
        found.append({"type": "string"})
    elif names := [text for text in texts if rule.holds(text)]:
        found.append({"enum": names})
    return found + _numbers(rule)


def _numbers(rule: Rule) -> list[Schema]:
    every = sorted((*NUMBERS, *SHARES))
    # A rule may accept numbers, whole numbers, or a range of either.
    for parts in ((every,), (NUMBERS, SHARES)):
        ranges = [_range(rule, part) for part in parts]
        if None not in ranges:
            return [one for one in ranges if one]
    return [{"enum": [value for value in every if rule.holds(value)]}]


def _range(rule: Rule, tried: Sequence[float]) -> Schema | None:
    """Makes the schema of the numbers between two limits; None if there are gaps, and empty without any number."""
    accepted = [value for value in tried if rule.holds(value)]
    if not accepted:
        return {}
    least, largest = accepted[0], accepted[-1]
    if len(accepted) == 1 or any(least < value < largest and value not in accepted for value in tried):
        return None
    is_whole = all(value % 1 == 0 for value in accepted)
    found: Schema = {"type": "integer" if is_whole else "number"}
    for name, inside, outside in (("Minimum", least, tried[0]), ("Maximum", largest, tried[-1])):
        if not rule.holds(outside):
            limit = _limit(rule, inside, outside, is_whole=is_whole)
            found[name.lower() if rule.holds(limit) else f"exclusive{name}"] = limit
    return found


def _limit(rule: Rule, inside: float, outside: float, *, is_whole: bool) -> float:
    """Finds by bisection where between two numbers a rule begins to hold."""
    for _ in range(200):
        middle = (inside + outside) // 2 if is_whole else (inside + outside) / 2
        if middle in (inside, outside):
            break
        inside, outside = (middle, outside) if rule.holds(middle) else (inside, middle)
    return inside if is_whole else round(float(inside), 9)


def _lists(rule: Rule) -> list[Schema]:
    """Makes the schema of the lists that a rule accepts, by trying its example and lists of one kind."""
    example = yaml.safe_load(rule.example)
    tried = [example] if isinstance(example, list) and example else []
    tried += [[value] for value in (1, 0.5, "a_name", {"params": "a"})]
    accepted = [value for value in tried if rule.holds(value)]
    if not accepted:
        return [{"type": "array", "maxItems": 0}] if rule.holds([]) else []
    item = accepted[0][0]
    lengths = [length for length in range(5) if rule.holds([item] * length)]
    first = lengths[0] if lengths else 0
    # Items are interchangeable, so lists of one value are tried.
    of_item = Rule(lambda v: rule.holds([v] * max(first, 1)), rule.requirement, str(item), rule.names)
    items = [*_scalars(of_item), REFERENCE]
    schema: Schema = {"type": "array", "items": {} if isinstance(item, dict) else {"anyOf": items}}
    schema |= {"minItems": first} if first else {}
    return [schema | ({"maxItems": first} if len(lengths) == 1 else {})]
