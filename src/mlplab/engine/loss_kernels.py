"""The gradient of the losses that small networks are mostly trained with, by the kernels that autograd calls."""

from collections.abc import Callable

import torch
from torch import Tensor

from mlplab.engine.log_softmax import log_softmax, log_softmax_backward
from mlplab.objectives.losses import cross_entropy, mse

_aten = torch.ops.aten

LossAndBackward = tuple[Tensor, Callable[[Tensor], Tensor]]
"""The loss (), and what takes its gradient () to that of the outputs (B, C)."""


def _cross_entropy(outputs: Tensor, targets: Tensor) -> LossAndBackward:
    log_probabilities = log_softmax(outputs)
    loss, n_rows = _aten.nll_loss_forward.default(log_probabilities, targets, None, 1, -100)

    def backward(gradient: Tensor) -> Tensor:
        gradient = _aten.nll_loss_backward.default(gradient, log_probabilities, targets, None, 1, -100, n_rows)
        return log_softmax_backward(gradient, log_probabilities)

    return loss, backward


def _mse(outputs: Tensor, targets: Tensor) -> LossAndBackward:
    return mse(outputs, targets), lambda gradient: _aten.mse_loss_backward.default(gradient, outputs, targets, 1)


WRITTEN_OUT: dict[Callable[..., Tensor], Callable[[Tensor, Tensor], LossAndBackward]] = {
    cross_entropy: _cross_entropy,
    mse: _mse,
}
"""Loss → the same without options, written out. A loss that is not here is left to autograd."""
