"""The names of losses and scores, and the options of losses. Imports no PyTorch, as it checks the command line."""

import re
from typing import Any

from mlplab.rules import POSITIVE, SHARE, Option, Rule, is_number

LOSSES = {
    # The names are those of the functions, and of the files in conf/loss.
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "regression": ("mse", "mae", "huber"),
    "multilabel": ("binary_cross_entropy",),
}
"""Task → functions of `losses.py`, each with a file in conf/loss; `auto` takes the first one."""

SCORES = {
    "classification": {"loss": "min", "accuracy": "max", "f1": "max", "auroc": "max"},
    "regression": {"loss": "min", "mse": "min", "rmse": "min", "mae": "min", "r2": "max"},
    "multilabel": {"loss": "min", "accuracy": "max", "subset_accuracy": "max", "f1": "max", "auroc": "max"},
}
"""Task → score of `scores.py` by which runs can be compared → whether small or large is good."""

OPTIONS: dict[str, Option] = {
    # A stacked loss takes one value per network.
    "label_smoothing": Option(SHARE, may_differ_in_stack=True),
    "delta": Option(POSITIVE),
    "class_weights": Option(
        Rule(
            lambda v: (
                v is None
                or v == "balanced"
                or (isinstance(v, list) and len(v) > 0 and all(is_number(w) and w >= 0 for w in v) and sum(v) > 0)
            ),
            "null, balanced, or a list of one number of 0 or more for each class",
            "balanced",
        )
    ),
}
"""Keyword argument of a loss → its rule."""


def mode_of(monitor: Any) -> str | None:
    """Returns whether small (`min`) or large (`max`) values of a score are good, by its last word; None if unknown."""
    known = {name: mode for scores in SCORES.values() for name, mode in scores.items()}
    return known.get(re.split("[/_]", str(monitor))[-1])
