"""NumPy arrays of a file as a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlplab.data.arrays import arrays
from mlplab.data.module import DataModule
from mlplab.errors import UserError

ROWS = np.arange(24.0).reshape(12, 2)


def saved(folder: Path, **given: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **{"features": ROWS, **given})
    return str(path)


def test_the_type_of_the_targets_says_what_they_are(tmp_path: Path) -> None:
    text = arrays(saved(tmp_path, targets=np.array(["b", "a"] * 6)))
    assert (text.kind, text.class_names, text.targets.tolist()) == ("classification", ("a", "b"), [1, 0] * 6)
    numbers = arrays(saved(tmp_path, targets=np.array([7, 3] * 6)))
    assert (numbers.class_names, numbers.targets.tolist()) == (("3", "7"), [1, 0] * 6)
    named = arrays(saved(tmp_path, targets=np.array([0, 2] * 6), class_names=np.array(["x", "y", "z"])))
    assert named.class_names == ("x", "y", "z")
    path = saved(tmp_path, targets=np.array([7, 3] * 6), feature_names=np.array(["p", "q"]), weights=np.ones(12))
    regression = arrays(path, task="regression")
    assert (regression.kind, regression.feature_names, regression.targets.dtype) == (
        "regression",
        ("p", "q"),
        "float64",
    )
    assert arrays(saved(tmp_path, targets=np.linspace(0, 1, 12)[:, None])).targets.shape == (12,)


def test_columns_of_targets_are_numbers_or_labels(tmp_path: Path) -> None:
    values = arrays(saved(tmp_path, targets=np.stack([ROWS[:, 0], -ROWS[:, 0]], axis=1)))
    assert (values.kind, values.target_names, values.unit) == ("regression", ("target_0", "target_1"), ("", ""))
    data = DataModule(lambda: values, validation_fraction=0.25, test_fraction=0.25)
    data.setup()
    assert data.part("train")[1].shape == (6, 2)
    labels = arrays(saved(tmp_path, targets=np.eye(12, 3, dtype=int), target_names=np.array(["p", "q", "r"])))
    assert (labels.kind, labels.label_names, labels.class_names) == ("multilabel", (("0", "1"),) * 3, ())
    with pytest.raises(UserError, match="every label must be 0 or 1"):
        arrays(saved(tmp_path, targets=np.full((12, 3), 2)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "must hold the arrays features and targets"),
        ({"targets": np.zeros(12), "feature": ROWS}, "try feature_names in place of feature|try features in place"),
        ({"targets": np.array([{}] * 12)}, "must be a file that numpy.savez has written"),
        ({"targets": np.zeros(3)}, "features must have shape"),
        ({"targets": np.zeros((12, 2, 2))}, r"targets must have shape \(N,\) or \(N, T\)"),
    ],
)
def test_other_files_are_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, **given)
    with pytest.raises(UserError, match=message):
        arrays(path)
    with pytest.raises(UserError, match=r"data\.task=classification must have targets of integers"):
        arrays(saved(tmp_path, targets=np.linspace(0, 1, 12)), task="classification")
    Path(path).write_text("no archive")
    with pytest.raises(UserError, match=r"must be a file that numpy\.savez has written"):
        arrays(path)
    np.save(tmp_path / "one.npy", ROWS)
    with pytest.raises(UserError, match=r"must be a file that numpy\.savez has written"):
        arrays(str(tmp_path / "one.npy"))


def test_the_command_line_takes_them(train_run: Any, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    path = saved(tmp_path, features=rows, targets=(rows[:, 0] > 0).astype(int))
    run = train_run("data=arrays", f"data.path={path}", "trainer.max_epochs=2", "callbacks=minimal", "logger=none")
    assert "test/accuracy" in run.result["test"]


def test_a_test_part_may_be_empty_where_there_is_no_test(train_run: Any, make_config: Any) -> None:
    words = ("data=wine", "data.test_fraction=0", "trainer.max_epochs=1", "callbacks=minimal", "logger=none")
    run = train_run(*words, "test=false")
    assert run.result["test"] == {}
    with pytest.raises(UserError, match=r"data\.test_fraction must be above 0 for a test"):
        train_run(*words)
    data = DataModule(lambda: arrays_of_wine(), test_fraction=0.0)
    data.setup()
    assert data.n_rows == {"train": 151, "val": 27, "test": 0}


def arrays_of_wine() -> Any:
    from mlplab.data.bundled import bundled

    return bundled("wine")
