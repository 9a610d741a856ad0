"""Builds an optimizer over parameter groups."""

import inspect
from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import LBFGS, Optimizer

from mlplab.errors import UserError
from mlplab.optimization.parameter_groups import parameter_groups

OptimizerFactory = Callable[..., Optimizer]
"""A `functools.partial` of an optimizer class with its hyper-parameters: it lacks only the parameters."""


def build_optimizer(
    factory: OptimizerFactory, model: nn.Module, *, applies_to: Sequence[str] = ("weight",)
) -> Optimizer:
    """Builds an optimizer over all trainable parameters of the model.

    Weight decay applies to the kinds of `applies_to` only (see `mlplab.optimization.parameter_groups`).

    Raises:
        UserError: the model has no trainable parameter, or the optimizer rejects an option.
    """
    # Anything callable may be configured; a partial carries the class and its options.
    rule, options = getattr(factory, "func", factory), getattr(factory, "keywords", {})
    accepted = inspect.signature(rule).parameters
    weight_decay = None
    if "weight_decay" in accepted:
        # If none is given, the optimizer's default (0.01 for AdamW) must not decay the biases either.
        weight_decay = options.get("weight_decay", accepted["weight_decay"].default)
    # Groups have names and named parameters, which make a checkpoint of the optimizer readable.
    lr = options.get("lr", accepted["lr"].default) if "lr" in accepted else None
    groups = parameter_groups(model, weight_decay=weight_decay, applies_to=applies_to, lr=lr)
    if not groups or not groups[0]["params"]:
        raise UserError("the model must have a trainable parameter", "it has none", "a layer such as nn.Linear")
    # L-BFGS approximates the curvature of all parameters together, so it accepts a single group only.
    if rule is LBFGS:
        return factory([parameter for group in groups for _, parameter in group["params"]])
    try:  # PyTorch checks the ranges of options itself, when an optimizer is built
        return factory(groups)
    except (TypeError, ValueError) as error:
        name = getattr(rule, "__name__", str(rule))
        raise UserError(
            f"{name} must be given options that it takes", str(error), "the values of its file in conf/optimizer"
        ) from error
