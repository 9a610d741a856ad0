"""Mini-batches of tensors in memory."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor


class Batches:
    """Yields (features, targets) by index, on the device that they are on: one gather a batch, no work per row.

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

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self.first_batch = self.first_batch, 0
        if self.order is None or self.batch_size >= len(self.targets):
            # The order within a batch changes nothing but rounding.
            yield from self._in_place(first)
            return
        order = self.order().to(self.features.device)[first * self.batch_size :]
        for rows in torch.split(order, self.batch_size):
            own = rows.tensor_split(self.world_size)[self.rank] if self.world_size > 1 else rows
            yield self.features.index_select(0, own), self.targets.index_select(0, own)

    def _in_place(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.batch_size
        whole = zip(torch.split(self.features, size), torch.split(self.targets, size), strict=True)
        for features, targets in islice(whole, first, None):
            if self.world_size > 1:
                features = features.tensor_split(self.world_size)[self.rank]
                targets = targets.tensor_split(self.world_size)[self.rank]
            yield features, targets
