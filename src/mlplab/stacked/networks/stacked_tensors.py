"""Tensors of several networks: their names, numbers of the members in their shape, and memory that is used again."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """Shapes one number for each member (K,) so that it multiplies a stacked tensor (K, …), in that tensor's type."""
    # Numbers are kept in float64 and rounded once, as PyTorch rounds a Python number.
    return values.to(like).view(-1, *(1,) * (like.ndim - 1))


def named_tensors(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yields all parameters and buffers by their full names, one that is shared by two layers once."""
    yield from network.named_parameters()
    yield from network.named_buffers()


class Workspace:
    """Lends out tensors of one type, and lends those that are given back again.

    The arrays of a stack are megabytes. Memory of that size comes from the system empty each time, and filling it in
    page by page takes as long as the matrix products themselves.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._free: dict[tuple[int, ...], list[Tensor]] = {}

    def take(self, shape: Sequence[int]) -> Tensor:
        """Lends a tensor with anything in it."""
        # A full batch and the last one of an epoch have different shapes, each with memory of its own.
        free = self._free.get(tuple(shape))
        return free.pop() if free else self._like.new_empty(tuple(shape))

    def give_back(self, tensors: Iterable[Tensor]) -> None:
        """Takes back tensors that nobody reads any more."""
        for tensor in tensors:
            self._free.setdefault(tuple(tensor.shape), []).append(tensor)
