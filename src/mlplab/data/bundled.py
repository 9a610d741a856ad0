"""Loads real data sets that come with scikit-learn or this package, without a download."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlplab.data.dataset import Dataset
from mlplab.errors import UserError

TARGETS = {
    "digits": "digit",
    "breast_cancer": "diagnosis",
    "wine": "cultivar",
    "iris": "species",
    "diabetes": "disease progression",
}
"""Name of a data set → its target."""


def bundled(name: str) -> Dataset:
    """Loads one of `TARGETS`.

    | name | rows | features | target |
    |---|---|---|---|
    | digits | 1797 | 64 pixels, 0 to 16 | 10 digits |
    | breast_cancer | 569 | 30 | malignant or benign |
    | wine | 178 | 13 | 3 cultivars |
    | iris | 150 | 4 | 3 species |
    | diabetes | 442 | 10, as measured | disease progression after a year |

    Raises:
        UserError: the name is unknown.
    """
    if name not in TARGETS:
        raise UserError(f"data.name must be one of {', '.join(TARGETS)}", f"data.name={name!r}", "data=digits")
    dataset = _read(name)
    # Copies, as all later jobs of this process share the cached arrays.
    return replace(dataset, features=dataset.features.copy(), targets=dataset.targets.copy())


@functools.cache
def _read(name: str) -> Dataset:
    """Reads a data set once per process, as reading takes longer than an epoch of a sweep's job."""
    if name == "digits":
        return _digits()
    from sklearn import datasets  # takes a second to import

    # scikit-learn's default scales by statistics of all rows, including the test part.
    bunch = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    # Regression data have no class names; those of iris and wine are NumPy strings, not plain text for a checkpoint.
    class_names = tuple(str(label) for label in getattr(bunch, "target_names", ()))
    return Dataset(
        name=name,
        features=bunch.data,
        targets=bunch.target.astype(np.int64) if class_names else bunch.target,
        feature_names=tuple(str(feature) for feature in bunch.feature_names),
        class_names=class_names,
        target_name=TARGETS[name],
    )


def _digits() -> Dataset:
    """Reads digits from this folder, as importing scikit-learn takes a second.

    Source: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI Machine
    Learning Repository, CC BY 4.0). `sklearn.datasets.load_digits` returns the same.
    """
    values = np.loadtxt(Path(__file__).parent / "digits.csv.gz", delimiter=",")
    return Dataset(
        name="digits",
        features=values[:, :-1],
        targets=values[:, -1].astype(np.int64),
        # The names that scikit-learn has for them.
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        class_names=tuple(str(digit) for digit in range(10)),
        target_name=TARGETS["digits"],
        image_shape=(8, 8),
    )
