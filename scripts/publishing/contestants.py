"""The contestants of scripts/side_by_side.py: each trains on one split of one table, and scores its test part."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from publishing.tables import PART, TARGET

Score = tuple[float, float]
"""RMSE or errors in % of the test part, and seconds of the processor."""

OURS: dict[str, list[str]] = {
    "mlp": [],
    "mlp_embeddings": ["model.numeric_embedding=piecewise"],
    "tabm": [
        "model=tabm_mini", "model.k=16", "model.hidden_dims=[128,128]", "model.numeric_embedding=piecewise",
        "optimizer=adamw", "optimizer.lr=0.002", "optimizer.weight_decay=0.0003", "data.batch_size=256",
        "data.numeric_scaling=quantile_normal",
    ],
    "realmlp": ["experiment=realmlp"],
}  # fmt: skip
"""Networks of this project: their words on the command line, beside those of the table."""

CANDIDATES: dict[str, list[str]] = {
    "mlp": [],
    "mlp_embeddings": OURS["mlp_embeddings"],
    "mlp_embeddings_128": [*OURS["mlp_embeddings"], "data.batch_size=128", "optimizer.lr=0.003"],
    "mlp_embeddings_64": [*OURS["mlp_embeddings"], "data.batch_size=64", "optimizer.lr=0.002"],
    "mlp_embeddings_64_dropout": [
        *OURS["mlp_embeddings"], "data.batch_size=64", "optimizer.lr=0.002", "model.dropout=0.1",
    ],
    "periodic": ["model.numeric_embedding=periodic"],
    "quantile_normal": ["data.numeric_scaling=quantile_normal"],
    "robust": ["data.numeric_scaling=robust_smooth_clip"],
    "dropout": ["model.dropout=0.2"],
    "wide": ["model.hidden_dims=[256,256]"],
    "lr_0.003": ["optimizer.lr=0.003"],
    "decay": ["optimizer=adamw", "optimizer.weight_decay=0.1"],
}  # fmt: skip
"""Candidates for the defaults of `data=table`."""


def train_ours(words: list[str], table: pl.DataFrame, is_regression: bool, seed: int) -> Score:
    """Trains a network of this project on one thread; the seconds hold reading the table, and its checkpoints."""
    import mlplab

    if "experiment=realmlp" in words and is_regression:
        words = ["experiment=realmlp_regression"]
    folder = Path(tempfile.mkdtemp())
    try:
        table.write_parquet(folder / "table.parquet")
        config = mlplab.compose(
            [
                *(["data=table"] if not any(word.startswith("experiment=") for word in words) else []), *words,
                f"data.path={folder / 'table.parquet'}", f"data.target={TARGET}", f"data.split_column={PART}",
                f"data.task={'regression' if is_regression else 'classification'}", f"seed={seed}", "trainer.threads=1",
                "trainer.accelerator=cpu", "logger=none", "callbacks=minimal", f"paths.run={folder / 'run'}",
            ]
        )  # fmt: skip
        start = time.process_time()
        test = mlplab.train(config).result["test"]
        seconds = time.process_time() - start
    finally:
        shutil.rmtree(folder)
    return (test["test/rmse"] if is_regression else 100 * (1 - test["test/accuracy"])), seconds


def train_theirs(
    make: Callable[[bool, int, list[bool]], Any], table: pl.DataFrame, is_regression: bool, seed: int,
    validates: bool = True,
) -> Score:  # fmt: skip
    """Trains an estimator with scikit-learn's interface on one thread.

    Args:
        make: (whether it is a regression, seed, whether each column is categorical) → estimator.
        table: with the column `part`.
        is_regression: whether the target is a number.
        seed: of the estimator.
        validates: whether it takes the validation part; else it draws one of its own from both parts.
    """
    import pandas
    import torch

    torch.set_num_threads(1)
    features = table.drop(TARGET, PART)
    is_categorical = [kind == pl.String for kind in features.dtypes]
    frame = pandas.DataFrame({name: features[name].to_list() for name in features.columns})
    for name in features.columns:
        if features[name].dtype == pl.String:
            frame[name] = frame[name].fillna("missing").astype("category")
        elif features[name].null_count() and validates:  # of these networks, none takes missing numbers
            frame[name] = frame[name].fillna(features.filter(table[PART] == "train")[name].median())
    target, part = table[TARGET].to_numpy(), table[PART].to_numpy()
    if not is_regression:
        target = np.unique(target, return_inverse=True)[1]
    train, validation, test = (part == name for name in ("train", "validation", "test"))
    estimator = make(is_regression, seed, is_categorical)
    start = time.process_time()
    if validates:
        estimator.fit(
            frame[train], target[train], frame[validation], target[validation],
            cat_col_names=[name for name, kind in zip(frame, is_categorical, strict=True) if kind],
        )  # fmt: skip
    else:
        estimator.fit(frame[~test], target[~test])
    predicted = np.asarray(estimator.predict(frame[test])).reshape(-1)
    seconds = time.process_time() - start
    if is_regression:
        return float(np.sqrt(np.mean((predicted - target[test]) ** 2))), seconds
    return float(100 * np.mean(predicted != target[test])), seconds


def _boosted_trees(is_regression: bool, seed: int, is_categorical: list[bool]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    return kind(random_state=seed, categorical_features=is_categorical)


def _of_pytabkit(name: str) -> Callable[[bool, int, list[bool]], Any]:
    def make(is_regression: bool, seed: int, _: list[bool]) -> Any:
        from pytabkit.models.sklearn import sklearn_interfaces

        kind = getattr(sklearn_interfaces, f"{name}_{'Regressor' if is_regression else 'Classifier'}")
        return kind(device="cpu", random_state=seed, n_threads=1)

    return make


THEIRS: dict[str, Callable[[bool, int, list[bool]], Any]] = {
    "boosted_trees": _boosted_trees,
    "realmlp_pytabkit": _of_pytabkit("RealMLP_TD"),
    "tabm_pytabkit": _of_pytabkit("TabM_D"),
}
"""Contestants of others: scikit-learn's boosted trees, and RealMLP-TD and TabM as the package pytabkit has them."""


def train_contestant(name: str, table: pl.DataFrame, is_regression: bool, seed: int) -> Score:
    """Trains the contestant of this name, and returns its score and its seconds."""
    if name in THEIRS:
        return train_theirs(THEIRS[name], table, is_regression, seed, validates=name != "boosted_trees")
    return train_ours({**CANDIDATES, **OURS}[name], table, is_regression, seed)
