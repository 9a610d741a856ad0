"""Serves the mini-batches of a stack: each member gets the same ones as alone."""

from collections.abc import Iterator, Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor

from mlplab.data.module import EVALUATION_BATCH_ROWS, DataModule
from mlplab.randomness import batch_order

EVALUATION_ROWS = 1 << 15
"""Rows per batch in validation, over all members."""


class StackedData(pl.LightningDataModule):
    """The data of several members, stored once for all members with the same split.

    Args:
        members: the data of each, of the same sizes.
    """

    def __init__(self, members: Sequence[DataModule]) -> None:
        super().__init__()
        self.members = list(members)
        self._batches: StackedBatches | None = None

    def train_dataloader(self) -> "StackedBatches":
        size = self.members[0].batch_size
        n_rows = len(self.members[0].part("train")[1])
        self._batches = StackedBatches(self, n_rows if size == "full" else size)
        return self._batches

    def val_dataloader(self) -> "StackedParts":
        return StackedParts(self)

    def epoch(self) -> int:
        """Returns the epoch that is about to begin."""
        return self.trainer.current_epoch if self.trainer is not None else 0

    def of_parts(self, name: str) -> tuple[list[tuple[Tensor, Tensor]], list[int]]:
        """Returns the distinct parts of a name, and the index of each member's part."""
        parts: dict[int, tuple[Tensor, Tensor]] = {}
        of_member = []
        for data in self.members:
            part = data.part(name)  # type: ignore[arg-type]
            # By identity: copies of a data module share their tensors.
            parts.setdefault(id(part[0]), part)
            of_member.append(list(parts).index(id(part[0])))
        return list(parts.values()), of_member

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these members, also within an epoch."""
        self.members = [self.members[row] for row in rows]
        if self._batches is not None:
            self._batches.select(rows)


class StackedBatches:
    """Yields (features (K, B, F), targets (K, B) or (K, B, T)); or the whole shared part, if it is one batch.

    Attributes:
        first_batch: index of the first batch of the next epoch; later epochs begin at 0.
    """

    def __init__(self, data: StackedData, batch_size: int) -> None:
        self.data, self.batch_size, self.first_batch = data, batch_size, 0
        parts, _ = data.of_parts("train")
        self.n_rows = len(parts[0][1])
        self._order = torch.empty(0, dtype=torch.int64)
        # Different splits are concatenated; a member's indices are shifted to its own split.
        self._features, self._targets = (
            parts[0] if len(parts) == 1 else (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
        )

    def __len__(self) -> int:
        # Rounded up: the last batch may be smaller.
        return -(-self.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self.first_batch = self.first_batch, 0
        _, of_member = self.data.of_parts("train")
        epoch = self.data.epoch()
        if self.batch_size >= self.n_rows:  # the order within a batch only affects rounding
            begin = torch.tensor(of_member)[:, None] * self.n_rows
            self._order = begin + torch.arange(self.n_rows)
        else:
            self._order = torch.stack(
                [
                    # The member's own order, shifted to its split.
                    batch_order(self.n_rows, data.seed, epoch) + part * self.n_rows
                    for data, part in zip(self.data.members, of_member, strict=True)
                ]
            )
        for begin_of_batch in range(first * self.batch_size, self.n_rows, self.batch_size):
            yield self._batch(begin_of_batch)

    def _batch(self, begin: int) -> tuple[Tensor, Tensor]:
        rows = self._order[:, begin : begin + self.batch_size]
        # A single batch that all share is passed on without a copy.
        if self.batch_size >= self.n_rows and len(self._targets) == self.n_rows:
            return self._features, self._targets
        flat = rows.reshape(-1)
        features, targets = (part.index_select(0, flat) for part in (self._features, self._targets))
        return features.view(*rows.shape, -1), targets.view(*rows.shape, *targets.shape[1:])

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these members."""
        if len(self._order):
            self._order = self._order[list(rows)]


class StackedParts:
    """Yields the validation parts in order: features (B, F), or (K, B, F) if members split differently, and targets."""

    def __init__(self, data: StackedData) -> None:
        self.data = data
        # All members are validated at once, so they share the rows of a batch.
        self.batch_size = max(1, min(EVALUATION_BATCH_ROWS, EVALUATION_ROWS // len(data.members)))
        self.n_rows = len(data.members[0].part("val")[1])

    def __len__(self) -> int:
        return -(-self.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts, of_member = self.data.of_parts("val")
        size = self.batch_size
        for begin in range(0, self.n_rows, size):
            blocks = [(features[begin : begin + size], targets[begin : begin + size]) for features, targets in parts]
            if len(blocks) == 1:
                yield blocks[0]
            else:
                yield (
                    torch.stack([blocks[part][0] for part in of_member]),
                    torch.stack([blocks[part][1] for part in of_member]),
                )
