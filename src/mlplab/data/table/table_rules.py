"""Rules for the options of data=table. Imports nothing heavy."""

import codecs
from typing import Any

from mlplab.config.config_rules import FILE
from mlplab.data.table.text_layout import DELIMITERS, QUOTES
from mlplab.rules import SWITCH, Rule, is_integer, is_number, one_of, optional


def _is_encoding(value: Any) -> bool:
    try:
        return value == "auto" or (isinstance(value, str) and bool(codecs.lookup(value)))
    except LookupError:
        return False


_NAME = Rule(
    # YAML reads a column's name such as 2020 as a number.
    lambda v: isinstance(v, str | int | float) and not isinstance(v, bool) and str(v) != "",
    "the name of a column",
    "column_1",
)
_NAMES = Rule(lambda v: isinstance(v, list) and all(_NAME.holds(name) for name in v), "a list of columns", "[column_1]")
_MARKERS = Rule(
    lambda v: isinstance(v, list) and all(isinstance(marker, str | int | float) for marker in v),
    "a list of texts and numbers",
    "[-999,unknown]",
)

TABLE_RULES: dict[str, Rule] = {
    "path": FILE,
    "target": Rule(
        lambda v: _NAME.holds(v) or (_NAMES.holds(v) and len(v) > 0), "the name of a column, or a list of them", "y"
    ),
    "test_path": optional(FILE),
    "header": Rule(lambda v: v == "auto" or isinstance(v, bool), "auto, true or false", "auto"),
    "delimiter": Rule(
        lambda v: (
            v == "auto" or v in tuple(DELIMITERS) or (isinstance(v, str) and len(v) in (1, 2) and v not in "\r\n")
        ),
        f"auto, {', '.join(DELIMITERS)}, or one or two characters",
        "semicolon",
        tuple(DELIMITERS),
    ),
    "quote": one_of(("auto", *QUOTES), "auto"),
    "encoding": Rule(_is_encoding, "auto, or the name of an encoding that Python knows", "auto", ("auto", "utf-8")),
    "decimal": one_of(("auto", ".", ","), "auto"),
    "skip_lines": Rule(lambda v: is_integer(v) and v >= 0, "a number of lines", "1"),
    "sheet": optional(Rule(_NAME.holds, "the name or the number of a sheet", "1")),
    # Without a directive of strptime, a format fits nothing but itself.
    "date_format": optional(Rule(lambda v: isinstance(v, str) and "%" in v, "a format such as %d/%m/%Y", "'%d/%m/%Y'")),
    "missing_values": _MARKERS,
    "keep_values": Rule(
        lambda v: (
            v is None or _MARKERS.holds(v) or (isinstance(v, dict) and all(_MARKERS.holds(c) for c in v.values()))
        ),
        "null, a list of texts and numbers, or such a list for each of some columns",
        "[NA]",
    ),
    "drop": _NAMES,
    "numeric": _NAMES,
    "categorical": _NAMES,
    "unreadable_cells": Rule(lambda v: is_number(v) and 0 <= v < 1, "a share in [0.0, 1.0)", "0.02"),
    "drop_missing_target": SWITCH,
    "rare_classes": one_of(("keep", "drop", "refuse"), "keep"),
    "unit": Rule(
        lambda v: isinstance(v, str) or (isinstance(v, list) and all(isinstance(unit, str) for unit in v)),
        "text, or a list of texts",
        "cm",
    ),
    "split_column": optional(_NAME),
    "group_column": optional(_NAME),
    "time_column": optional(_NAME),
    "weight_column": optional(_NAME),
    "numeric_scaling": one_of(("standardize", "quantile_normal", "robust_smooth_clip"), "standardize"),
    "one_hot_levels": Rule(lambda v: is_integer(v) and v >= 0, "an integer of 0 or more", "10"),
    "embedding_dim": Rule(lambda v: v == "auto" or (is_integer(v) and 1 <= v <= 4096), "auto, or a width", "auto"),
}
"""Rules of data=table alone: a source of the user's own may mean other things by the same names."""

OF_ANY_FILE = (
    *("delimiter", "quote", "header", "encoding", "decimal", "skip_lines", "sheet", "date_format"),
    "missing_values",
)
"""Options of a table that say how a file is written, which another file may be in another way."""
