"""Computes the gradients of activations and losses by the kernels that autograd calls.

The keys are function objects, never names: any other function is left to autograd.
Legend: B batch, H hidden, C outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlplab.models.activations import identity
from mlplab.objectives.losses import cross_entropy, mse

_aten = torch.ops.aten

BELOW_AUTOGRAD: Any = getattr(torch._C, "_AutoDispatchBelowAutograd", torch.no_grad)
"""Context that bypasses autograd. With `torch.no_grad()`, each kernel call still passes through autograd's wrapper."""

MEAN, NO_CLASS = 1, -100
"""PyTorch's codes for `reduction="mean"`, and for the class that is left out by default."""

SELU = 1.6732632423543772, 1.0507009873554805
"""α and λ (Klambauer et al. 2017)."""


@dataclass(frozen=True)
class ActivationKernel:
    """An activation and its gradient.

    Attributes:
        forward: sums (B, H) -> outputs (B, H).
        backward: gradient of the outputs, sums, outputs -> gradient of the sums, each (B, H).
        in_place: in-place variants of the pair, which overwrite sums and gradient; None if the gradient needs the sums.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    in_place: tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]] | None = None


def _kernels(*kernels: ActivationKernel) -> dict[Callable[..., Tensor], ActivationKernel]:
    return {kernel.forward: kernel for kernel in kernels}


# Pairs work in place if the gradient follows from the outputs alone. Numbers are PyTorch's defaults: slope of
# leaky_relu, α of elu, β and threshold of softplus.
ACTIVATION_KERNELS = _kernels(
    ActivationKernel(
        torch.relu,
        # The outputs are positive exactly where the sums are, so the sums need not be kept.
        lambda gradient, sums, outputs: _aten.threshold_backward.default(gradient, outputs, 0),
        (torch.relu_, lambda gradient, y: _aten.threshold_backward.grad_input(gradient, y, 0, grad_input=gradient)),
    ),
    ActivationKernel(
        torch.sigmoid,
        lambda gradient, sums, outputs: _aten.sigmoid_backward(gradient, outputs),
        (torch.sigmoid_, lambda gradient, y: _aten.sigmoid_backward.grad_input(gradient, y, grad_input=gradient)),
    ),
    ActivationKernel(
        torch.tanh,
        lambda gradient, sums, outputs: _aten.tanh_backward(gradient, outputs),
        (torch.tanh_, lambda gradient, y: _aten.tanh_backward.grad_input(gradient, y, grad_input=gradient)),
    ),
    ActivationKernel(
        identity,
        # No kernel: autograd records nothing for it either.
        lambda gradient, sums, outputs: gradient,
        (lambda sums: sums, lambda gradient, y: gradient),
    ),
    ActivationKernel(
        functional.leaky_relu,
        # False: the gradient is computed from the sums, as autograd does, and not from the outputs.
        lambda gradient, sums, outputs: _aten.leaky_relu_backward(gradient, sums, 0.01, False),
    ),
    ActivationKernel(
        functional.elu,
        lambda gradient, sums, outputs: _aten.elu_backward(gradient, 1, 1, 1, False, sums),
    ),
    ActivationKernel(
        functional.selu,
        lambda gradient, sums, outputs: _aten.elu_backward(gradient, *SELU, 1, False, sums),
    ),
    ActivationKernel(functional.gelu, lambda gradient, sums, outputs: _aten.gelu_backward(gradient, sums)),
    ActivationKernel(functional.silu, lambda gradient, sums, outputs: _aten.silu_backward(gradient, sums)),
    ActivationKernel(functional.mish, lambda gradient, sums, outputs: _aten.mish_backward(gradient, sums)),
    ActivationKernel(
        functional.softplus,
        lambda gradient, sums, outputs: _aten.softplus_backward(gradient, sums, 1, 20),
    ),
)

LossWithBackward = tuple[Tensor, Callable[[Tensor], Tensor]]
"""The loss (), and a function from its gradient () to the gradient of the outputs (B, C)."""


def _cross_entropy(outputs: Tensor, targets: Tensor) -> LossWithBackward:
    if targets.ndim != 1 or len(targets) != len(outputs):
        cross_entropy(outputs, targets)  # PyTorch's own error
    # In two steps, as `functional.cross_entropy` does: the same kernels give the same bits.
    log_probabilities = torch.log_softmax(outputs, 1)
    loss, n_rows = _aten.nll_loss_forward.default(log_probabilities, targets, None, MEAN, NO_CLASS)

    def backward(gradient: Tensor) -> Tensor:
        gradient = _aten.nll_loss_backward.default(gradient, log_probabilities, targets, None, MEAN, NO_CLASS, n_rows)
        return torch._log_softmax_backward_data(gradient, log_probabilities, 1, outputs.dtype)

    return loss, backward


def _mse(outputs: Tensor, targets: Tensor) -> LossWithBackward:
    return mse(outputs, targets), lambda gradient: _aten.mse_loss_backward.default(gradient, outputs, targets, MEAN)


LOSS_KERNELS: dict[Callable[..., Tensor], Callable[[Tensor, Tensor], LossWithBackward]] = {
    cross_entropy: _cross_entropy,
    mse: _mse,
}
"""Loss → its kernel with gradient, for calls without options. Other losses use autograd."""
