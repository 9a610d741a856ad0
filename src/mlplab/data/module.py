"""The LightningDataModule: reads and splits a data set, and serves mini-batches."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlplab.data.batches import Batches
from mlplab.data.preprocessing import Preprocessing
from mlplab.data.split import Rows, Split, Splittable, split_fold, split_rows
from mlplab.data.threads import for_each
from mlplab.errors import UserError
from mlplab.randomness import batch_order
from mlplab.task import Task

EVALUATION_BATCH_ROWS = 2048
"""Rows per batch in validation and test, where the size only affects speed and memory.

The hidden activations of a few thousand rows fit into the CPU caches.
"""

BLOCK_ROWS = 1 << 14
"""Rows to preprocess at once, to keep the intermediate values of a large table small."""


PART_NAMES = {"train": "training", "val": "validation", "test": "test"}


class Source(Splittable, Protocol):
    """Interface of data sets: arrays and tables."""

    # The members that the DataModule uses; `Dataset` and the tables have them without inheriting from here.
    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def kind(self) -> Literal["classification", "regression", "multilabel"]: ...
    @property
    def target_name(self) -> str: ...
    @property
    def unit(self) -> str | tuple[str, ...]: ...
    @property
    def target_names(self) -> tuple[str, ...]:
        """Returns the names of several targets, each a column of `targets`; empty for one target."""

    @property
    def label_names(self) -> tuple[tuple[str, ...], ...]:
        """Returns the names of false and true for each of several labels; empty for other targets."""

    @property
    def weights(self) -> npt.NDArray[np.float64] | None:
        """Returns the weight of each row (N,), finite and not negative; None where rows have none."""

    def fit(self, rows: Rows) -> Preprocessing:
        """Fits the preprocessing on these rows alone."""

    def inputs(self, rows: Rows, preprocessing: Any) -> tuple[Tensor, ...]:
        """Returns these rows as inputs of the preprocessing. Called from several threads at once."""

    def names_after(self, preprocessing: Any) -> tuple[str, ...]:
        """Returns the names of the preprocessed features; empty if they have none."""

    @property
    def reading(self) -> dict[str, Any] | None:
        """Returns how a table was read, as plain values; None for arrays."""

    def without_classes(self, classes: tuple[int, ...]) -> "Source":
        """Returns the data without the rows of some classes. Only called if `split_rules` says drop."""

    def describe(self, split: Split, preprocessing: Any) -> Any:
        """Describes the columns of a table and their preprocessing; None for arrays."""


class DataModule(pl.LightningDataModule):
    """Splits a data set, fits the preprocessing on the training part, and serves mini-batches.

    All rows are read and transformed once, into tensors that stay in memory.

    Attributes:
        origin: options of source and split, as plain values for a checkpoint.
        reading: how a table was read; None for arrays.
        description: of a table; None for arrays.
        image_shape: height and width of images; None for other data.
        truth: the noise-free target of synthetic data; None for other data.
        weights: part → weights of its rows (n,) float32, of mean 1 over the training part; None where all are equal.

    Args:
        source: returns the data set.
        batch_size: rows per update, over all processes; "full" takes the whole training part (batch gradient
            descent), 1 a single row (stochastic gradient descent).
        validation_fraction: share of all rows for validation.
        test_fraction: share of all rows for the test; 0 leaves that part empty.
        split_seed: of the random split.
        folds, fold: number of folds of a cross-validation, and which of them is the test part, from 0; None for a
            single split.
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
        folds: int | None = None,
        fold: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed, self.seed = split_seed, seed
        self.folds, self.fold = folds, fold
        self.origin: dict[str, Any] = {}
        self.reading: dict[str, Any] | None = None
        self.description: Any = None
        self.image_shape: tuple[int, int] | None = None
        self.truth: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}
        self.weights: dict[str, Tensor | None] = {}

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
        # A table has no such attributes.
        self.image_shape, self.truth = getattr(dataset, "image_shape", None), getattr(dataset, "truth", None)
        # By the training rows alone; the other parts are transformed with these statistics.
        self.preprocessor = dataset.fit(split.train)
        targets = self._scaled_targets(dataset, split.train)
        # Now, as the data set is not kept: training needs only the tensors below.
        self.reading, self.description = dataset.reading, dataset.describe(split, self.preprocessor)
        for part in ("train", "val", "test"):
            rows = getattr(split, part)
            self._parts[part] = (_features(dataset, rows, self.preprocessor), targets[torch.from_numpy(rows)])
            self.weights[part] = _weights(dataset, part, split)
        self.task = Task(
            kind=dataset.kind,
            n_features=self._parts["train"][0].shape[1],
            feature_names=dataset.names_after(self.preprocessor),
            class_names=dataset.class_names,
            target_name=dataset.target_name,
            unit=dataset.unit,
            target_mean=self._target_mean,
            target_std=self._target_std,
            target_names=dataset.target_names,
            label_names=dataset.label_names,
        )

    def read(self) -> tuple[Source, Split]:
        """Reads the data set, and splits its rows.

        Raises:
            UserError: it cannot be read or split.
        """
        dataset = self.source()
        while True:
            split = self._split(dataset)
            if not split.rare or dataset.split_rules.rare_classes != "drop":
                return dataset, split
            # With fewer rows, the shares may be too small for further classes.
            dataset = dataset.without_classes(split.rare)

    def _split(self, dataset: Source) -> Split:
        if self.folds is not None and self.fold is not None:
            return split_fold(
                dataset, self.fold, self.folds, validation_fraction=self.validation_fraction, seed=self.split_seed
            )
        return split_rows(
            dataset,
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
            seed=self.split_seed,
        )

    def _scaled_targets(self, dataset: Source, train_rows: Rows) -> Tensor:
        """Returns class indices (N,) int64; values (N, T) float32, standardised by the training rows; or labels."""
        # Classification is not scaled: mean 0 and std 1 leave a value as it is.
        self._target_mean: float | tuple[float, ...] = 0.0
        self._target_std: float | tuple[float, ...] = 1.0
        if dataset.kind == "classification":
            return torch.from_numpy(dataset.targets.astype(np.int64))
        if dataset.kind == "multilabel":
            return torch.from_numpy(dataset.targets.astype(np.float32))
        values = dataset.targets.astype(np.float64)
        # In float64, as the standard deviation of large values loses its digits in float32. Each target separately.
        mean, std = values[train_rows].mean(axis=0), values[train_rows].std(axis=0)
        if (std <= 1e-12 * abs(mean)).any():
            # By rounding, a constant target may have a std of 1e-16 of its size; relative to its first value, it is 0.
            first = values[train_rows][0]
            mean, std = first + (values[train_rows] - first).mean(axis=0), (values[train_rows] - first).std(axis=0)
        constant = np.flatnonzero(std == 0)
        if len(constant):
            which = f"the target {dataset.target_names[constant[0]]!r}" if dataset.target_names else "the target"
            raise UserError(
                f"{dataset.name}: {which} must vary",
                f"it is {mean.flat[constant[0]]:g} in every training row",
                "another target",
            )
        if dataset.target_names:
            self._target_mean, self._target_std = tuple(mean.tolist()), tuple(std.tolist())
        else:
            self._target_mean, self._target_std = float(mean), float(std)
        return torch.from_numpy((values - mean) / std).to(torch.float32).reshape(len(values), -1)

    @property
    def module(self) -> pl.LightningDataModule:
        """Returns the data module for the Trainer, here this object; that of `OwnData` is the user's."""
        return self

    @property
    def n_features(self) -> int:
        return self.task.n_features

    @property
    def n_rows(self) -> dict[str, int]:
        """Returns the number of rows of each part."""
        return {part: len(targets) for part, (_, targets) in self._parts.items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns source, split, fingerprint and reading of the data, as plain values for a checkpoint."""
        return {**self.origin, "fingerprint": self.fingerprint, "reading": self.reading}

    def part(self, name: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
        """Returns the preprocessed features (N, F) and targets of a part, without copying them."""
        return self._parts[name]

    @property
    def class_counts(self) -> list[float]:
        """Counts the training rows of each class, or adds up their weights; empty for other tasks."""
        if self.task.kind != "classification":
            return []
        # `minlength` counts the classes without a training row, too.
        return torch.bincount(self._parts["train"][1], self.weights["train"], self.task.n_classes).tolist()

    def train_dataloader(self) -> Batches:
        trainer = self.trainer
        n_rows = len(self._parts["train"][1])

        def order() -> Tensor:
            # Evaluated when an epoch begins, as each epoch has its own order.
            return batch_order(n_rows, self.seed, trainer.current_epoch if trainer else 0)

        # With overfit_batches, every epoch has the same few batches.
        shuffled = trainer is None or not trainer.overfit_batches  # type: ignore[attr-defined]
        # Over all processes, so that "full" is batch gradient descent on any number of them.
        size = n_rows if self.batch_size == "full" else self.batch_size
        return self._batches("train", size, order if shuffled else None)

    def val_dataloader(self) -> Batches:
        return self._batches("val", EVALUATION_BATCH_ROWS)

    def test_dataloader(self) -> Batches:
        return self._batches("test", EVALUATION_BATCH_ROWS)

    def predict_dataloader(self) -> Batches:
        return self.test_dataloader()

    def _batches(self, part: str, size: int, order: Callable[[], Tensor] | None = None) -> Batches:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        weights = self.weights[part]
        return Batches(
            *self._parts[part], batch_size=size, weights=weights, order=order, rank=rank, world_size=world_size
        )


class ExpandedDataModule(DataModule):
    """Serves batches to the user's own LightningModule, expanded by an input layer without parameters.

    Attributes:
        inputs: the input layer.
    """

    inputs: nn.Module

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        features, *others = batch
        return (self.inputs.to(features.device)(features), *others)


def _weights(dataset: Source, part: str, split: Split) -> Tensor | None:
    """Returns the weights of a part (n,), divided by the training part's mean; None if all are equal.

    With a mean of 1, the loss has the same scale as without weights, and so have learning rate and penalties.

    Raises:
        UserError: every weight of the part is 0.
    """
    if dataset.weights is None:
        return None
    weights = dataset.weights[getattr(split, part)]
    if not len(weights):  # an empty test part
        return None
    if weights.max() == 0:
        raise UserError(
            f"{dataset.name}: a row of the {PART_NAMES[part]} part must have a weight above 0",
            f"{'the only one has' if len(weights) == 1 else f'all {len(weights):,} have'} 0",
            "other weights, or other parts",
        )
    # Equal weights are dropped, so that training has the same bits and speed as without weights.
    if weights.min() == weights.max():
        return None
    return torch.from_numpy(weights / dataset.weights[split.train].mean()).to(torch.float32)


def _features(dataset: Source, rows: Rows, preprocessing: Preprocessing) -> Tensor:
    """Preprocesses rows in blocks, into one tensor (n, F)."""

    def block(begin: int) -> Tensor:
        found: Tensor = preprocessing(*dataset.inputs(rows[begin : begin + BLOCK_ROWS], preprocessing))
        return found

    # The first block determines width and dtype.
    first = block(0)
    if len(first) == len(rows):
        return first
    features = first.new_empty((len(rows), first.shape[1]))
    features[: len(first)] = first

    def fill(begin: int) -> None:
        # Blocks write to separate rows, so the threads need no lock.
        features[begin : begin + BLOCK_ROWS] = block(begin)

    # One thread per block: several would wait for each other.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for_each(range(BLOCK_ROWS, len(rows), BLOCK_ROWS), fill)
    finally:
        torch.set_num_threads(n_threads)
    return features
