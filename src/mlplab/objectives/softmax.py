"""Softmax over a few classes, by the kernel for a first dimension.

PyTorch's kernel for the last dimension takes a row at a time, which for ten classes is four times slower on the
processor: a class at a time, many rows are computed at once. Legend: B batch, C classes.
"""

import torch
from torch import Tensor

FEW_CLASSES = range(4, 16)
"""Where it pays; a row of 16 classes fills a register by itself."""

LEAST_ROWS = 64
"""Of fewer, turning them takes as long as is spared."""


def softmax(outputs: Tensor) -> Tensor:
    """Probabilities of logits, (B, C) -> (B, C)."""
    if _pays(outputs):
        return torch.softmax(outputs.t().contiguous(), 0).t().contiguous()
    return torch.softmax(outputs, 1)


def log_softmax(outputs: Tensor) -> Tensor:
    """Their logarithms, (B, C) -> (B, C), which may lie in memory class by class."""
    if _pays(outputs):
        return torch.log_softmax(outputs.t().contiguous(), 0).t()
    return torch.log_softmax(outputs, 1)


def log_softmax_backward(gradient: Tensor, log_probabilities: Tensor) -> Tensor:
    """The gradient (B, C) of the outputs, from that of what `log_softmax` gave: by the kernels of autograd."""
    kind = log_probabilities.dtype
    if _pays(log_probabilities):
        return torch._log_softmax_backward_data(gradient.t(), log_probabilities.t(), 0, kind).t()
    return torch._log_softmax_backward_data(gradient, log_probabilities, 1, kind)


def _pays(outputs: Tensor) -> bool:
    # A graph that is exported or compiled is to serve any number of rows.
    n_rows, n_classes = outputs.shape
    return (
        n_classes in FEW_CLASSES
        and not torch.compiler.is_compiling()
        and n_rows >= LEAST_ROWS
        and outputs.device.type == "cpu"
    )
