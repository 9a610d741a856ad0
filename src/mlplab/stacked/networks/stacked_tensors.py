"""Handles tensors of several networks: names, values per member, and reused memory."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """Reshapes one number per member (K,) to multiply a stacked tensor (K, …), in that tensor's type."""
    # Numbers are float64 and rounded once, as PyTorch does with Python numbers.
    return values.to(like).view(-1, *(1,) * (like.ndim - 1))


def named_tensors(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yields all parameters and buffers by their full names, each shared one once."""
    yield from network.named_parameters()
    yield from network.named_buffers()


class Workspace:
    """Lends tensors of one type, and reuses returned ones.

    A stack's arrays take megabytes. Fresh memory of that size must be paged in by the system each time, which takes as
    long as the matrix products themselves.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._free: dict[tuple[int, ...], list[Tensor]] = {}

    def take(self, shape: Sequence[int]) -> Tensor:
        """Lends an uninitialised tensor."""
        # Full batches and the last one of an epoch have different shapes, each with its own memory.
        free = self._free.get(tuple(shape))
        return free.pop() if free else self._like.new_empty(tuple(shape))

    def give_back(self, tensors: Iterable[Tensor]) -> None:
        """Takes back tensors that are no longer read."""
        for tensor in tensors:
            self._free.setdefault(tuple(tensor.shape), []).append(tensor)
