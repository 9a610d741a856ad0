"""Which networks can be computed as one, and which with which."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, NORMALIZATIONS, HiddenLayer

MAY_DIFFER = (
    "initialization",
    "initialization_std",
    "bias_initialization",
    "bias_std",
    "dropout",
    "input_dropout",
)
"""What is a member's own in a perceptron's `architecture`."""

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def why_not_stackable(network: nn.Module) -> str | None:
    """Why it cannot be one member of a `StackedNetwork`; None where it can.

    A perceptron can, also behind the input layer of a table or of pixels. A user's own module can where its class
    says `stackable = True`. By that it promises that `forward` does the same whatever the numbers in its tensors
    are (no `if` on them), changes its buffers in place only, and returns one tensor.
    """
    body: nn.Module = network
    if type(network) is WithInputs:
        body = network.network
        if type(network.inputs) not in (PixelInputs, CategoryInputs):
            return f"its input layer {type(network.inputs).__name__} has no stacked form"
    if not (_is_plain_perceptron(body) if type(body) is MLP else getattr(type(body), "stackable", False)):
        if type(body) is MLP:
            return "its layers have been changed"
        return f"its class {type(body).__name__} does not say stackable = True"
    if isinstance(body, MLP):
        for layer in body.hidden:
            activation = layer.activation
            if not isinstance(activation, Hashable) or activation not in ACTIVATION_KERNELS:
                return f"the activation {getattr(activation, '__name__', activation)} has no stacked form"
    parameters = list(network.parameters())
    kinds = {(parameter.dtype, parameter.device) for parameter in parameters}
    if len(kinds) != 1 or parameters[0].dtype not in (torch.float32, torch.float64):
        return "its parameters are not all float32, or all float64, on one device"
    if _is_watched(network):
        return "it has hooks, which see one network at a time"
    if any(module._compiled_call_impl is not None for module in network.modules()):
        return "it is compiled"
    return None


def architecture_of(network: nn.Module) -> Hashable:
    """What must be equal in all members of a stack: of a user's own module all but the numbers in its tensors."""
    tensors = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for name, tensor in named_tensors(network)
    )
    modules = tuple((name, type(module), _settings(module)) for name, module in network.named_modules())
    return tensors, modules


def named_tensors(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """All parameters and buffers by their full names, one that is shared by two layers once."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def _settings(module: nn.Module) -> Hashable:
    own = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    if type(module) is MLP:
        own["architecture"] = {name: v for name, v in module.architecture.items() if name not in MAY_DIFFER}
    if type(module) in (MLP, HiddenLayer):
        own = {name: value for name, value in own.items() if name not in MAY_DIFFER}
    return _comparable(own)


def _comparable(value: Any) -> Hashable:
    """Equal for equal settings. What cannot be compared is equal to itself only."""
    if isinstance(value, Mapping):
        return tuple((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_comparable(item) for item in value)
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), str(value.tolist())
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value


def _is_plain_perceptron(network: MLP) -> bool:
    if type(network.output) is not nn.Linear or network.output.bias is None:
        return False
    return type(network.hidden) is nn.Sequential and all(
        type(layer) is HiddenLayer
        and type(layer.linear) is nn.Linear
        and layer.linear.bias is not None
        and (layer.normalization is None or _is_plain_normalization(layer.normalization))
        for layer in network.hidden
    )


def _is_plain_normalization(layer: nn.Module) -> bool:
    if type(layer) not in NORMALIZATIONS.values() or getattr(layer, "weight", None) is None or layer.bias is None:
        return False
    return not isinstance(layer, nn.BatchNorm1d) or (layer.track_running_stats and layer.momentum is not None)


def _is_watched(network: nn.Module) -> bool:
    return any(getattr(module, hooks) for module in network.modules() for hooks in HOOKS) or any(
        parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter in network.parameters()
    )
