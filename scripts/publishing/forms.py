"""Files of published data sets as one table each, with a column that says the authors' split."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.errors import UserError

SPLIT, TARGET = "split", "target"
PARTS = ("train", "validation", "test")


def one_split(path: Path, seed: int) -> pl.DataFrame:
    """Reads a CSV file, and draws the one split that the papers of Gorishniy et al. use for all seeds."""
    from sklearn.model_selection import train_test_split

    table = pl.read_csv(path, infer_schema_length=None)
    rest, test = train_test_split(np.arange(len(table)), test_size=0.2, random_state=0)
    train, validation = train_test_split(rest, test_size=0.2, random_state=1)
    return table.with_columns(_split_column(len(table), train, validation, test))


def arrays(folder: Path, seed: int) -> pl.DataFrame:
    """Reads a folder in the form of the TabM paper: X_num_train.npy, X_bin_…, X_cat_…, Y_train.npy; of val; of test."""
    parts = []
    for part, suffix in zip(PARTS, ("train", "val", "test"), strict=True):
        target = _array(folder / f"Y_{suffix}.npy")
        columns = {
            f"{kind}_{number}": values
            for kind in ("num", "bin", "cat")
            if (folder / f"X_{kind}_train.npy").exists()
            for number, values in enumerate(_array(folder / f"X_{kind}_{suffix}.npy").T)
        }
        if not columns or any(len(values) != len(target) for values in columns.values()):
            raise UserError(
                f"{folder.name} must have as many rows of features as of targets",
                f"{len(target)} targets and {len(next(iter(columns.values()), ()))} rows of features in {suffix}",
                "the files as their authors give them",
            )
        # As text, categories cannot be taken for numbers.
        frame = pl.DataFrame(
            {name: values.astype(str) if name[0] == "c" else values for name, values in columns.items()}
        )
        parts.append(frame.with_columns(pl.Series(TARGET, target), pl.lit(part).alias(SPLIT)))
    return pl.concat(parts)


def indexed(folder: Path, seed: int) -> pl.DataFrame:
    """Reads a folder in the form of the dropout-uncertainty experiments, with the split of the seed's number.

    As in these experiments, the last fifth of the training rows is the validation part.
    """
    rows = _numbers(folder / "data.txt")
    features, target = (_numbers(folder / f"index_{name}.txt").astype(int).ravel() for name in ("features", "target"))
    train, test = (_numbers(folder / f"index_{part}_{seed}.txt").astype(int).ravel() for part in ("train", "test"))
    for name, known, size in (("columns", np.append(features, target), rows.shape[1]),
                              ("rows", np.append(train, test), len(rows))):  # fmt: skip
        if known.min() < 0 or known.max() >= size:
            raise UserError(
                f"{folder.parent.name} must have the {name} that its index files name",
                f"{size}, and an index of {known.max()}", "the files as their authors give them",
            )  # fmt: skip
    n_train = int(0.8 * len(train))
    table = pl.DataFrame({f"x_{number}": rows[:, number] for number in features} | {TARGET: rows[:, target[0]]})
    return table.with_columns(_split_column(len(rows), train[:n_train], train[n_train:], test)).drop_nulls(SPLIT)


FORMS: dict[str, Callable[[Path, int], pl.DataFrame]] = {"one_split": one_split, "arrays": arrays, "indexed": indexed}
"""Form → a function of its path below the folder of the data, and of the seed."""


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file; of a folder, that of the names and the SHA-256 of its data files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{file.name} {digest(file)}" for file in sorted(path.iterdir()) if file.suffix in (".npy", ".txt")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _split_column(n: int, *rows: npt.NDArray[np.int64]) -> pl.Series:
    names: npt.NDArray[np.object_] = np.full(n, None, dtype=object)
    for part, chosen in zip(PARTS, rows, strict=True):
        names[chosen] = part
    return pl.Series(SPLIT, names.tolist(), dtype=pl.String)


def _array(path: Path) -> npt.NDArray[np.generic]:
    try:
        # Pickled objects would be code from a data file.
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} must be a NumPy array of numbers or texts", str(error), "another file") from None


def _numbers(path: Path) -> npt.NDArray[np.float64]:
    try:
        return np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} must be a text file of numbers", str(error), "another file") from None
