"""Reads NumPy arrays from an .npz file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.config.suggestions import nearest_name
from mlplab.data.dataset import Dataset
from mlplab.data.split import SplitRules
from mlplab.errors import UserError, described

NAMES = ("features", "targets", "weights", "feature_names", "class_names", "target_names")
"""Names of the arrays; the first two must be there."""


def arrays(path: str, task: str = "auto") -> Dataset:
    """Reads a file that `numpy.savez(path, features=…, targets=…)` wrote.

    `features` are (N, F) numbers; uint8 means grey values of pixels. `targets` are (N,), or (N, T) for T targets. Text
    and integers are classes; integers of several targets are labels, 0 or 1; floating-point numbers are a regression.
    Optional are `weights` (N,) of the rows, `feature_names`, `target_names`, and `class_names` for targets numbered
    from 0.

    Args:
        path: of the file.
        task: `classification`, `regression` (integers too), or `auto`, which goes by the type of the targets.

    Raises:
        UserError: it is not such a file, or its arrays do not match.
    """
    file = Path(path).expanduser()
    found = _read(file)
    targets = found["targets"].squeeze(1) if found["targets"].shape[1:] == (1,) else found["targets"]
    are_numbers = np.issubdtype(targets.dtype, np.floating)
    if task == "classification" and are_numbers:
        raise UserError(
            "data.task=classification must have targets of integers or text", f"they are {targets.dtype}",
            "data.task=regression",
        )  # fmt: skip
    names = {name: tuple(map(str, found.get(name, ()))) for name in NAMES if name.endswith("_names")}
    class_names, target_names, n_labels = names["class_names"], names["target_names"], 0
    if are_numbers or task == "regression":
        targets, class_names = targets.astype(np.float64), ()
    elif targets.ndim > 1:
        n_labels = targets.shape[1]
    elif not class_names:
        classes, targets = np.unique(targets, return_inverse=True)
        class_names = tuple(map(str, classes))
    if targets.ndim == 1:
        target_names = ()
    elif not target_names:
        target_names = tuple(f"target_{place}" for place in range(targets.shape[1]))
    features = found["features"]
    are_whole = features.dtype != np.uint8 and (np.issubdtype(features.dtype, np.integer) or features.dtype == np.bool_)
    return Dataset(
        file.name,
        features.astype(np.float64) if are_whole else features,
        targets,
        feature_names=names["feature_names"],
        class_names=class_names,
        target_name=", ".join(target_names) or "target",
        target_names=target_names,
        label_names=(("0", "1"),) * n_labels,
        unit=("",) * len(target_names) or "",
        weights=found["weights"].astype(np.float64) if "weights" in found else None,
        # As with tables, a class of one row goes into the training part.
        split_rules=SplitRules(rare_classes="keep"),
    )


def _read(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        # Without pickles, which could run code. An .npy file holds a single array without a name.
        with np.load(file, allow_pickle=False) as archive:
            found = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise UserError(
            "data.path must be a file that numpy.savez has written", f"{file.name}: {described(error)}",
            "numpy.savez('data.npz', features=…, targets=…)",
        ) from None  # fmt: skip
    unknown = [name for name in found if name not in NAMES]
    missing = [name for name in NAMES[:2] if name not in found]
    if unknown or missing:
        raise UserError(
            f"{file.name} must hold the arrays features and targets, and perhaps {', '.join(NAMES[2:])}",
            f"it has {', '.join(found) or 'none'}",
            f"{nearest_name(unknown[0], list(NAMES)) or 'features'} in place of {unknown[0]}"
            if unknown else f"numpy.savez('{file.name}', features=…, targets=…)",
        )  # fmt: skip
    if found["targets"].ndim not in (1, 2):
        raise UserError("targets must have shape (N,) or (N, T)", f"they have {found['targets'].shape}", "a reshape")
    return found
