"""The values that jobs of a sweep are given: when two are the same, and which only repeat a setting."""

import json
from collections.abc import Mapping
from typing import Any

FOLD = "data.fold"

SEEDS = ("seed", "data.split_seed", FOLD)
"""Names over which the runs of one setting may differ."""


def key_of(values: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Returns the same key for equal values: 0.001 and 1e-3 are one value, 1 and true are not."""
    return frozenset((name, canonical(value)) for name, value in values.items())


def canonical(value: Any) -> str:
    """Spells a value in one way."""
    # For Python true is 1, but a job that is given true is another one.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))  # one spelling for 1, 1.0 and 1e0
    if isinstance(value, list | tuple):
        return f"[{','.join(canonical(part) for part in value)}]"
    if isinstance(value, dict):
        return json.dumps({str(k): canonical(v) for k, v in value.items()}, sort_keys=True)
    return json.dumps(value)
