"""The options of the MLP, each with its rule. Imports no PyTorch: the command line is checked by it."""

import ast
from dataclasses import replace
from pathlib import Path

from mlplab.models.initialization import BIAS_METHODS, WEIGHT_METHODS
from mlplab.rules import COUNT, NOT_NEGATIVE, SHARE, SWITCH, Option, Rule, is_integer, one_of


def _names_of(table: str, file: str) -> tuple[str, ...]:
    """Reads the names of a table in a file beside this one, whose import would take PyTorch and a second."""
    # Parsed and not executed: only the keys are needed, which are literals.
    for node in ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and ast.unparse(node.target) == table:
            return tuple(ast.literal_eval(key) for key in node.value.keys if key is not None)
    raise LookupError(f"{file} has no {table}")


WIDTHS = Rule(
    lambda v: isinstance(v, list) and all(is_integer(width) and width >= 1 for width in v),
    "a list of positive integers ([] is a linear model)",
    "[128,64]",
)

_NAMED = one_of(_names_of("ACTIVATIONS", "activations.py"), "relu")
OWN_OR_NAMED = replace(
    _NAMED, holds=lambda v: v.get("_target_") is not None if isinstance(v, dict) else _NAMED.holds(v)
)

OPTIONS: dict[str, Option] = {
    "in_features": Option(COUNT),
    "out_features": Option(COUNT),
    "hidden_dims": Option(WIDTHS),
    "activation": Option(OWN_OR_NAMED),
    # In a stack, networks of one shape train together; what only changes their numbers may differ.
    "initialization": Option(one_of((*WEIGHT_METHODS, "pytorch"), "kaiming_uniform"), may_differ_in_stack=True),
    "initialization_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "bias_initialization": Option(one_of(BIAS_METHODS, "zeros"), may_differ_in_stack=True),
    "bias_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "dropout": Option(SHARE, may_differ_in_stack=True),
    "input_dropout": Option(SHARE, may_differ_in_stack=True),
    "normalization": Option(one_of(_names_of("NORMALIZATIONS", "mlp.py"), "none")),
    "residual": Option(SWITCH),
}
"""Argument of `MLP` → its rule. MLP and the command line check by it alike."""
