"""The options of the MLP, each with its rule. Imports no PyTorch, as it checks the command line."""

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.models.initialization import BIAS_METHODS, WEIGHT_METHODS
from mlplab.rules import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SWITCH,
    Option,
    Rule,
    is_integer,
    one_of,
    optional,
    shown,
)


def _names_of(table: str, file: str) -> tuple[str, ...]:
    """Reads the keys of a table in a neighbouring file without importing it, which would take a second."""
    # Parsed, not executed: only the keys are needed, and they are literals.
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
    # Networks of one shape train together in a stack; options that only change numbers may differ.
    "initialization": Option(one_of((*WEIGHT_METHODS, "pytorch"), "kaiming_uniform"), may_differ_in_stack=True),
    "initialization_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "bias_initialization": Option(one_of(BIAS_METHODS, "zeros"), may_differ_in_stack=True),
    "bias_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "dropout": Option(SHARE, may_differ_in_stack=True),
    "input_dropout": Option(SHARE, may_differ_in_stack=True),
    "normalization": Option(one_of(_names_of("NORMALIZATIONS", "mlp.py"), "none")),
    "residual": Option(SWITCH),
    # TabM only. A checkpoint gives the number of members; the bound stops a wrong one from building for ever.
    "k": Option(Rule(lambda v: is_integer(v) and 1 <= v <= 1024, "an integer from 1 to 1024", "32")),
    "mini": Option(SWITCH),
    "scaling_initialization": Option(one_of(("auto", "random_signs", "normal"), "auto")),
    # RealMLP only.
    "scaling_layer": Option(SWITCH),
    "parametric_activation": Option(SWITCH),
    **{f"{part}_lr_factor": Option(replace(POSITIVE, example="1.0")) for part in ("scale", "bias", "activation")},
}
"""Argument of `MLP`, `TabM` or `RealMLP` → its rule, for both the networks and the command line."""

NUMERIC_EMBEDDINGS = {
    "linear": ("d_embedding",),
    "piecewise": ("d_embedding", "n_bins", "bins", "piecewise_version"),
    "periodic": ("d_embedding", "n_frequencies", "frequency_scale", "lite"),
    "pbld": ("d_embedding", "n_frequencies", "frequency_scale"),
}
"""Numeric embedding → its options."""

EMBEDDING_RULES: dict[str, Rule] = {
    "numeric_embedding": one_of(("none", *NUMERIC_EMBEDDINGS), "piecewise"),
    "d_embedding": optional(Rule(lambda v: is_integer(v) and 1 <= v <= 4096, "an integer from 1 to 4096", "16")),
    "n_bins": optional(Rule(lambda v: is_integer(v) and 2 <= v <= 4096, "an integer from 2 to 4096", "48")),
    "bins": optional(one_of(("quantile", "tree"), "quantile")),
    "piecewise_version": optional(one_of(("A", "B"), "B")),
    "n_frequencies": optional(Rule(lambda v: is_integer(v) and 1 <= v <= 4096, "an integer from 1 to 4096", "48")),
    "frequency_scale": optional(replace(POSITIVE, example="0.01")),
    "lite": optional(SWITCH),
}
"""Option of numeric embeddings → its rule; null takes the default of the embedding."""


def require_embedding_options(options: Mapping[str, Any]) -> None:
    """Refuses options of `EMBEDDING_RULES` that break their rule, or that the chosen embedding does not have.

    Raises:
        UserError: for the first of them.
    """
    for name, value in options.items():
        rule = EMBEDDING_RULES[name]
        if not rule.holds(value):
            given, hint = f"model.{name}={shown(value)}", f"model.{name}={rule.example}"
            raise UserError(f"model.{name} must be {rule.requirement}", given, hint)
    chosen = options["numeric_embedding"]
    for name, value in options.items():
        if name == "numeric_embedding" or value is None or name in NUMERIC_EMBEDDINGS.get(chosen, ()):
            continue
        having = [embedding for embedding, of_it in NUMERIC_EMBEDDINGS.items() if name in of_it]
        raise UserError(
            f"model.{name} must be given with model.numeric_embedding={' or '.join(having)}",
            f"model.numeric_embedding={chosen}",
            f"model.numeric_embedding={having[0]}, or model.{name}=null",
        )
