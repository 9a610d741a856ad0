"""The tensors of a network by name, and numbers of members in a tensor's shape."""

from collections.abc import Iterable

from torch import Tensor, nn


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """One number for each member (K,), in the type of a stacked tensor (K, …) and of a shape that goes with it."""
    return values.to(like.dtype).view(-1, *(1,) * (like.ndim - 1))


def named_tensors(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """All parameters and buffers by their full names, one that is shared by two layers once."""
    yield from network.named_parameters()
    yield from network.named_buffers()
