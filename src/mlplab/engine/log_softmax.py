"""The logarithm of softmax over a few classes, many rows at once.

Over the last dimension PyTorch takes a row at a time, and a number at a time where a row does not fill a register of
the processor: ten classes take four times as long as by its kernel for the first dimension, which takes a register of
rows. Both do the same with each number, so that the bits are the same; only where rows are left over they need not be.
Legend: B batch, C classes.
"""

import torch
from torch import Tensor

REGISTER_BYTES = {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 0)
"""Of the numbers that PyTorch computes at once, where that is known."""

LEAST_CLASSES = 4
"""Of fewer, turning the rows takes as long as is spared."""

LEAST_ROWS = 64


def log_softmax(outputs: Tensor) -> Tensor:
    """Of logits, (B, C) -> (B, C), which may lie in memory class by class."""
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
    n_rows, n_classes = outputs.shape
    if n_rows < LEAST_ROWS or n_classes < LEAST_CLASSES or outputs.dtype not in (torch.float32, torch.float64):
        return False
    lanes = REGISTER_BYTES // outputs.element_size()
    return n_classes < lanes and not n_rows % lanes and outputs.is_cpu
