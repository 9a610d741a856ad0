"""Sorts parameters into groups by name: those that decay and penalties apply to, and those that they spare."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

Kind = Literal["weight", "bias", "normalization"]
KINDS: tuple[Kind, ...] = ("weight", "bias", "normalization")

NORMALIZATION_LAYERS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


def parameter_kinds(model: nn.Module) -> dict[str, Kind]:
    """The kind of every trainable parameter, by its full name.

    `normalization`: scale and shift of a normalisation layer; `bias`: of any other layer, known by the last part
    of its name; `weight`: all the rest. A parameter shared by two layers is listed once, under its first name.
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
    """The parameters of the given kinds, in the model's order."""
    kinds = parameter_kinds(model)
    return [parameter for name, parameter in model.named_parameters() if kinds.get(name) in applies_to]


def parameter_groups(
    model: nn.Module, *, weight_decay: float | None, applies_to: Sequence[str] = ("weight",)
) -> list[dict[str, Any]]:
    """The groups for an optimizer, each with its `name` and its parameters as (name, parameter) pairs.

    Args:
        model: all its trainable parameters are claimed, each by one group.
        weight_decay: for the kinds of `applies_to`; the others get 0. Where it is 0 for all, or None because the
            optimizer knows none, there is one group.
        applies_to: kinds of `KINDS`.
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
