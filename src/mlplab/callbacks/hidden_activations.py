"""Records what the units of hidden layers compute for rows, layer by layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mlplab.models.mlp import HiddenLayer


@contextmanager
def recording_activations(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Records the activations of each hidden layer, behind the activation function and before dropout, by its name.

    Layers are those of `MLP`, and of other networks the modules of torch.nn that are activation functions. A function
    that a network's own `forward` calls cannot be seen. The network must be called by `network.forward(…)`: a compiled
    one does not notice what watches it.

    Yields:
        layer → (N, H), in the order of the layers; of an ensemble (N, k, H). It is filled by each forward pass.
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
