"""Mini-batches of tensors in memory."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

GATHERED_BYTES = 2**19
"""Of features, that are gathered at once: for small batches, gathering one takes less time than calling for it."""

ALIGNMENT = 64
"""Bytes. Where a tensor of its own begins, as far as kernels whose rounding depends on it can tell."""


class Batches:
    """Yields (features, targets) by index, on the device that they are on: one gather for batches, no work per row.

    Legend: N rows, B batch size. The last batch of an epoch holds the N mod B rows that are left.

    Under several processes B is the size of the whole batch: each process takes its own share of every batch,
    in the same global order, so that the run follows the same path on any number of them.

    Attributes:
        first_batch: where the next epoch begins; the one after it begins at 0 again.

    Args:
        features: (N, F).
        targets: (N,) or (N, T).
        batch_size: B; N or more means one batch, the whole part.
        order: called at the start of every epoch for a permutation (N,); None keeps the order of the rows.
        rank: the number of this process.
        world_size: how many there are.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        *,
        batch_size: int,
        order: Callable[[], Tensor] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.features, self.targets = features, targets
        self.batch_size = batch_size
        self.order = order
        self.rank, self.world_size = rank, world_size
        self.first_batch = 0
        self._rows_at_once = batch_size * self._batches_at_once()

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self.first_batch = self.first_batch, 0
        if self.order is None or self.batch_size >= len(self.targets):
            # The order within a batch changes nothing but rounding.
            yield from self._in_place(first)
            return
        features, targets, size = self.features, self.targets, self.batch_size
        order = self.order().to(features.device)[first * size :]
        if self.world_size > 1:
            for rows in torch.split(order, size):
                own = rows.tensor_split(self.world_size)[self.rank]
                yield features.index_select(0, own), targets.index_select(0, own)
            return
        for rows in torch.split(order, self._rows_at_once):
            gathered = (torch.unsafe_split(part.index_select(0, rows), size) for part in (features, targets))
            yield from zip(*gathered, strict=True)

    def _batches_at_once(self) -> int:
        """How many batches are gathered by one call; each begins where a tensor of its own might."""
        n_bytes = [self.batch_size * part[:1].nbytes for part in (self.features, self.targets)]
        are_aligned = not any(n % ALIGNMENT for n in n_bytes)
        return max(1, GATHERED_BYTES // n_bytes[0]) if are_aligned else 1

    def _in_place(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.batch_size
        whole = zip(torch.split(self.features, size), torch.split(self.targets, size), strict=True)
        for features, targets in islice(whole, first, None):
            if self.world_size > 1:
                features = features.tensor_split(self.world_size)[self.rank]
                targets = targets.tensor_split(self.world_size)[self.rank]
            yield features, targets
