"""Memory that is used again from step to step.

The arrays of a stack are megabytes. Memory of that size comes from the system empty each time, and filling it in
page by page takes as long as the matrix products themselves.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class Workspace:
    """Tensors of one type, lent out and given back; what is not given back is no longer its own."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._free: dict[tuple[int, ...], list[Tensor]] = {}

    def take(self, shape: Sequence[int]) -> Tensor:
        """A tensor with anything in it."""
        free = self._free.get(tuple(shape))
        if free:
            return free.pop()
        return torch.empty(tuple(shape), dtype=self._like.dtype, device=self._like.device)

    def give_back(self, tensors: Iterable[Tensor]) -> None:
        """Takes back what nobody reads any more."""
        for tensor in tensors:
            self._free.setdefault(tuple(tensor.shape), []).append(tensor)
