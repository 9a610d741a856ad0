"""The options of the MLP, each with its rule. Imports no PyTorch: the command line is checked by it."""

from mlplab.models.activations import ACTIVATIONS
from mlplab.models.initialization import BIAS_METHODS, WEIGHT_METHODS
from mlplab.rules import COUNT, NOT_NEGATIVE, SHARE, SWITCH, Option, Rule, is_integer, one_of

NORMALIZATIONS = {"none": None, "batch": "mlplab.models.mlp.BatchNorm", "layer": "torch.nn.LayerNorm"}
"""Name → where the class is imported from, which is given the width of the layer."""

WIDTHS = Rule(
    lambda v: isinstance(v, list) and all(is_integer(width) and width >= 1 for width in v),
    "a list of positive integers ([] is a linear model)",
    "[128,64]",
)

OPTIONS: dict[str, Option] = {
    "in_features": Option(COUNT),
    "out_features": Option(COUNT),
    "hidden_dims": Option(WIDTHS),
    "activation": Option(one_of(ACTIVATIONS, "relu")),
    "initialization": Option(one_of((*WEIGHT_METHODS, "pytorch"), "kaiming_uniform"), may_differ_in_stack=True),
    "initialization_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "bias_initialization": Option(one_of(BIAS_METHODS, "zeros"), may_differ_in_stack=True),
    "bias_std": Option(NOT_NEGATIVE, may_differ_in_stack=True),
    "dropout": Option(SHARE, may_differ_in_stack=True),
    "input_dropout": Option(SHARE, may_differ_in_stack=True),
    "normalization": Option(one_of(NORMALIZATIONS, "none")),
    "residual": Option(SWITCH),
}
"""Argument of `MLP` → its rule. MLP and the command line check by it alike."""
