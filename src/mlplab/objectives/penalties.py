"""L1 and L2 penalties on the weights, as terms of the loss."""

from collections.abc import Iterable

import torch
from torch import Tensor


def l1_l2_penalty(weights: Iterable[Tensor], *, l1: float = 0.0, l2: float = 0.0) -> Tensor:
    """Computes l1·Σ|w| + (l2/2)·Σw², a scalar (Goodfellow et al. 2016, eqs. 7.2 and 7.18).

    With the ½, the gradient of the second term is l2·w, so that l2 under plain gradient descent does what
    `weight_decay` of the same size does. Under Adam the two differ: this one passes through the moments.
    """
    total = torch.zeros(())  # a tensor also without any penalty, so that it can be added to a loss on any device
    for weight in weights:
        # A penalty of zero is left out, as its gradient would cost as much as any other.
        if l1 > 0:
            total = total + l1 * weight.abs().sum()
        if l2 > 0:
            total = total + 0.5 * l2 * weight.square().sum()
    return total
