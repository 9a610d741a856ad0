"""The passes through a plain MLP written out: forward, and the gradient of every weight.

Goodfellow et al. 2016, algorithms 6.3 and 6.4, by the kernels that autograd calls.
Legend: B batch, F inputs of a layer, H outputs of a layer, C outputs of the network.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.engine.backpropagation import Backward, add_gradient

_aten = torch.ops.aten

SELU = 1.6732632423543772, 1.0507009873554805
"""α and λ (Klambauer et al. 2017)."""

ACTIVATION_BACKWARD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda gradient, sums, outputs: _aten.threshold_backward.default(gradient, outputs, 0),
    "sigmoid": lambda gradient, sums, outputs: _aten.sigmoid_backward(gradient, outputs),
    "tanh": lambda gradient, sums, outputs: _aten.tanh_backward(gradient, outputs),
    "leaky_relu": lambda gradient, sums, outputs: _aten.leaky_relu_backward(gradient, sums, 0.01, False),
    "elu": lambda gradient, sums, outputs: _aten.elu_backward(gradient, 1, 1, 1, False, sums),
    "selu": lambda gradient, sums, outputs: _aten.elu_backward(gradient, *SELU, 1, False, sums),
    "gelu": lambda gradient, sums, outputs: _aten.gelu_backward(gradient, sums),
    "silu": lambda gradient, sums, outputs: _aten.silu_backward(gradient, sums),
    "mish": lambda gradient, sums, outputs: _aten.mish_backward(gradient, sums),
    "softplus": lambda gradient, sums, outputs: _aten.softplus_backward(gradient, sums, 1, 20),
    "identity": lambda gradient, sums, outputs: gradient,
}
"""Gradient of the inputs from that of the outputs. An activation that is not here is left to autograd."""


IN_PLACE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, lambda g, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g)),
    "sigmoid": (torch.sigmoid_, lambda g, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g)),
    "tanh": (torch.tanh_, lambda g, y: _aten.tanh_backward.grad_input(g, y, grad_input=g)),
    "identity": (lambda sums: sums, lambda g, y: g),
}
"""Activations whose gradient follows from their outputs: there and back in the memory of sums and gradient."""


class Layer(Protocol):
    """What is needed to know of a hidden layer."""

    _modules: dict[str, nn.Module]  # its `linear`
    activation_name: str
    activation: Callable[[Tensor], Tensor]
    dropout: float
    residual: bool
    training: bool


def pass_through(hidden: Iterable[Any], output: nn.Linear, features: Tensor) -> tuple[Tensor, Backward]:
    """The outputs (B, C) for features (B, F), and what takes their gradient to `.grad` of all weights and biases.

    The hidden layers are such as `Layer` describes. Both are to be called without autograd.
    """
    ways_back = []
    inputs = features
    for layer in hidden:
        inputs, way_back = _hidden_layer(layer, inputs)
        ways_back.append(way_back)
    weight, bias = _parameters_of(output)
    outputs = functional.linear(inputs, weight, bias)

    def backward(gradient: Tensor) -> None:
        _add_weight_gradients(weight, bias, inputs, gradient)
        if ways_back:
            gradient = gradient.mm(weight)
        for depth in range(len(ways_back) - 1, -1, -1):
            gradient = ways_back[depth](gradient, depth > 0)

    return outputs, backward


def _hidden_layer(layer: Layer, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor, bool], Tensor]]:
    """Its outputs (B, H), and what takes their gradient to the weights and, where it is wanted, to the inputs."""
    weight, bias = _parameters_of(layer._modules["linear"])
    sums = functional.linear(inputs, weight, bias)
    name = layer.activation_name
    # A residual connection needs the gradient as it was.
    is_in_place = name in IN_PLACE and not layer.residual
    activations = outputs = IN_PLACE[name][0](sums) if is_in_place else layer.activation(sums)
    keep = 1 - layer.dropout
    mask = torch.empty_like(outputs).bernoulli_(keep).div_(keep) if layer.dropout and layer.training else None
    if mask is not None:
        outputs = outputs * mask
    if layer.residual:
        outputs = outputs + inputs

    def backward(gradient: Tensor, wants_inputs: bool) -> Tensor:
        past = gradient  # by the residual connection
        if mask is not None:
            gradient = gradient * mask
        if is_in_place:
            gradient = IN_PLACE[name][1](gradient, activations)
        else:
            gradient = ACTIVATION_BACKWARD[name](gradient, sums, activations)
        _add_weight_gradients(weight, bias, inputs, gradient)
        if not wants_inputs:
            return gradient
        gradient = gradient.mm(weight)
        return gradient + past if layer.residual else gradient

    return outputs, backward


def _parameters_of(linear: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (H, F) and bias (H,), past `nn.Module.__getattr__`, which takes longer than some of the kernels."""
    parameters = linear._parameters
    return parameters["weight"], parameters["bias"]  # type: ignore[return-value]


def _add_weight_gradients(weight: Tensor, bias: Tensor, inputs: Tensor, gradient: Tensor) -> None:
    """Of sums = inputs · Wᵀ + b, from the gradient of the sums (B, H): the products over the batch, and its sum."""
    if weight.grad is None and bias.grad is None:
        weight.grad, bias.grad = gradient.t().mm(inputs), gradient.sum(0)
    else:
        add_gradient(weight, gradient.t().mm(inputs))
        add_gradient(bias, gradient.sum(0))
