import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from mlplab.data.table.column import Column
from mlplab.data.table.table_description import ColumnDescription, Description, describe_column


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


def test_categories_are_counted() -> None:
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


def test_it_is_said_a_line_for_each_column_note_and_warning() -> None:
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
def test_a_regression_is_said_in_its_unit(unit: str, shown: str) -> None:
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
