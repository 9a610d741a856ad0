"""Sorts parameters into groups by kind: with and without weight decay and penalties."""

import fnmatch
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from mlplab.errors import UserError
from mlplab.optimization.names import Kind

NORMALIZATION_LAYERS = (
    # The common base of batch and instance normalisation in any number of dimensions; it has no public name.
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
    kinds: dict[str, Kind] = {}
    seen: set[nn.Parameter] = set()
    # By module, as only the module distinguishes a normalisation's scale from other weights.
    for prefix, module in model.named_modules():
        for full_name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            if isinstance(module, NORMALIZATION_LAYERS):
                kinds[full_name] = "normalization"
            else:
                # "contains", for names such as `in_proj_bias` of attention and `bias_ih_l0` of recurrent layers.
                kinds[full_name] = "bias" if "bias" in full_name.rpartition(".")[2] else "weight"
    return kinds


def regularized_parameters(model: nn.Module, applies_to: Sequence[str] = ("weight",)) -> list[nn.Parameter]:
    """Returns the trainable parameters of the given kinds, in the model's order."""
    # Frozen parameters have no kind, so they are never regularised.
    kinds = parameter_kinds(model)
    return [parameter for name, parameter in model.named_parameters() if kinds.get(name) in applies_to]


def matching(model: nn.Module, pattern: str, key: str) -> list[str]:
    """Returns the parameters that match a name or a pattern: `hidden.0`, `hidden.0.linear.weight`, `*.bias`.

    A name matches all parameters below it. With an input layer, names are still those of the network itself.

    Args:
        model: with its parameters.
        pattern: as the user gave it.
        key: the option it was given for, in messages.

    Raises:
        UserError: it matches none; suggests the nearest name.
    """
    names = [name for name, _ in model.named_parameters()]
    own = {name: name.removeprefix("model.").removeprefix("network.") for name in names}
    found = [full for full, name in own.items() if name.startswith(f"{pattern}.") or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        parts = [".".join(name.split(".")[:n]) for name in own.values() for n in range(1, name.count(".") + 2)]
        near = next(iter([*get_close_matches(pattern, dict.fromkeys(parts), n=1), *parts]), "*")
        raise UserError(f"{key} must name parameters: {', '.join(own.values())}", f"{key}={pattern}", near)
    return found


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freezes parameters by names or patterns.

    Raises:
        UserError: one of them matches no parameter.
    """
    named = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching(model, pattern, "model.freeze"):
            named[name].requires_grad_(False)


def rate_factors(model: nn.Module) -> dict[str, float]:
    """Returns the learning-rate factors that modules define: full name of a parameter → factor other than 1.

    A module's attribute `rate_factors` maps the names of its parameters to factors.
    """
    return {
        f"{prefix}.{name}" if prefix else name: factor
        for prefix, module in model.named_modules()
        for name, factor in getattr(module, "rate_factors", {}).items()
        if factor != 1
    }


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float | None,
    applies_to: Sequence[str] = ("weight",),
    lr: float | None = None,
    groups: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Builds the groups for an optimizer, each with a `name` and its parameters as (name, parameter) pairs.

    Args:
        model: each of its trainable parameters goes to exactly one group.
        weight_decay: for the kinds of `applies_to`; the others get 0. There is a single group if it is 0, or None
            because the optimizer has no weight decay.
        applies_to: kinds of `names.KINDS`.
        lr: of the optimizer, for parameters with `rate_factors`; None if it has no rate.
        groups: further groups with their own options, such as `lr`; `params` is a name or a pattern. A parameter goes
            to the first group that matches it.

    Raises:
        UserError: a group matches no parameter.
    """
    kinds, found = parameter_kinds(model), []
    for group in groups:
        own = [name for name in matching(model, group["params"], "optimizer.groups") if name in kinds]
        options = {name: value for name, value in group.items() if name != "params"}
        decay, rate = options.pop("weight_decay", weight_decay), options.get("lr", lr)
        parts = _groups(model, {name: kinds.pop(name) for name in own}, decay, applies_to, rate)
        # A module's factor also applies to the rate of its group.
        found += [{**options, **part, "name": f"{group['params']} {part['name']}"} for part in parts]
    return [*found, *_groups(model, kinds, weight_decay, applies_to, lr)]


def _groups(
    model: nn.Module,
    kinds: Mapping[str, Kind],
    weight_decay: float | None,
    applies_to: Sequence[str],
    lr: float | None,
) -> list[dict[str, Any]]:
    """Builds the groups of some parameters, by their kinds."""
    factors = rate_factors(model)
    named = dict(model.named_parameters())
    # A single group if one is enough: each group's update costs a tenth of a small network's step.
    if not weight_decay:
        group: dict[str, Any] = {"name": "all", "params": [(name, named[name]) for name in kinds]}
        if not kinds:
            return []
        return _with_rates([group if weight_decay is None else {**group, "weight_decay": weight_decay}], factors, lr)
    decayed = [(name, named[name]) for name, kind in kinds.items() if kind in applies_to]
    spared = [(name, named[name]) for name, kind in kinds.items() if kind not in applies_to]
    groups = [
        {"name": "decayed", "params": decayed, "weight_decay": weight_decay},
        {"name": "spared", "params": spared, "weight_decay": 0.0},
    ]
    return _with_rates([group for group in groups if group["params"]], factors, lr)


def _with_rates(groups: list[dict[str, Any]], factors: dict[str, float], lr: float | None) -> list[dict[str, Any]]:
    """Splits groups by the factors on the learning rates of their parameters."""
    if not factors or lr is None:
        return groups
    split = []
    for group in groups:
        by_factor: dict[float, list[Any]] = {}
        for name, parameter in group["params"]:
            by_factor.setdefault(factors.get(name, 1.0), []).append((name, parameter))
        # The plain rate comes first, as curves show the first group.
        for factor, params in sorted(by_factor.items(), key=lambda item: (item[0] != 1, item[0])):
            part = {**group, "params": params}
            rate = {} if factor == 1 else {"name": f"{group['name']}, lr x {factor:g}", "lr": factor * lr}
            split.append({**part, **rate})
    return split
