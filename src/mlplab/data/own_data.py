"""Describes the user's own LightningDataModule in the same way as `DataModule`."""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from mlplab.errors import UserError
from mlplab.instantiation import explain_own_code
from mlplab.own_code import DATA_OPTIONS
from mlplab.randomness import derive_seed, seed_all
from mlplab.task import Task

PARTS = ("train", "val", "test")


class NoPreprocessing:
    """Represents in a card that the user's own code preprocesses the rows."""

    name = "own"

    def input_encoding(self) -> None:
        return None

    def n_numeric(self, n_features: int) -> int:
        return n_features

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name}


class OwnData:
    """Wraps the user's own LightningDataModule with the interface of `DataModule`, partly from its first batch.

    Its `setup` is called once for each stage, always with the same seed. So a random split in it is the same for
    training and test, and when the run resumes.

    Attributes:
        module: the user's.
        name: for people.
        origin: options, as plain values for a checkpoint.
    """

    description = reading = image_shape = None
    class_counts: tuple[float, ...] = ()

    def __init__(self, module: pl.LightningDataModule, options: Mapping[str, Any], seed: int) -> None:
        self.module, self.name = module, type(module).__name__
        self.origin = {"source": options["_target_"], "options": dict(options)}
        self.seed = seed
        self.preprocessor = NoPreprocessing()
        self.weights = dict.fromkeys(PARTS)
        setup, done = module.setup, set()

        @functools.wraps(setup)
        def once(stage: str) -> None:
            if stage not in done:
                done.add(stage)
                seed_all(derive_seed(seed, "data"))
                setup(stage)

        module.setup = once  # type: ignore[method-assign]

    def setup(self) -> None:
        """Prepares the training and the validation part."""
        seed_all(derive_seed(self.seed, "data"))
        with explain_own_code(f"data must be set up by {self.origin['source']} without an error"):
            self.module.prepare_data()
            self.module.setup("fit")

    @property
    def batch_size(self) -> Any:
        return getattr(self.module, "batch_size", 1)

    @functools.cached_property
    def n_rows(self) -> dict[str, int | None]:
        """Returns the number of rows of each part; None if its loader has no length, and for the test, set up later."""
        return {part: sized_len(getattr(self._loader(part), "dataset", None)) for part in ("train", "val")} | {
            "test": None
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Returns the module's own `fingerprint`, or a digest of its options and numbers of rows."""
        # Neither batches nor folds change the data; folds may have a row more or less.
        options = {name: value for name, value in self.origin["options"].items() if name not in DATA_OPTIONS}
        n_rows = None if self.origin["options"].get("folds") else self.n_rows
        described = json.dumps([self.origin["source"], options, n_rows], sort_keys=True, default=str)
        return str(getattr(self.module, "fingerprint", None) or hashlib.sha256(described.encode()).hexdigest()[:16])

    def has(self, part: str) -> bool:
        """Returns whether a part has a loader."""
        return bool(is_overridden(f"{part}_dataloader", self.module, pl.LightningDataModule))

    def _loader(self, part: str) -> Any:
        loader = getattr(self.module, f"{part}_dataloader")() if self.has(part) else None
        return loader[0] if isinstance(loader, list | tuple) else loader

    def as_dict(self) -> dict[str, Any]:
        """Returns source, options and fingerprint, as plain values for a checkpoint."""
        return {**self.origin, "fingerprint": self.fingerprint, "reading": None}

    @functools.cached_property
    def _first_batches(self) -> dict[str, Any]:
        with explain_own_code(f"data must be read by {self.origin['source']} without an error"):
            loaders = {name: self._loader(name) for name in ("train", "val")}
            return {name: next(iter(loader)) for name, loader in loaders.items() if loader is not None}

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Returns features and targets of the first batch of a part.

        Raises:
            UserError: batches have another form.
        """
        batch = self._first_batches.get(name, self._first_batches["train"])
        is_pair = isinstance(batch, list | tuple) and len(batch) in (2, 3)
        if not is_pair or not all(isinstance(one, Tensor) and one.ndim for one in batch):
            raise UserError(
                "batches must be pairs of tensors, features and targets, for the project's own learner",
                f"{self.name} gives {type(batch).__name__}", "module=…, a LightningModule of one's own",
            )  # fmt: skip
        return batch[0], batch[1]

    @property
    def n_features(self) -> int:
        """Returns the number of values of a row, of any shape."""
        batch = self._first_batches["train"]
        features = batch[0] if isinstance(batch, list | tuple) else batch
        if not isinstance(features, Tensor):
            raise UserError(
                "in_features must follow from the data", f"the batches of {self.name} do not begin with a tensor",
                "in_features in conf/module",
            )  # fmt: skip
        return features[0].numel()

    @functools.cached_property
    def task(self) -> Task:
        """Returns the task: regression for floating-point targets (B, T), classification for integers (B,).

        Raises:
            UserError: the targets have another form, or the module does not name its classes.
        """
        targets, n_features = self.part("train")[1], self.n_features
        if targets.is_floating_point():
            if targets.ndim != 2:
                raise UserError(
                    "floating-point targets must have shape (B, T), as the network's outputs have",
                    f"{self.name} gives {tuple(targets.shape)}", "targets.unsqueeze(1)",
                )  # fmt: skip
            width = targets.shape[1]
            if width == 1:
                return Task("regression", n_features)
            targets_of = tuple(f"target_{place}" for place in range(width))
            return Task(
                "regression", n_features, target_names=targets_of, unit=("",) * width, target_mean=(0.0,) * width,
                target_std=(1.0,) * width,
            )  # fmt: skip
        names: Any = getattr(self.module, "class_names", None)
        number: Any = getattr(self.module, "num_classes", None)
        if targets.ndim != 1 or not (names or number):
            raise UserError(
                "a LightningDataModule must have class_names or num_classes for the project's own learner",
                f"{self.name} has neither", f"self.num_classes = {int(targets.max()) + 1} in its __init__",
            )  # fmt: skip
        return Task("classification", n_features, class_names=tuple(map(str, names or range(number))))
