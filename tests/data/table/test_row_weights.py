import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.data.module import DataModule
from mlplab.data.table.table_source import table
from mlplab.errors import UserError

Write = Callable[..., Path]


def file_of(write: Write, weights: list[str], test: bool = False) -> str:
    rows = [f"{n * 1.5}\t{'ab'[n % 2]}\t{weight}" for n, weight in enumerate(weights)]
    return str(write("\n".join(["x\ty\tw", *rows, ""])))


def test_weights_are_read_as_numbers_and_are_no_feature(write: Write) -> None:
    dataset = table(file_of(write, ["1,5", "0", "2", "1.000,25"] * 3), "y", weight_column="w")
    assert dataset.weights is not None
    assert dataset.weights.tolist() == [1.5, 0, 2, 1000.25] * 3
    fitted = dataset.fit(range(12))  # type: ignore[arg-type]
    assert fitted.feature_names == ("x",)
    assert dataset.reading["weight"]["decimal"] == ","
    assert table(file_of(write, ["1"] * 12), "y").weights is None


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (["1", "-2", "1"], "1 row has another, the first is row 2 with -2"),
        (["1", "1", ""], "1 row has another, the first is row 3 with none"),
        (["1", "inf", "1"], "the first is inf in row 2"),
        (["1", "much", "1"], "the first is 'much' in row 2"),
        (["", "", ""], "all 12 are missing"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_row(write: Write, weights: list[str], found: str) -> None:
    path = file_of(write, [*weights, *([weights[0]] * 9)])
    with pytest.raises(UserError, match=re.escape(found)) as refusal:
        table(path, "y", weight_column="w")
    assert refusal.value.requirement == "data.weight_column must hold a finite number of 0 or more in every row"


def test_a_row_without_a_target_needs_no_weight(write: Write) -> None:
    path = str(write("\n".join(["x,y,w", *["1,a,2", "2,b,3"] * 6, "3,,", ""])))
    dataset = table(path, "y", weight_column="w", drop_missing_target=True)
    assert dataset.weights is not None
    assert dataset.weights.tolist() == [2.0, 3.0] * 6


def test_a_test_file_has_weights_too(write: Write) -> None:
    train, test = (file_of(write, ["1", "2"] * 6), file_of(write, ["3", "4"] * 3))
    dataset = table(train, "y", weight_column="w", test_path=test)
    assert dataset.weights is not None
    assert dataset.weights[-6:].tolist() == [3.0, 4.0] * 3
    with pytest.raises(UserError, match="lacks 1 of 3: 'w'"):
        table(train, "y", weight_column="w", test_path=str(write("x\ty\n1\ta\n2\tb\n")))


def test_equal_weights_are_told_to_be_none(write: Write) -> None:
    data = DataModule(lambda: table(file_of(write, ["3"] * 30), "y", weight_column="w"))
    data.setup()
    assert "every row has the same weight, which is the same as none" in data.description.notes
