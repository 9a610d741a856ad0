"""The tables of scripts/side_by_side.py: read as anybody would read them, and split by a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets
from sklearn.model_selection import train_test_split

PARTS = {"train": 0.64, "validation": 0.16, "test": 0.2}
TARGET, PART = "target", "part"


@dataclass(frozen=True)
class Table:
    """A table and its target.

    Attributes:
        read: reads it from the folder of the data sets; the target is the column `target`.
        is_regression: whether the target is a number, and the score its RMSE; else it is the share of errors in %.
        file: below the folder; None for a table that comes with scikit-learn.
    """

    read: Callable[[Path], pl.DataFrame]
    is_regression: bool
    file: str | None = None


def _bundled(name: str) -> Callable[[Path], pl.DataFrame]:
    def read(_: Path) -> pl.DataFrame:
        features, target = getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True)
        names = [str(column).replace(" ", "_") for column in features]
        return pl.DataFrame(features.to_numpy(), schema=names).with_columns(pl.Series(TARGET, target.to_numpy()))

    return read


def _titanic(path: Path) -> pl.DataFrame:
    # Without texts and numbers that name one person each.
    return (
        pl.read_csv(path, infer_schema_length=None)
        .drop("PassengerId", "Name", "Ticket", "Cabin")
        .rename({"Survived": TARGET})
    )


def _adult(path: Path) -> pl.DataFrame:
    lines = [line.split(", ") for line in path.read_text(encoding="utf-8").splitlines() if line]
    table = pl.DataFrame(lines, orient="row", schema=[f"column_{number}" for number in range(1, 16)])
    numbers = [f"column_{number}" for number in (1, 3, 5, 11, 12, 13)]
    return table.with_columns(pl.col(numbers).cast(pl.Float64)).rename({"column_15": TARGET})


def _california(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema_length=None).rename({"MedHouseVal": TARGET})


def _wine_quality(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path, separator=";", infer_schema_length=None).rename({"quality": TARGET})
    return table.rename({name: name.replace(" ", "_") for name in table.columns})


TABLES: dict[str, Table] = {
    "iris": Table(_bundled("iris"), False),
    "wine": Table(_bundled("wine"), False),
    "breast_cancer": Table(_bundled("breast_cancer"), False),
    "diabetes": Table(_bundled("diabetes"), True),
    "titanic": Table(_titanic, False, "titanic/train.csv"),
    "wine_quality": Table(_wine_quality, True, "wine_quality/winequality-red.csv"),
    "digits": Table(_bundled("digits"), False),
    "california": Table(_california, True, "california_housing/california_sklearn_form.csv"),
    "adult": Table(_adult, False, "adult/adult-train.csv"),
}


def split_table(table: Table, folder: Path, seed: int, rows: int | None) -> pl.DataFrame:
    """Reads a table, draws at most `rows` of its rows, and adds the column `part`, stratified by class."""
    frame = table.read(folder / table.file if table.file else folder)
    classes = None if table.is_regression else frame[TARGET].to_numpy()
    chosen = np.arange(len(frame))
    if rows is not None and rows < len(frame):
        chosen, _ = train_test_split(chosen, train_size=rows, random_state=seed, stratify=classes)
    parts = np.full(len(frame), "train", dtype=object)
    for part in ("test", "validation"):
        left = chosen[parts[chosen] == "train"]
        _, drawn = train_test_split(
            left, test_size=round(PARTS[part] * len(chosen)), random_state=seed,
            stratify=None if classes is None else classes[left],
        )  # fmt: skip
        parts[drawn] = part
    return frame.with_columns(pl.Series(PART, parts.tolist()))[np.sort(chosen)]
