"""A data set of NumPy arrays: the form of all sources except tables."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlplab.data.preprocessing import Preprocessing, ScalePixels, Standardize
from mlplab.data.split import Rows, Split, SplitRules
from mlplab.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """Rows of features, each with a target.

    Attributes:
        name: for people.
        features: (N, F) floating point, finite; or uint8, the grey values of pixels.
        targets: (N,): int64 class indices below C, or floating-point values for regression; of several targets (N, T)
            values, or labels that are 0 or 1.
        feature_names: F names.
        class_names: C names; empty for regression and labels.
        target_name: name of the target, or of all of them.
        unit: of the target, as text; of several targets a tuple.
        split_rules: constraints of the data on their split.
        weights: (N,) of the rows, finite and not negative; None where they have none.
        image_shape: height and width of images, with pixels row by row as features; None for other data.
        target_names: names of several targets, at least two; empty for one target.
        label_names: for each of several labels the names of false and true; empty for other targets.
        truth: noise-free targets as a function of features: (M, F) -> (M,); None if unknown.
    """

    name: str
    features: npt.NDArray[np.floating]
    targets: npt.NDArray[np.generic]
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target_name: str = "target"
    unit: str | tuple[str, ...] = ""
    split_rules: SplitRules = field(default_factory=SplitRules)
    weights: npt.NDArray[np.float64] | None = None
    image_shape: tuple[int, int] | None = None
    target_names: tuple[str, ...] = ()
    label_names: tuple[tuple[str, ...], ...] = ()
    truth: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None

    def __post_init__(self) -> None:
        """Checks shapes, dtypes and values.

        Raises:
            UserError: the shapes do not match, a value is not finite, or a target is no class index.
        """
        # Types come first, as the checks below compute with the values.
        for role, array in (("features", self.features), ("targets", self.targets)):
            if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
                kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise UserError(
                    f"{self.name}: {role} must be a NumPy array of numbers",
                    f"{kind}",
                    "np.asarray(…), with classes numbered from 0",
                )
        of_row = (len(self.target_names),) if self.target_names else ()
        if self.features.ndim != 2 or self.targets.shape != (len(self.features), *of_row):
            raise UserError(
                f"{self.name}: features must have shape (N, F) and targets {f'(N, {of_row[0]})' if of_row else '(N,)'}",
                f"they have {self.features.shape} and {self.targets.shape}",
                "targets for each row of features",
            )
        if len(self.targets) == 0:
            raise UserError(f"{self.name}: there must be at least one row", "there is none", "another source")
        if self.features.shape[1] == 0 or len(self.feature_names) not in (0, self.features.shape[1]):
            raise UserError(
                f"{self.name}: there must be at least one feature, and a name for each or for none",
                f"there are {self.features.shape[1]} features and {len(self.feature_names)} names",
                "feature_names=()",
            )
        # With one class there is nothing to learn.
        if len(self.class_names) == 1:
            raise UserError(f"{self.name}: there must be at least two classes", f"{self.class_names}", "another target")
        # A single NaN makes every weight NaN in the first step.
        if not np.isfinite(self.features).all():
            row = int(np.argwhere(~np.isfinite(self.features))[0][0])
            raise UserError(
                f"{self.name}: every feature must be a finite number",
                f"row {row} has NaN or infinity",
                "imputing it, or leaving the row out",
            )
        if self.class_names:
            # Floating-point labels may be scores, so they are refused rather than rounded.
            fits = np.issubdtype(self.targets.dtype, np.integer)
            if not fits or self.targets.min() < 0 or self.targets.max() >= len(self.class_names):
                raise UserError(
                    f"{self.name}: targets must be class indices below {len(self.class_names)}",
                    f"they are {self.targets.dtype} from {self.targets.min()} to {self.targets.max()}",
                    "numbering the classes from 0",
                )
        elif self.label_names and not np.isin(self.targets, (0, 1)).all():
            raise UserError(f"{self.name}: every label must be 0 or 1", "others are not", "class_names, for one target")
        elif not np.isfinite(self.targets.astype(np.float64)).all():
            raise UserError(
                f"{self.name}: every target must be a finite number", "one is NaN or infinite", "leaving the row out"
            )
        if self.weights is not None:
            is_weight = np.isfinite(self.weights) & (self.weights >= 0)
            if self.weights.shape != (len(self.targets),) or not is_weight.all():
                raise UserError(
                    f"{self.name}: weights must have shape (N,), each a finite number of 0 or more",
                    f"they have {self.weights.shape}, and {int((~is_weight).sum())} are none",
                    "weights=None",
                )

    @property
    def kind(self) -> Literal["classification", "regression", "multilabel"]:
        if self.label_names:
            return "multilabel"
        return "classification" if self.class_names else "regression"

    @property
    def fingerprint(self) -> str:
        """Returns the SHA-256 over the arrays, which depends on the data but not on their source."""
        digest = hashlib.sha256()
        for array in (self.features, self.targets, *([] if self.weights is None else [self.weights])):
            # The same bytes in another shape are other data.
            digest.update(str((array.dtype.str, array.shape)).encode())
            # `hashlib` needs contiguous memory, which a slice may not have.
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def fit(self, rows: Rows) -> Preprocessing:
        """Fits the preprocessing on these rows alone."""
        # These rows alone: statistics of the other parts would leak into training.
        features = self._tensor(rows)
        # Bytes are grey values; standardising them here would take four times the memory.
        return (ScalePixels if features.dtype == torch.uint8 else Standardize).fit(features)

    def inputs(self, rows: Rows, preprocessing: Preprocessing) -> tuple[Tensor, ...]:
        """Returns these rows as inputs of the preprocessing: features (n, F)."""
        return (self._tensor(rows),)

    def _tensor(self, rows: Rows) -> Tensor:
        """Copies rows into a tensor, from an array of any layout and byte order."""
        features = self.features[rows]
        # PyTorch takes neither negative strides nor the other byte order.
        return torch.from_numpy(np.ascontiguousarray(features, dtype=features.dtype.newbyteorder("=")))

    def names_after(self, preprocessing: Preprocessing) -> tuple[str, ...]:
        """Returns the names of the preprocessed features, here those of the features."""
        return self.feature_names

    @property
    def reading(self) -> None:
        """Returns None, as arrays are not read from a file."""
        return None

    def without_classes(self, classes: tuple[int, ...]) -> "Dataset":
        """Drops the rows of some classes; renumbers the others in order."""
        kept = ~np.isin(self.targets, classes)
        left = [number for number in range(len(self.class_names)) if number not in classes]
        return replace(
            self,
            features=self.features[kept],
            targets=np.searchsorted(left, self.targets[kept]).astype(np.int64),
            class_names=tuple(self.class_names[number] for number in left),
            weights=None if self.weights is None else self.weights[kept],
            split_rules=self.split_rules.of_rows(kept),
        )

    def describe(self, split: Split, preprocessing: Preprocessing) -> None:
        """Returns None, as only tables are described."""
        return
