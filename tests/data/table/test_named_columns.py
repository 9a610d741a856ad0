from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlplab.data.table.named_columns import NamedColumns, require_columns, require_named_columns
from mlplab.errors import UserError

NAMES = ["height", "a b", "price (€)", "${x}"]
FRAME = pl.DataFrame({name: [1, 2] for name in NAMES})


def require(**given: Any) -> None:
    lists = {name: given.pop(name, []) for name in ("drop", "numeric", "categorical")}
    frame = given.pop("frame", FRAME)
    target, keep_values = given.pop("target", "height"), given.pop("keep_values", None)
    first_names = given.pop("first_names", ())
    require_named_columns(frame, NamedColumns.of(target, lists, given), keep_values, first_names)


def test_columns_that_are_there_are_accepted() -> None:
    require(target="${x}", drop=["a b"], numeric=["price (€)"], group_column="a b", keep_values={"height": ["NA"]})
    require(keep_values=["NA"])


@pytest.mark.parametrize(
    ("given", "typed", "remedy"),
    [
        ({"target": "heigth"}, "data.target=heigth", "data.target=height"),
        ({"target": "price"}, "data.target=price", """'data.target="price (€)"'"""),
        ({"target": "qqq"}, "data.target=qqq", """'data.target="\\${x}"'"""),
        ({"split_column": "a  b"}, 'data.split_column="a  b"', """'data.split_column="a b"'"""),
        ({"group_column": "group"}, "data.group_column=group", """'data.group_column="\\${x}"'"""),
        ({"time_column": ""}, 'data.time_column=""', """'data.time_column="\\${x}"'"""),
        ({"drop": ["height", "pric"]}, "data.drop=[pric]", """'data.drop=["price (€)"]'"""),
        ({"numeric": ["a_b"]}, "data.numeric=[a_b]", """'data.numeric=["a b"]'"""),
        ({"categorical": ["a\nb"]}, 'data.categorical=["a b"]', """'data.categorical=["a b"]'"""),
        ({"keep_values": {"heigh": ["NA"]}}, "data.keep_values={heigh: [NA]}", "'data.keep_values={height: [NA]}'"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_the_nearest(given: dict[str, Any], typed: str, remedy: str) -> None:
    with pytest.raises(UserError) as refusal:
        require(**given)
    key = next(iter(given))
    assert refusal.value.args == (
        f"data.{key} must name a column of the file: height, a b, price (€), ${{x}}",
        typed,
        remedy,
    )


def test_of_many_columns_the_first_are_named_in_one_line() -> None:
    frame = pl.DataFrame({f"line\nbreak {number}": [1] for number in range(30)})
    with pytest.raises(UserError) as refusal:
        require(frame=frame, target="q")
    assert refusal.value.requirement.count(",") == 8
    assert refusal.value.requirement.endswith("line break 7, …")
    assert "\n" not in str(refusal.value)


def test_a_file_of_one_column_is_refused() -> None:
    with pytest.raises(UserError, match="must be a column beside the target, but the file has only one, 'a'"):
        require(frame=FRAME.select(pl.first().alias("a")), target="a")


@pytest.mark.parametrize("key", ["drop", "numeric", "categorical", "split_column", "group_column", "time_column"])
def test_the_target_is_nothing_else(key: str) -> None:
    with pytest.raises(UserError, match=rf"data\.{key} must not name the target"):
        require(**{key: ["height"] if key in ("drop", "numeric", "categorical") else "height"})


def test_the_target_may_have_values_of_its_own_that_are_kept() -> None:
    require(keep_values={"height": ["NA"]})


def test_a_column_is_not_both_numeric_and_categorical() -> None:
    with pytest.raises(UserError, match="'a b' is named as both") as refusal:
        require(numeric=["a b"], categorical=["price (€)", "a b"])
    assert refusal.value.hint == """'data.numeric=["a b"]'"""


def test_a_split_goes_by_groups_or_by_time() -> None:
    with pytest.raises(UserError, match="must go by groups or by time"):
        require(group_column="a b", time_column="${x}")


@pytest.mark.parametrize(
    ("target", "first", "remedy"),
    [
        ("2012", ("2010", "2011", "y"), "data.target=2011"),
        ("Y2", ("2010", "2011", "y"), "data.target=y"),
        ("column_9", ("5.1", "3.5", "setosa"), "data.target=column_2"),
        ("clas", ("1", "1", "x"), "data.target=column_2"),  # the same twice names no columns
    ],
)
def test_where_no_header_was_found_the_first_line_is_shown_too(
    target: str, first: tuple[str, ...], remedy: str
) -> None:
    frame = pl.DataFrame({"column_1": [1], "column_2": [2]})
    with pytest.raises(UserError) as refusal:
        require(frame=frame, target=target, first_names=first)
    assert refusal.value.hint == remedy
    assert ("if the first line is the header, " + ", ".join(first) in refusal.value.requirement) == (first[0] != "1")


def test_columns_that_lack_are_named_and_those_beside_are_noted() -> None:
    path = Path("new.csv")
    assert require_columns(FRAME, NAMES, path, "data.path") == []
    notes = require_columns(FRAME, NAMES[:2], path, "data.path")
    assert notes == ["new.csv has 2 columns that are not used: price (€), ${x}"]
    assert require_columns(FRAME, NAMES[:3], path, "data.path") == ["new.csv has 1 column that is not used: ${x}"]
    with pytest.raises(UserError) as refusal:
        require_columns(FRAME, ["hight", "a b", *(f"column {number}" for number in range(9))], path, "data.test_path")
    assert refusal.value.requirement == "data.test_path must have every column that the model takes"
    assert refusal.value.actual.startswith("new.csv lacks 10 of 11: 'hight', 'column 0', 'column 1'")
    assert refusal.value.actual.endswith(", …")
    assert refusal.value.hint == "renaming 'height'"
