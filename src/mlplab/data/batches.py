"""Mini-batches of tensors in memory."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor


class Batches:
    """Yields batches (features, targets), or (features, targets, weights), by one `index_select` for each tensor.

    Legend: N rows, B batch size. The last batch of an epoch holds the remaining N mod B rows.

    With several processes B is the size of the whole batch. Each process takes its share of every batch, in the same
    global order, so that training is the same on any number of processes.

    Attributes:
        first_batch: batch at which the next epoch begins; later epochs begin at 0.

    Args:
        features: (N, F).
        targets: (N,) or (N, T).
        weights: (N,) of the rows; None where they have none. All tensors may be on any device.
        batch_size: B; with N or more there is one batch of all rows.
        order: called at the start of every epoch for a permutation (N,); None keeps the order of the rows.
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        *,
        batch_size: int,
        weights: Tensor | None = None,
        order: Callable[[], Tensor] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.features, self.targets, self.weights = features, targets, weights
        self.batch_size = batch_size
        self.order = order
        self.rank, self.world_size = rank, world_size
        self.first_batch = 0

    def __len__(self) -> int:
        # Rounded up: the last batch may be smaller.
        return -(-len(self.targets) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # Used once: an epoch after the resumed one begins at its first batch.
        first, self.first_batch = self.first_batch, 0
        if self.order is None or self.batch_size >= len(self.targets):
            # The order of rows within the only batch changes nothing but rounding.
            yield from self._in_place(first)
            return
        # The whole order is drawn and its beginning left out, so that a resumed epoch goes on with the same rows.
        order = self.order().to(self.features.device)[first * self.batch_size :]
        for rows in torch.split(order, self.batch_size):
            # `tensor_split` allows shares of different sizes, and empty ones.
            own = rows.tensor_split(self.world_size)[self.rank] if self.world_size > 1 else rows
            yield tuple([tensor.index_select(0, own) for tensor in self._tensors()])

    def _tensors(self) -> list[Tensor]:
        return [self.features, self.targets] if self.weights is None else [self.features, self.targets, self.weights]

    def _in_place(self, first: int) -> Iterator[tuple[Tensor, ...]]:
        # Views of the stored tensors: no row is copied.
        whole = zip(*(torch.split(tensor, self.batch_size) for tensor in self._tensors()), strict=True)
        for batch in islice(whole, first, None):
            if self.world_size > 1:
                yield tuple(tensor.tensor_split(self.world_size)[self.rank] for tensor in batch)
            else:
                yield batch
