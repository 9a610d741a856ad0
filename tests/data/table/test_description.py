import json
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlplab.data.split import Split
from mlplab.data.table.columns import Column
from mlplab.data.table.description import ColumnDescription, Description, describe_column, find_warnings
from mlplab.data.table.target import Target

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
    assert 'data.drop=["a b"]' in warning


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
    assert warning.startswith("7 columns are left out as identifier or text: id 0, id 1, id 2, id 3, id 4, …;")
    (warning,) = warned({"x": NUMBERS}, -(NUMBERS**2), columns=columns[-2:])
    assert warning.startswith("1 column is left out as identifier or text: story;")


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
    ]


def test_rows_of_other_parts_that_are_in_the_training_part_are_counted() -> None:
    x, level = NUMBERS.copy(), np.array(["p", "q"] * 45)
    targets = NUMBERS**2
    for copy, original in ((30, 0), (31, 0), (89, 29)):
        x[copy], level[copy], targets[copy] = x[original], level[original], targets[original]
    x[40], level[40] = x[1], level[1]  # but another target
    x[50] = x[51]  # both in the validation part
    (warning,) = warned({"x": x, "level": level.tolist()}, targets)
    assert warning.startswith("3 validation and test rows are equal to a training row in every feature and the target")
    assert warned({"x": x, "level": level.tolist()}, NUMBERS**2) == []


def test_nothing_to_warn_about() -> None:
    assert warned({"x": NUMBERS, "d": [datetime(2020, 1, 1 + n % 28, n % 24) for n in range(90)]}, NUMBERS**2) == []


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("numeric", [1.0, None, 3.0, 2.5], ("1 to 3", 0.25, 1.0, 3.0)),
        ("numeric", [1e-9, 2e12], ("1e-09 to 2e+12", 0.0, 1e-9, 2e12)),
        ("categorical", ["b", "a", "b", None], ("2: b, a", 0.25, None, None)),
        ("categorical", ["b", "a", "b", "a", "b", "c", "c", "d"], ("4: b, a, c, …", 0.0, None, None)),
        (
            "datetime",
            [datetime(2020, 1, 2), None, datetime(2019, 5, 6)],
            ("2019-05-06 to 2020-01-02", 1 / 3, None, None),
        ),
        (
            "datetime",
            [datetime(2020, 1, 2), datetime(2020, 1, 2, 3, 4)],
            ("2020-01-02 to 2020-01-02 03:04:00", 0.0, None, None),
        ),
    ],
)
def test_a_column_is_described(kind: str, values: list[Any], expected: tuple[Any, ...]) -> None:
    found = describe_column(Column("c", kind), pl.Series("c", values), "scaled")
    assert (found.holds, found.missing_share, found.smallest, found.largest) == expected
    assert (found.name, found.kind, found.use) == ("c", kind, "scaled")


def test_levels_are_counted() -> None:
    found = describe_column(Column("c", "categorical"), pl.Series("c", ["b", "a", "b", None]), "")
    assert found.levels == {"b": 2, "a": 1}
    many = describe_column(Column("c", "categorical"), pl.Series("c", [f"{n}" for n in range(500)]), "")
    assert len(many.levels) == 100
    assert many.holds.startswith("500: ")


def test_a_column_without_values_is_described() -> None:
    assert describe_column(Column("c", "numeric"), pl.Series("c", [None], dtype=pl.Float64), "").holds == ""
    assert describe_column(Column("c", "text"), None, "left out") == ColumnDescription("c", "text", 0.0, "", "left out")


TARGET = {"name": "y", "task": "classification", "because": "text", "classes": {"a": 1, "b": 3}}


def text(columns: list[ColumnDescription], target: dict[str, Any] = TARGET, **changes: Any) -> list[str]:
    given: dict[str, Any] = {"name": "t.csv", "n_rows": 4, "parts": {}, "columns": columns, "target": target, **changes}
    return Description(**given).as_text().splitlines()


def test_it_is_told_a_line_for_each_column_note_and_warning() -> None:
    columns = [
        ColumnDescription("area", "numeric", 0.25, "1 to 3", "scaled"),
        ColumnDescription("[b]bold[/b]", "categorical", 0.0001, "2: [x], \ny", "one-hot"),
    ]
    lines = text(columns, notes=["a note\nof two lines"], warnings=["a warning"])
    assert lines == [
        "column       kind         missing  holds      used as",
        "area         numeric        25.0%  1 to 3     scaled",
        "[b]bold[/b]  categorical    <0.1%  2: [x], y  one-hot",
        "",
        "target  y: classification (by text), 2 classes: a 25.0%, b 75.0%",
        "note    a note of two lines",
        "WARNING a warning",
    ]


def test_of_many_columns_and_classes_the_first_are_told() -> None:
    columns = [ColumnDescription(f"c{number}", "numeric", 0.0, "", "") for number in range(1042)]
    classes = {f"class {number}": 1 for number in range(30)}
    lines = text(columns, {**TARGET, "classes": classes})
    assert len(lines) == 1 + 40 + 1 + 1 + 1
    assert lines[41] == "… and 1,002 more columns, all of them in data.json"
    assert lines[-1].endswith("class 11 3.3%, … 18 more")


def test_long_names_are_cut() -> None:
    lines = text([ColumnDescription("n" * 500, "numeric", 0.0, "h" * 500, "u" * 500)])
    assert max(map(len, lines[:2])) <= 140
    assert "…" in lines[1]


@pytest.mark.parametrize(("unit", "shown"), [("m", " in m"), ("", "")])
def test_a_regression_is_told_in_its_unit(unit: str, shown: str) -> None:
    numbers = {"smallest": -1.0, "largest": 1234567.0, "mean": 2.5, "std": 0.123456}
    lines = text([], {"name": "y", "task": "regression", "because": "numbers", "unit": unit, **numbers})
    assert lines[-1] == (
        f"target  y: regression (by numbers){shown}: smallest -1, largest 1,234,567, mean 2.5, std 0.1235"
    )


def test_it_can_be_written_as_json() -> None:
    columns = [describe_column(Column("c", "categorical"), pl.Series("c", ["b", None]), "")]
    described = Description("t.csv", 2, {"train": 2}, columns, TARGET, ["n"], ["w"])
    again = json.loads(json.dumps(described.as_dict()))
    assert again["columns"][0]["levels"] == {"b": 1}
    assert (again["notes"], again["warnings"], again["parts"]) == (["n"], ["w"], {"train": 2})
