from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlplab.data.module import DataModule
from mlplab.data.table.column import Hints
from mlplab.data.table.table_source import table
from mlplab.data.table.target_inference import infer_targets
from mlplab.data.table.targets import Target, Targets, missing_of_each, read_targets, target_from_dict
from mlplab.errors import UserError

Write = Callable[..., Path]

FRAME = pl.DataFrame(
    {
        "a": [1.5, 2.5, None, 4.0] * 5,
        "b": [10.0, 20.0, 30.5, 40.0] * 5,
        "count": [0, 1, 2, 3] * 5,
        "digit": [0, 1, 1, 0] * 5,
        "YES": ["YES", "no", "no", None] * 5,
        "flag": [True, False, False, True] * 5,
        "kind": ["cat", "dog", "dog", "cat"] * 5,
        "three": ["x", "y", "z", "x"] * 5,
    }
)


def infer(*names: str, task: str = "auto") -> Any:
    return infer_targets(FRAME, names, task, lambda name: Hints())


def test_numbers_are_values_and_one_name_is_one_target() -> None:
    assert infer("a", "b").label_names == ()
    assert infer("a", "b").names == ("a", "b")
    assert isinstance(infer("a"), Target)
    assert infer("count", "digit", task="regression").label_names == ()


def test_labels_have_false_before_true_however_they_are_written() -> None:
    labels = infer("digit", "YES", "flag")
    assert labels.label_names == (("0", "1"), ("no", "YES"), ("false", "true"))
    values, noticed = read_targets(FRAME, labels, [])
    assert values[:4].tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0], [0, -1, 1]]
    assert noticed == {}
    assert missing_of_each(values, labels)[:4].tolist() == [[False] * 3] * 3 + [[False, True, False]]
    _, noticed = read_targets(FRAME.with_columns(YES=pl.Series(["Yes", "NO"] * 10)), labels, [])
    assert noticed == {
        "in 'YES' the label 'Yes', which is taken for 'YES'": 10, "in 'YES' the label 'NO', which is taken for 'no'": 10
    }  # fmt: skip


def test_missing_numbers_are_found_in_their_column() -> None:
    numbers = infer("b", "a")
    values, _ = read_targets(FRAME, numbers, [])
    assert missing_of_each(values, numbers)[:3].tolist() == [[False, False], [False, False], [False, True]]


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("digit", "flag")])
def test_targets_come_back_from_plain_values(names: tuple[str, ...]) -> None:
    assert target_from_dict(infer(*names).as_dict()) == infer(*names)


@pytest.mark.parametrize(
    ("names", "actual", "hint"),
    [
        (("a", "flag"), "'a' holds numbers, and 'flag' 2 classes", "data.target=a alone"),
        (("a", "count"), "'a' holds numbers, and 'count' 4 classes", "data.task=regression"),
        (("flag", "kind"), "'kind' has 2 classes: cat, dog", "data.target=kind alone"),
        (("three", "flag"), "'three' has 3 classes: x, y, z", "data.target=three alone"),
        (("count", "digit"), "'count' has 4 classes: 0, 1, 2, 3", "data.target=count alone, or data.task=regression"),
    ],
)
def test_mixtures_and_other_classes_are_refused(names: tuple[str, ...], actual: str, hint: str) -> None:
    with pytest.raises(UserError) as refusal:
        infer(*names)
    assert (refusal.value.actual, refusal.value.hint) == (actual, hint)


def file_of(write: Write, *rows: str) -> str:
    usual = [f"{n},{n * n},{n / 7},{n % 2},{'yn'[n % 3 == 0]}" for n in range(60)]
    return str(write("\n".join(["x,y,z,l,m", *(rows or usual), ""])))


def test_each_number_is_standardised_by_itself_and_has_its_unit(write: Write) -> None:
    data = DataModule(lambda: table(file_of(write), ["y", "z"], drop=["l", "m"], unit=["kg", "m"]))
    data.setup()
    _, targets = data.part("train")
    assert targets.shape == (42, 2)
    assert targets.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert targets.std(0, correction=0).tolist() == pytest.approx([1, 1], rel=1e-6)
    assert (data.task.kind, data.task.target_names, data.task.unit) == ("regression", ("y", "z"), ("kg", "m"))
    assert data.description.as_dict()["target"]["targets"][1]["unit"] == "m"
    told = [line for line in data.description.as_text().splitlines() if line.startswith("target")]
    assert [line[:12] for line in told] == ["target  y: r", "target  z: r"]


def test_labels_are_numbers_for_the_loss(write: Write) -> None:
    data = DataModule(lambda: table(file_of(write), ["l", "m"]))
    data.setup()
    _, targets = data.part("train")
    assert set(targets.unique().tolist()) == {0.0, 1.0}
    assert (data.task.kind, data.task.label_names) == ("multilabel", (("0", "1"), ("n", "y")))
    assert data.class_counts == []


def test_a_row_that_lacks_one_target_is_refused_or_left_out(write: Write) -> None:
    path = file_of(write, *(f"{n},{n * n},{n / 7 if n != 3 else ''},1,y" for n in range(60)))
    with pytest.raises(UserError, match="in column 'z', but 1 of 60 has none, the first is row 4"):
        table(path, ["y", "z"], drop=["l", "m"])
    dataset = table(path, ["y", "z"], drop=["l", "m"], drop_missing_target=True)
    assert dataset.targets.shape == (59, 2)
    assert "1 row has not every target: left out, of 60 in table.csv" in dataset.notes


def test_features_that_give_a_target_away_and_labels_that_do_not_vary_are_warned_of(write: Write) -> None:
    rows = [f"{3 * n},{n * n},{n / 7},{int(n == 0)},{'yn'[n % 3 == 0]}" for n in range(60)]
    data = DataModule(lambda: table(file_of(write, *rows), ["y", "z"], drop=["l", "m"]))
    data.setup()
    assert any(warning.startswith("x is equal to the target z,") for warning in data.description.warnings)
    labels = DataModule(lambda: table(file_of(write, *rows), ["l", "m"]))
    labels.setup()
    assert sum("l is 0 in every row of the" in warning for warning in labels.description.warnings) == 2


def test_one_name_in_a_list_is_the_name(write: Write) -> None:
    path = file_of(write)
    listed, named = (table(path, target, drop=["l", "m"]) for target in (["y"], "y"))
    assert np.array_equal(listed.targets, named.targets)
    assert (listed.target, listed.reading, listed.unit) == (named.target, named.reading, named.unit)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": ["y", "q"]},
            r"data.target must name columns of the file: .*, got \[q\]; try 'data.target=\[y,",
        ),
        ({"target": ["y", "z", "y"]}, r"name each column once, but it names 'y' twice; try 'data.target=\[y,z\]'"),
        ({"target": ["y", "z"], "drop": ["z"]}, "data.drop must not name the target"),
        ({"target": ["y", "z"], "weight_column": "y"}, "data.weight_column must not name the target"),
        ({"target": ["y", "z"], "unit": ["m"]}, "one for each of the targets, 2 in all, but data.unit has 1"),
    ],
)
def test_names_that_do_not_fit_are_refused(write: Write, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(file_of(write), **options)


def test_targets_know_their_names() -> None:
    assert Targets((infer("a"), infer("b"))).name == "a, b"
