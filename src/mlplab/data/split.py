"""Which row goes to which part."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlplab.data.dataset import Dataset
from mlplab.errors import Refusal

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each ascending; every row is in exactly one."""

    train: Rows
    val: Rows
    test: Rows


def split_rows(dataset: Dataset, *, validation_fraction: float, test_fraction: float, seed: int) -> Split:
    """A random split, for classification with the class shares kept in every part.

    Raises:
        Refusal: a part would be empty, or a class has too few rows to be in each part.
    """
    from sklearn.model_selection import train_test_split  # takes a second to import

    n_rows = len(dataset.targets)
    n_test, n_val = round(test_fraction * n_rows), round(validation_fraction * n_rows)
    n_train = n_rows - n_test - n_val
    least = 1 if dataset.class_names else 2  # r2 wants to see the target vary
    if min(n_train, n_val, n_test) < least:
        raise Refusal(
            f"the training, validation and test part must each have {'a row' if least == 1 else 'two rows'}",
            f"{n_train}, {n_val} and {n_test} of {n_rows} rows",
            "data.validation_fraction=0.15 data.test_fraction=0.15, on more rows",
        )
    rows = np.arange(n_rows)
    labels = dataset.targets if dataset.class_names else None
    if labels is not None:
        _require_rows_of_each_class(dataset, min(n_train, n_val, n_test))
    try:
        rest, test = train_test_split(rows, test_size=n_test, random_state=seed, stratify=labels)
        train, val = train_test_split(
            rest, test_size=n_val, random_state=seed, stratify=None if labels is None else labels[rest]
        )
    except ValueError:  # the test part has left a class a single row
        raise _too_rare(dataset) from None
    split = Split(np.sort(train), np.sort(val), np.sort(test))
    if labels is not None:
        for part in (split.train, split.val, split.test):
            if len(np.unique(labels[part])) < len(dataset.class_names):
                raise _too_rare(dataset)
    return split


def _class_counts(dataset: Dataset) -> Rows:
    return np.bincount(dataset.targets.astype(np.int64), minlength=len(dataset.class_names))


def _too_rare(dataset: Dataset) -> Refusal:
    counts = _class_counts(dataset)
    rarest = int(counts.argmin())
    return Refusal(
        "every class must have enough rows for its share of each part to be a row",
        f"class {dataset.class_names[rarest]!r} has {counts[rarest]} of {counts.sum()}",
        "larger data.validation_fraction and data.test_fraction, leaving that class out, or more rows",
    )


def _require_rows_of_each_class(dataset: Dataset, smallest_part: int) -> None:
    counts = _class_counts(dataset)
    rarest = int(counts.argmin())
    if counts[rarest] < 3:
        raise Refusal(
            "every class must have at least 3 rows, one for each part",
            f"class {dataset.class_names[rarest]!r} has {counts[rarest]}",
            "leaving that class out, or more rows",
        )
    if smallest_part < len(counts):
        raise Refusal(
            f"every part must have room for each of the {len(counts)} classes",
            f"the smallest part has {smallest_part} rows",
            "larger data.validation_fraction and data.test_fraction, or more rows",
        )
