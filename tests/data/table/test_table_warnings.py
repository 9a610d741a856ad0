from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlplab.data.split import Split
from mlplab.data.table.column import Column
from mlplab.data.table.table_warnings import find_warnings
from mlplab.data.table.targets import Target

GENERATOR = np.random.default_rng(0)
NUMBERS = GENERATOR.normal(size=90)
CLASSES = np.arange(90) % 3
REGRESSION = Target(Column("y", "numeric"))
THREE = Target(Column("y", "categorical"), ("a", "b", "c"))
SPLIT = Split(np.arange(30), np.arange(30, 60), np.arange(60, 90))


def warned(values: dict[str, Any], targets: Any, target: Target = REGRESSION, **changes: Any) -> list[str]:
    frame = pl.DataFrame(values)
    kinds = {pl.Float64: "numeric", pl.String: "categorical", pl.Datetime("us"): "datetime"}
    columns = tuple(Column(series.name, kinds[series.dtype]) for series in frame)
    given = {"columns": columns, "split": SPLIT, "not_features": set(), **changes}
    return find_warnings(frame, targets=np.asarray(targets), target=target, **given)


@pytest.mark.parametrize(
    "feature",
    [NUMBERS, 3 * NUMBERS - 7, -1e-9 * NUMBERS, 1e30 * NUMBERS, 1e-200 * NUMBERS],
)
def test_a_feature_that_is_the_target_in_other_units_is_warned_about(feature: Any) -> None:
    (warning,) = warned({"a b": feature}, NUMBERS)
    assert warning.startswith("a b is equal to the target, or one-to-one with it")
    assert """'data.drop=["a b"]'""" in warning


@pytest.mark.parametrize(
    "feature", [NUMBERS + 1e-3 * GENERATOR.normal(size=90), NUMBERS**3, np.full(90, 1e-320), np.ones(90)]
)
def test_a_feature_that_is_only_close_to_the_target_is_not(feature: Any) -> None:
    assert warned({"x": feature}, NUMBERS) == []


def test_a_target_that_leaks_where_it_is_known_is_warned_about() -> None:
    gaps = np.arange(90) % 3 == 0
    leaking = pl.Series(NUMBERS).set(pl.Series(gaps), None)
    assert len(warned({"x": leaking}, NUMBERS)) == 1


@pytest.mark.parametrize("feature", [[f"level {c}" for c in CLASSES], (7.0 - CLASSES).tolist()])
def test_a_feature_that_is_one_to_one_with_the_classes_is_warned_about(feature: list[Any]) -> None:
    (warning,) = warned({"x": feature, "z": NUMBERS}, CLASSES, THREE)
    assert "x is equal to the target, or one-to-one with it" in warning


@pytest.mark.parametrize(
    "feature",
    [
        [f"{c % 2}" for c in CLASSES],
        [f"{c} {n % 2}" for n, c in enumerate(CLASSES)],
        [f"{c if n else 1}" for n, c in enumerate(CLASSES)],
    ],
)
def test_a_feature_that_only_tells_much_about_the_classes_is_not(feature: list[str]) -> None:
    assert warned({"x": feature, "z": NUMBERS}, CLASSES, THREE) == []


def test_what_is_no_feature_is_not_searched_for_the_target() -> None:
    assert warned({"x": NUMBERS, "z": NUMBERS**2}, NUMBERS, not_features={"x"}) == []


def test_columns_that_are_left_out_are_named() -> None:
    columns = (
        *(Column(f"id {number}", "identifier", reason="…") for number in range(6)),
        Column("story", "text", reason="…"),
        Column("x", "numeric"),
    )
    (warning,) = warned({"x": NUMBERS}, -(NUMBERS**2), columns=columns)
    assert warning.startswith("7 columns are left out as identifier, text or lists: id 0, id 1, id 2, id 3, id 4, …;")
    (warning,) = warned({"x": NUMBERS}, -(NUMBERS**2), columns=columns[-2:])
    assert warning.startswith("1 column is left out as identifier, text or lists: story;")


@pytest.mark.parametrize("first", [0.0, 1.0, -5.0])
def test_a_column_that_numbers_the_rows_is_warned_about(first: float) -> None:
    numbering = GENERATOR.permutation(90) + first
    (warning,) = warned({"row": numbering}, NUMBERS)
    assert warning.startswith("row numbers the rows")
    for other in (numbering * 2, numbering + 0.5 * (numbering > 3), np.minimum(numbering, first + 50)):
        assert warned({"row": other}, NUMBERS) == []


def test_rare_classes_and_those_that_a_part_lacks_are_named() -> None:
    targets = np.array([0] * 400 + [1] * 4 + [2] * 100)
    parts = Split(np.arange(380), np.arange(380, 404), np.arange(404, 504))
    warnings = warned({"x": GENERATOR.normal(size=504)}, targets, THREE, split=parts)
    assert warnings == [
        "rare classes: b (4 rows); loss.class_weights=balanced makes them count",
        "no row of the train part has the class b, c",
        "no row of the val part has the class c",
        "no row of the test part has the class a, b",
        "auroc of the val part is the mean over the classes that have rows in it",
        "auroc of the test part is left empty: its rows are all of one class",
    ]


def test_rows_of_other_parts_that_are_in_the_training_part_are_counted() -> None:
    x, level = NUMBERS.copy(), np.array(["p", "q"] * 45)
    targets = NUMBERS**2
    for copy, original in ((30, 0), (31, 0), (89, 29)):
        x[copy], level[copy], targets[copy] = x[original], level[original], targets[original]
    x[40], level[40] = x[1], level[1]  # but another target
    x[50] = x[51]  # both in the validation part
    (warning,) = warned({"x": x, "level": level.tolist()}, targets)
    assert warning.startswith(
        "3 rows of the validation and test parts are equal to a training row in every feature and the target"
    )
    assert warned({"x": x, "level": level.tolist()}, NUMBERS**2) == []


def test_nothing_to_warn_about() -> None:
    assert warned({"x": NUMBERS, "d": [datetime(2020, 1, 1 + n % 28, n % 24) for n in range(90)]}, NUMBERS**2) == []


@pytest.mark.parametrize("marker", [-999.0, -9999.0, 99999.0])
def test_numbers_that_often_mean_missing_are_named_where_they_lie_far_from_all_others(marker: float) -> None:
    values = np.concatenate([NUMBERS[:-2], [marker, marker]])
    (warning,) = warned({"x": values}, np.roll(NUMBERS, 7))
    assert f"x has the number {marker:,.0f} in 2 rows" in warning
    assert f"data.missing_values=[{marker:.0f}]" in warning
    assert warned({"x": np.concatenate([NUMBERS[:-1], [marker]])}, np.roll(NUMBERS, 7)) == []
    assert warned({"x": np.linspace(-2000, 2000, 90) // 111 * 111}, NUMBERS) == []


@pytest.mark.parametrize(
    ("others", "marker", "named"),
    [
        (np.linspace(990, 1030, 85), 9999.9, "9,999.9"),
        (np.linspace(50, 1200, 85), -200.0, "-200"),
        (np.linspace(-50, 1200, 85), -200.0, ""),
        (np.array([0.0, 1.0] * 42 + [0.0]), 7.0, ""),
    ],
)
def test_any_number_that_lies_alone_beside_many_others_is_named(others: Any, marker: float, named: str) -> None:
    warnings = warned({"x": np.append(others, [marker] * 5)}, np.roll(NUMBERS, 7))
    assert [warning.split(" in ")[0] for warning in warnings] == [f"x has the number {named}"] * bool(named)
    assert all(f"data.missing_values=[{marker:g}]" in warning for warning in warnings)


def test_categories_that_differ_only_in_capitals_are_named() -> None:
    (warning,) = warned({"x": ["Red", "red", "blue"] * 30, "z": NUMBERS}, np.roll(NUMBERS, 7))
    assert warning.startswith("x has categories that differ only in capitals, and are two: 'Red' and 'red'")
    classes = Target(Column("y", "categorical"), ("NO", "No", "yes"))
    (warning,) = warned({"z": NUMBERS}, CLASSES, classes)
    assert warning.startswith("y has categories that differ only in capitals, and are two: 'NO' and 'No'")


def test_columns_may_be_called_like_patterns() -> None:
    assert warned({"*": NUMBERS, "^.*$": NUMBERS**2}, np.roll(NUMBERS, 7)) == []


def test_rows_far_down_decide_whether_a_feature_is_the_target() -> None:
    numbers, classes = np.random.default_rng(0).normal(size=5000), np.arange(5000) % 3
    is_far_down, split = np.arange(5000) > 4000, Split(*np.split(np.arange(5000), [3000, 4000]))
    for targets, target in ((numbers, REGRESSION), (classes, THREE)):
        columns = {
            "the target": 7.0 - 3 * targets,
            "another further down": np.where(is_far_down, -targets - 1.0, targets),
            "constant at first": np.where(is_far_down, targets, 0.0),
        }
        told = [warning for warning in warned(columns, targets, target, split=split) if "one-to-one" in warning]
        assert [warning.partition(" is equal")[0] for warning in told] == ["the target"]


def test_a_column_without_a_value_is_passed_over() -> None:
    empty = pl.Series([None] * 90, dtype=pl.Float64)
    assert warned({"x": empty, "z": NUMBERS**2}, NUMBERS) == []
    assert warned({"x": empty, "z": NUMBERS**2}, CLASSES, THREE) == []
