"""Which optimizers can be computed as one, and which with which."""

from collections.abc import Hashable

from torch import Tensor
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from mlplab.engine.surroundings import has_genuine_step
from mlplab.stacked.updates.adam import KernelMoments
from mlplab.stacked.updates.moment_rules import MaximumMoments, NesterovMoments, RectifiedMoments
from mlplab.stacked.updates.rule import Rule
from mlplab.stacked.updates.rules import AdaptiveDelta, AdaptiveGradient, Descent, RMSPropagation

RULES: dict[type[Optimizer], Rule] = {
    SGD: Descent(),
    Adam: KernelMoments(),
    AdamW: KernelMoments(),
    NAdam: NesterovMoments(),
    RAdam: RectifiedMoments(),
    Adamax: MaximumMoments(),
    RMSprop: RMSPropagation(),
    Adagrad: AdaptiveGradient(),
    Adadelta: AdaptiveDelta(),
}

ADDITIONS = ("amsgrad", "maximize", "capturable", "differentiable")
"""Switches that have no stacked form."""


def why_not_stackable(optimizer: Optimizer) -> str | None:
    """Why it cannot be one member of a `StackedOptimizer`; None where it can."""
    if type(optimizer) not in RULES:
        return f"{type(optimizer).__name__} has no stacked form"
    if not has_genuine_step(type(optimizer)):
        return f"{type(optimizer).__name__}.step was replaced"
    for name in ADDITIONS:
        if any(group.get(name) for group in optimizer.param_groups):
            return f"its option {name} has no stacked form"
    if any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        return "its lr is a tensor"
    if (
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    ):
        return "it has hooks, which see one optimizer at a time"
    return None


def shape_of(optimizer: Optimizer) -> Hashable:
    """What must be equal in all members of a stack: the rule, its switches, and what its state consists of."""
    rule = RULES[type(optimizer)]
    groups = [
        (tuple(bool(group[flag]) for flag in rule.flags), tuple(rule.moments(group)))
        for group in optimizer.param_groups
    ]
    return type(rule), frozenset(groups)
