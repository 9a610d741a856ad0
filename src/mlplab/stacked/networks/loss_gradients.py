"""The gradient of the losses of K members, written out.

Legend: K members, B batch, C outputs, T targets.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mlplab.errors import UserError

LossesAndBackward = tuple[Tensor, Callable[[Tensor], Tensor]]
"""The losses (K,), and what takes their gradient (K,) to that of the outputs (K, B, C). Autograd can follow, too."""


def cross_entropies(
    outputs: Tensor, targets: Tensor, class_weights: Tensor | None, label_smoothing: Tensor | None
) -> LossesAndBackward:
    """`losses.cross_entropy` of each member. (K, B, C), (K, B), weights (K, C), ε (K,) -> (K,).

    With q the smoothed target and w the weight of a row's class, the loss is the mean of −w Σ q log softmax(z).
    """
    n_rows, n_classes = outputs.shape[1:]
    # Over a last dimension as short as this the kernel takes twenty times as long: (K, C, B).
    log_probabilities = torch.log_softmax(outputs.transpose(1, 2), 1)
    places = targets.unsqueeze(1)
    row_losses = -log_probabilities.gather(1, places).squeeze(1)
    of_true = of_all = None
    if label_smoothing is not None:
        of_true, of_all = (
            share.to(outputs.dtype).unsqueeze(1) for share in (1 - label_smoothing, label_smoothing / n_classes)
        )
        row_losses = of_true * row_losses - of_all * log_probabilities.sum(1)
    row_weights = None if class_weights is None else class_weights.gather(1, targets)
    if row_weights is not None:
        row_losses = row_losses * row_weights

    def backward(gradient: Tensor) -> Tensor:
        of_rows = (gradient / -n_rows).unsqueeze(1).expand(targets.shape)
        if row_weights is not None:
            of_rows = of_rows * row_weights
        if of_true is None or of_all is None:
            of_logs = torch.zeros_like(log_probabilities).scatter_(1, places, of_rows.unsqueeze(1))
        else:
            of_logs = (of_rows * of_all).unsqueeze(1).repeat(1, n_classes, 1)
            of_logs.scatter_add_(1, places, (of_rows * of_true).unsqueeze(1))
        return torch._log_softmax_backward_data(of_logs, log_probabilities, 1, outputs.dtype).transpose(1, 2)

    return row_losses.mean(1), backward


def squared_errors(outputs: Tensor, targets: Tensor) -> LossesAndBackward:
    """`losses.mse` of each member. (K, B, T), (K, B, T) -> (K,)."""
    if outputs.shape != targets.shape:
        raise UserError(
            "outputs and targets must have the same shape",
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}",
            "targets.reshape(outputs.shape), if that is what is meant",
        )
    errors = outputs - targets
    n_values = errors[0].numel()
    return errors.square().mean((1, 2)), lambda gradient: errors * (gradient * (2 / n_values)).view(-1, 1, 1)
