"""The LightningDataModule: reads and splits a data set, and serves mini-batches."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from mlplab.data.batches import Batches
from mlplab.data.preprocessing import Preprocessing
from mlplab.data.split import Rows, Split, Splittable, split_rows
from mlplab.data.threads import for_each
from mlplab.errors import UserError
from mlplab.randomness import batch_order
from mlplab.task import Task

EVALUATION_BATCH_ROWS = 2048
"""Rows per batch in validation and test, where the size affects speed and memory only.

The hidden activations of a few thousand rows fit into the CPU caches.
"""

BLOCK_ROWS = 1 << 14
"""Rows to preprocess at once, which keeps the intermediate values of a large table small."""


class Source(Splittable, Protocol):
    """Interface of data sets, of arrays and of tables."""

    # The members that the DataModule uses; `Dataset` and the tables have them without inheriting from here.
    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def target_name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    def fit(self, rows: Rows) -> Preprocessing:
        """Fits the preprocessing on these rows alone."""

    def inputs(self, rows: Rows, preprocessing: Any) -> tuple[Tensor, ...]:
        """Returns these rows as inputs of the preprocessing. Called from several threads at once."""

    def names_after(self, preprocessing: Any) -> tuple[str, ...]:
        """Returns the names of the preprocessed features; empty if they have none."""

    @property
    def reading(self) -> dict[str, Any] | None:
        """Returns how a table was read, as plain values; None for arrays."""

    def describe(self, split: Split, preprocessing: Any) -> Any:
        """Describes the columns of a table and their preprocessing; None for arrays."""


class DataModule(pl.LightningDataModule):
    """Splits a data set, fits the preprocessing on the training part, and serves mini-batches.

    All rows are read and transformed once, into tensors that stay in memory.

    Attributes:
        origin: options of source and split, as plain values for a checkpoint.
        reading: how a table was read; None for arrays.
        description: of a table; None for arrays.

    Args:
        source: returns the data set.
        batch_size: rows per update, over all processes; "full" takes the whole training part (batch gradient
            descent), 1 a single row (stochastic gradient descent).
        validation_fraction: share of all rows for validation.
        test_fraction: share of all rows for the test.
        split_seed: of the random split.
        seed: of the order of the training rows, together with the epoch.
    """

    def __init__(
        self,
        source: Callable[[], Source],
        *,
        batch_size: int | Literal["full"] = 32,
        validation_fraction: float = 0.15,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed, self.seed = split_seed, seed
        self.origin: dict[str, Any] = {}
        self.reading: dict[str, Any] | None = None
        self.description: Any = None
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits and transforms the data set on the first call.

        Raises:
            UserError: the data cannot be split or learned from.
        """
        # Lightning calls `setup` again for every stage; reading once is enough.
        if self._parts:
            return
        dataset, split = self.read()
        self.name, self.fingerprint = dataset.name, dataset.fingerprint
        # By the training rows alone; the other parts are transformed with these statistics.
        self.preprocessor = dataset.fit(split.train)
        targets = self._scaled_targets(dataset, split.train)
        # Now, as the data set is not kept: the tensors below hold all that training needs.
        self.reading, self.description = dataset.reading, dataset.describe(split, self.preprocessor)
        for part in ("train", "val", "test"):
            rows = getattr(split, part)
            self._parts[part] = (_features(dataset, rows, self.preprocessor), targets[torch.from_numpy(rows)])
        self.task = Task(
            kind="classification" if dataset.class_names else "regression",
            n_features=self._parts["train"][0].shape[1],
            feature_names=dataset.names_after(self.preprocessor),
            class_names=dataset.class_names,
            target_name=dataset.target_name,
            unit=dataset.unit,
            target_mean=self._target_mean,
            target_std=self._target_std,
        )

    def read(self) -> tuple[Source, Split]:
        """Reads the data set, and splits its rows.

        Raises:
            UserError: it cannot be read or split.
        """
        dataset = self.source()
        split = split_rows(
            dataset,
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
            seed=self.split_seed,
        )
        return dataset, split

    def _scaled_targets(self, dataset: Source, train_rows: Rows) -> Tensor:
        """Returns class indices (N,) int64, or values (N, 1) float32, standardised by the training rows."""
        # Classification needs no scaling back: mean 0 and std 1 leave a value as it is.
        self._target_mean, self._target_std = 0.0, 1.0
        if dataset.class_names:
            return torch.from_numpy(dataset.targets.astype(np.int64))
        values = dataset.targets.astype(np.float64)
        # In float64: the standard deviation of large values loses its digits in float32.
        mean, std = float(values[train_rows].mean()), float(values[train_rows].std())
        if std <= 1e-12 * abs(mean):
            # Rounding leaves a constant target with a std near 1e-16 of its size; from its first value on, with none.
            differences = values[train_rows] - values[train_rows][0]
            mean, std = float(values[train_rows][0] + differences.mean()), float(differences.std())
        if std == 0:
            raise UserError(
                f"{dataset.name}: the target must vary",
                f"it is {mean:g} in every training row",
                "another target",
            )
        self._target_mean, self._target_std = mean, std
        return torch.from_numpy((values - mean) / std).to(torch.float32).unsqueeze(1)

    def as_dict(self) -> dict[str, Any]:
        """Returns source, split, fingerprint and reading of the data, as plain values for a checkpoint."""
        return {**self.origin, "fingerprint": self.fingerprint, "reading": self.reading}

    def part(self, name: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
        """Returns the preprocessed features (N, F) and targets of a part; not copies."""
        return self._parts[name]

    @property
    def class_counts(self) -> list[int]:
        """Counts the training rows of each class; empty for regression."""
        if self.task.kind == "regression":
            return []
        # `minlength` counts the classes without a training row, too.
        return torch.bincount(self._parts["train"][1], minlength=self.task.n_classes).tolist()

    def train_dataloader(self) -> Batches:
        features, targets = self._parts["train"]
        trainer = self.trainer
        n_rows = len(targets)

        def order() -> Tensor:
            # Read when an epoch begins: the epoch is the only thing that changes from one order to the next.
            return batch_order(n_rows, self.seed, trainer.current_epoch if trainer else 0)

        # overfit_batches means the same few batches in every epoch.
        shuffled = trainer is None or not trainer.overfit_batches  # type: ignore[attr-defined]
        # Over all processes, so that "full" is batch gradient descent on any number of them.
        size = n_rows if self.batch_size == "full" else self.batch_size
        return self._batches(features, targets, size, order if shuffled else None)

    def val_dataloader(self) -> Batches:
        return self._batches(*self._parts["val"], EVALUATION_BATCH_ROWS)

    def test_dataloader(self) -> Batches:
        return self._batches(*self._parts["test"], EVALUATION_BATCH_ROWS)

    def predict_dataloader(self) -> Batches:
        return self.test_dataloader()

    def _batches(
        self, features: Tensor, targets: Tensor, size: int, order: Callable[[], Tensor] | None = None
    ) -> Batches:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        return Batches(features, targets, batch_size=size, order=order, rank=rank, world_size=world_size)


def _features(dataset: Source, rows: Rows, preprocessing: Preprocessing) -> Tensor:
    """Preprocesses rows in blocks, into one tensor (n, F)."""

    def block(begin: int) -> Tensor:
        found: Tensor = preprocessing(*dataset.inputs(rows[begin : begin + BLOCK_ROWS], preprocessing))
        return found

    # The first block shows the width and the dtype of all of them.
    first = block(0)
    if len(first) == len(rows):
        return first
    features = first.new_empty((len(rows), first.shape[1]))
    features[: len(first)] = first

    def fill(begin: int) -> None:
        # Blocks write into separate rows, so the threads need no lock.
        features[begin : begin + BLOCK_ROWS] = block(begin)

    # Blocks run in parallel, each in one thread: several threads per block would wait for each other.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for_each(range(BLOCK_ROWS, len(rows), BLOCK_ROWS), fill)
    finally:
        torch.set_num_threads(n_threads)
    return features
