"""Passes K plain networks forwards and backwards by direct kernel calls.

Does the same as engine/fused_step.py for each member. Legend: K members, B batch, F inputs of a layer, H outputs of a
layer, C outputs of the network.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlplab.engine.kernels import BELOW_AUTOGRAD
from mlplab.stacked.networks.layers import StackedLayer, StackedLinear, StackedMLP
from mlplab.stacked.networks.stacked_tensors import Workspace

Backward = Callable[[Tensor], None]
"""Function that writes `.grad` of all weights and biases from the gradient of the outputs."""

WayBack = Callable[[Tensor, bool], Tensor]
"""Function that propagates the gradient of a layer's outputs to its weights and, if wanted, its inputs."""


def pass_through(
    network: StackedMLP, features: Tensor, masks: Sequence[Tensor | None], memory: Workspace
) -> tuple[Tensor, Backward]:
    """Returns the outputs (K, B, C), and a function that writes `.grad` of all weights and biases.

    The next step overwrites the gradients: clone any that are to be kept.
    """
    step = _Step(memory)
    ways_back: list[WayBack] = []
    with BELOW_AUTOGRAD():
        inputs = network.first_inputs(features, masks[0])
        for layer, mask in zip(network.layers, masks[1:], strict=True):
            inputs, way_back = step.hidden_layer(layer, inputs, mask)
            ways_back.append(way_back)
        outputs = network.output(inputs)

    def backward(gradient: Tensor) -> None:
        with BELOW_AUTOGRAD():
            step.write_gradients(network.output, inputs, gradient)
            if ways_back:
                gradient = step.product(gradient, network.output.weight)
            for depth in range(len(ways_back) - 1, -1, -1):
                # Features need no gradient, so the first layer computes none for its inputs.
                gradient = ways_back[depth](gradient, depth > 0)
        # Only now, as the backward pass reads the forward pass's memory.
        memory.give_back([*step.taken, *(mask for mask in masks if mask is not None)])

    return outputs, backward


class _Step:
    """A forward and backward pass, with its borrowed memory."""

    def __init__(self, memory: Workspace) -> None:
        self.memory = memory
        self.taken: list[Tensor] = []

    def take(self, *shape: int) -> Tensor:
        self.taken.append(self.memory.take(shape))
        return self.taken[-1]

    def product(self, first: Tensor, second: Tensor) -> Tensor:
        # Into reused memory, see `Workspace`.
        return torch.bmm(first, second, out=self.take(*first.shape[:2], second.shape[2]))

    def hidden_layer(self, layer: StackedLayer, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, WayBack]:
        """Computes outputs (K, B, H) from inputs (K, B, F); returns them with the backward function."""
        linear = layer.linear
        sums = self.take(*inputs.shape[:2], linear.weight.shape[1])
        torch.baddbmm(linear.bias.unsqueeze(1), inputs, linear.weight.transpose(1, 2), out=sums)
        kernel = layer.kernel
        in_place = kernel.in_place
        activations = outputs = kernel.forward(sums) if in_place is None else in_place[0](sums)
        if mask is not None:
            outputs = torch.mul(outputs, mask, out=self.take(*outputs.shape))
        if layer.residual:
            outputs = torch.add(outputs, inputs, out=self.take(*outputs.shape))

        def backward(gradient: Tensor, wants_inputs: bool) -> Tensor:
            past = gradient  # by the residual connection
            # New memory also without a mask: in place, kernels would overwrite the residual connection's gradient.
            if mask is not None or layer.residual:
                gradient = torch.mul(gradient, 1 if mask is None else mask, out=self.take(*gradient.shape))
            if in_place is None:
                gradient = kernel.backward(gradient, sums, activations)
            else:
                gradient = in_place[1](gradient, activations)
            self.write_gradients(linear, inputs, gradient)
            if not wants_inputs:
                return gradient
            gradient = self.product(gradient, linear.weight)
            return gradient.add_(past) if layer.residual else gradient

        return outputs, backward

    def write_gradients(self, linear: StackedLinear, inputs: Tensor, gradient: Tensor) -> None:
        """Writes the gradients of sums = inputs · Wᵀ + b, from the gradient of the sums (K, B, H)."""
        # Overwrites the former gradients, as a stack makes an update for each batch.
        linear.weight.grad = torch.bmm(gradient.transpose(1, 2), inputs, out=linear.weight_gradient)
        linear.bias.grad = gradient.sum(1)
