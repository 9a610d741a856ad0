"""Builds an optimizer over parameter groups."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer

from mlplab.errors import UserError
from mlplab.optimization.parameter_groups import parameter_groups

OptimizerFactory = Callable[..., Optimizer]
"""A `functools.partial` of an optimizer class with its hyper-parameters; only the parameters are missing."""


def build_optimizer(
    factory: OptimizerFactory,
    model: nn.Module,
    *,
    applies_to: Sequence[str] = ("weight",),
    groups: Sequence[Mapping[str, Any]] = (),
) -> Optimizer:
    """Builds an optimizer over all trainable parameters of the model.

    Weight decay applies to the kinds of `applies_to` only (see `mlplab.optimization.parameter_groups`).

    Raises:
        UserError: the model has no trainable parameter, or the optimizer rejects an option.
    """
    # Any callable may be configured; a partial holds the class and its options.
    rule, options = getattr(factory, "func", factory), getattr(factory, "keywords", {})
    accepted = inspect.signature(rule).parameters
    weight_decay = None
    if "weight_decay" in accepted:
        # If none is given, the optimizer's default (0.01 for AdamW) must still spare the biases.
        weight_decay = options.get("weight_decay", accepted["weight_decay"].default)
    # Groups have names and named parameters, which make a checkpoint of the optimizer readable.
    for group in groups:
        for name in group.keys() - {"params"} - accepted.keys():
            near = next(iter(get_close_matches(name, accepted, n=1)), "lr")
            raise UserError(
                "optimizer.groups must have options that the optimizer takes", f"{name}={group[name]}", near
            )
    own = bool(groups)
    lr = options.get("lr", accepted["lr"].default) if "lr" in accepted else None
    groups = parameter_groups(model, weight_decay=weight_decay, applies_to=applies_to, lr=lr, groups=groups)
    if not groups:
        raise UserError("the model must have a trainable parameter", "it has none", "a layer such as nn.Linear")
    # L-BFGS approximates the curvature of all parameters together, so it accepts a single group only.
    if rule is LBFGS and own:
        raise UserError("optimizer.groups must be null for optimizer=lbfgs", "there are some", "optimizer=adam")
    if rule is LBFGS:
        return factory([parameter for group in groups for _, parameter in group["params"]])
    try:  # PyTorch itself checks the ranges of options
        return factory(groups)
    except (TypeError, ValueError) as error:
        name = getattr(rule, "__name__", str(rule))
        raise UserError(
            f"{name} must be given options that it takes", str(error), "the values of its file in conf/optimizer"
        ) from error
