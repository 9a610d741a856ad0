"""Sorts parameters into groups by kind: with and without weight decay and penalties."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mlplab.optimization.names import Kind

NORMALIZATION_LAYERS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


def parameter_kinds(model: nn.Module) -> dict[str, Kind]:
    """Returns the kind of every trainable parameter: full name → kind.

    `normalization`: scale and shift of a normalisation layer. `bias`: a parameter of another layer whose name contains
    "bias". `weight`: all the rest. A parameter shared by two layers is listed once, under its first name.
    """
    owners = {
        f"{prefix}.{name}" if prefix else name: (module, name)
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    kinds: dict[str, Kind] = {}
    for full_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        module, name = owners[full_name]
        if isinstance(module, NORMALIZATION_LAYERS):
            kinds[full_name] = "normalization"
        else:
            kinds[full_name] = "bias" if "bias" in name else "weight"
    return kinds


def regularized_parameters(model: nn.Module, applies_to: Sequence[str] = ("weight",)) -> list[nn.Parameter]:
    """Returns the trainable parameters of the given kinds, in the model's order."""
    kinds = parameter_kinds(model)
    return [parameter for name, parameter in model.named_parameters() if kinds.get(name) in applies_to]


def parameter_groups(
    model: nn.Module, *, weight_decay: float | None, applies_to: Sequence[str] = ("weight",)
) -> list[dict[str, Any]]:
    """Builds the groups for an optimizer, each with a `name` and its parameters as (name, parameter) pairs.

    Args:
        model: each of its trainable parameters goes to exactly one group.
        weight_decay: for the kinds of `applies_to`; the others get 0. There is a single group if it is 0, or None
            because the optimizer has no weight decay.
        applies_to: kinds of `names.KINDS`.
    """
    kinds = parameter_kinds(model)
    named = dict(model.named_parameters())
    groups: list[dict[str, Any]]
    if not weight_decay:
        groups = [{"name": "all", "params": [(name, named[name]) for name in kinds]}]
        if weight_decay is not None:
            groups[0]["weight_decay"] = weight_decay
    else:
        decayed = [(name, named[name]) for name, kind in kinds.items() if kind in applies_to]
        spared = [(name, named[name]) for name, kind in kinds.items() if kind not in applies_to]
        groups = [
            {"name": "decayed", "params": decayed, "weight_decay": weight_decay},
            {"name": "spared", "params": spared, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    claimed = [name for group in groups for name, _ in group["params"]]
    assert sorted(claimed) == sorted(kinds), "every parameter must be claimed by exactly one group"
    return groups
