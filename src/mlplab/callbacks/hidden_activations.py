"""Records the activations of hidden layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mlplab.models.mlp import HiddenLayer


@contextmanager
def recording_activations(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Records each hidden layer's activations by name, after the activation function and before dropout.

    It covers the hidden layers of `MLP`, and in other networks the activation modules of torch.nn, but not functions
    called in `forward`. Call the network by `network.forward(…)`: a compiled network ignores hooks.

    Yields:
        layer → (N, H), for an ensemble (N, k, H), in the order of the layers. Each forward pass fills it.
    """
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, HiddenLayer):
            # Not the layer's own output, to which a residual connection adds its input.
            before = module.linear if module.normalization is None else module.normalization
            handles.append(before.register_forward_hook(_keep(found, name.removeprefix("network."), module.activation)))
        elif _is_activation(module) and not _is_within_hidden_layer(network, name):
            handles.append(module.register_forward_hook(_keep(found, name, None)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep(found: dict[str, Tensor], name: str, activation: Any) -> Any:
    def hook(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        found[name] = (outputs if activation is None else activation(outputs)).detach()

    return hook


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention)


def _is_within_hidden_layer(network: nn.Module, name: str) -> bool:
    path = name.split(".")
    return any(isinstance(network.get_submodule(".".join(path[:n])), HiddenLayer) for n in range(1, len(path)))
