import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.column import Column, Hints
from mlplab.data.table.strings import null_missing
from mlplab.data.table.target_inference import infer_target
from mlplab.data.table.targets import Target, target_values
from mlplab.errors import UserError


def target(cells: Any, task: str = "auto", name: str = "y", **hints: Any) -> Target:
    series = cells if isinstance(cells, pl.Series) else pl.Series(cells)
    return infer_target(null_missing(series.alias(name), (), ()), task, Hints(**hints))


def read(
    cells: Any, target: Target, missing: tuple[str, ...] = (), first_row: int = 1
) -> tuple[npt.NDArray[np.generic], dict[str, int]]:
    return target_values(null_missing(pl.Series("y", cells), (), missing), target, missing, first_row)


OTHERWISE = "; data.task=regression says otherwise"


@pytest.mark.parametrize(
    ("cells", "class_names", "reason"),
    [
        (["b", "a", None, "a", "b"], ("a", "b"), "text"),
        ([True, False, True, False], ("false", "true"), "truth values"),
        (["TRUE", "FALSE"] * 2, ("FALSE", "TRUE"), "truth values"),
        ([2, 10, 1] * 10, ("1", "2", "10"), "3 whole numbers" + OTHERWISE),
        ([1.0, 2.0] * 10, ("1", "2"), "2 whole numbers" + OTHERWISE),
        (["1.0", "2.0"] * 10, ("1.0", "2.0"), "2 whole numbers" + OTHERWISE),
        (["2", "10"] * 10, ("2", "10"), "2 whole numbers" + OTHERWISE),
        ([0, 1, 0, 1], ("0", "1"), "2 whole numbers" + OTHERWISE),
        ([*[0, 1, 2] * 10, 3], ("0", "1", "2", "3"), "4 whole numbers" + OTHERWISE),
        (list(range(20)) * 10, tuple(str(n) for n in range(20)), "20 whole numbers" + OTHERWISE),
        (["01", "1", "10"] * 5, ("01", "1", "10"), "codes with leading zeros" + OTHERWISE),
        (["007", "7", "7"] * 40, ("007", "7"), "codes with leading zeros" + OTHERWISE),
        (pl.Series(["q", "p"] * 5, dtype=pl.Categorical), ("p", "q"), "text"),
        (pl.Series(["q", "p"] * 5, dtype=pl.Enum(["q", "p"])), ("p", "q"), "text"),
        (["2020-01-01", "2020-01-02"] * 5, ("2020-01-01", "2020-01-02"), "text"),
    ],
)
def test_text_truth_values_and_few_whole_numbers_are_classes(
    cells: Any, class_names: tuple[str, ...], reason: str
) -> None:
    found = target(cells)
    assert (found.class_names, found.reason) == (class_names, reason)
    assert found.column.kind == "categorical"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([1.5, 2.0] * 50, "numbers"),
        (list(range(101)), "numbers"),
        (list(range(100)), "100 whole numbers"),
        (list(range(21)) * 10, "21 whole numbers"),  # many
        (list(range(20)) * 9, "20 whole numbers"),  # rather few rows for each
        ([0, 1, 2], "3 whole numbers"),  # one row for each
        ([*list(range(18)) * 20, 18, 19], "20 whole numbers, some in fewer than 3 rows"),  # grades
        (["1.5", "2.5", None] * 9, "numbers"),
        (["12 %", "7 %"] * 4 + ["7.5 %"], "numbers"),
        (["$1,200", "$900", "$12,345"], "3 whole numbers"),
        ([f"{number:05}" for number in range(200)], "numbers"),  # of a fixed width
    ],
)
def test_other_numbers_are_values(cells: list[Any], reason: str) -> None:
    found = target(cells)
    reason += "; data.task=classification says otherwise" * ("whole" in reason)
    assert (found.class_names, found.reason, found.column.kind) == ((), reason, "numeric")


@pytest.mark.parametrize(
    ("counts", "class_names"),
    [
        ({"Yes": 5, "yes": 3, "no": 4, "NO": 1}, ("Yes", "no")),
        ({"1": 3, "1.0": 5, "2": 9}, ("1.0", "2")),
        ({"<=50K": 4, "<=50K.": 3, ">50K": 4}, ("<=50K", ">50K")),
        ({"New  York": 2, "New York": 3, "Rome": 4}, ("New York", "Rome")),
        ({"cafe\u0301": 2, "caf\u00e9": 3, "tea": 4}, ("caf\u00e9", "tea")),
        ({"AA": 3, "Aa": 3, "aa": 3}, ("AA", "Aa", "aa")),  # genotypes
        ({"T": 3, "t": 2, "F": 3}, ("F", "T")),
        ({"+1": 3, "-1": 3}, ("-1", "+1")),
    ],
)
def test_a_class_that_is_written_in_several_ways_is_one_and_that_is_told(
    counts: dict[str, int], class_names: tuple[str, ...]
) -> None:
    cells = [label for label, count in counts.items() for _ in range(count)]
    found = target(cells, "classification")
    assert found.class_names == class_names
    codes, notes = read(cells, found)
    assert codes.min() == 0
    assert sum(notes.values()) == sum(count for label, count in counts.items() if label not in class_names)


def test_the_task_is_said() -> None:
    assert target([0, 1] * 10, "regression") == Target(Column("y", "numeric"), (), "data.task")
    assert target([n % 30 for n in range(100)], "classification").class_names == tuple(str(n) for n in range(30))
    assert target(["1", "2"] * 4, "regression").class_names == ()


def test_how_a_number_is_written_is_found_out() -> None:
    found = target(["1,5", "2,5", "1.000,5"]).column
    assert (found.decimal, found.thousands) == (",", ".")
    assert target(["1,500", "2,500"], prefers_comma=True).column.decimal == ","


@pytest.mark.parametrize(
    ("cells", "task", "must", "given"),
    [
        ([None, None], "auto", "the target 'y' must have a value in some row", "all are missing"),
        (["a", "a", None], "auto", "the target 'y' must have at least two classes", "every row has 'a'"),
        ([True, True], "auto", "the target 'y' must have at least two classes", "every row has 'true'"),
        ([7, 7, 7], "auto", "the target 'y' must vary", "every row has 7"),
        ([7.25, 7.25, None], "regression", "the target 'y' must vary", "every row has 7.25"),
        (
            [1.0, math.inf, -math.inf],
            "auto",
            "every target in column 'y' must be finite",
            "2 of 3 are not, the first is inf in row 2",
        ),
        (
            ["1", "2", "-inf"],
            "auto",
            "every target in column 'y' must be finite",
            "1 of 3 is not, the first is -inf in row 3",
        ),
        (
            [1.0, 2.0, 1e39],
            "auto",
            "every number of column 'y' must fit into 32 bits, below 3.4e38",
            "1 of 3 does not, the first is 1e+39 in row 3",
        ),
        (
            [1.0, 2.5, 1.0],
            "classification",
            "classes in column 'y' must be text, truth values or whole numbers",
            "row 2 has 2.5",
        ),
        (
            ["a", "b", "1"],
            "regression",
            "the target of a regression, 'y', must hold numbers",
            "2 of 3 values are not, the first is 'a' in row 1",
        ),
        ([True, False], "regression", "the target of a regression, 'y', must hold numbers", "Boolean"),
        (
            ["a", "b", "c", "d"],
            "auto",
            "the classes in column 'y' must each have several rows",
            "there are 4 different labels in 4 rows",
        ),
        (
            ["a", "b", "c", "a"],
            "auto",
            "the classes in column 'y' must each have several rows",
            "there are 3 different labels in 4 rows",
        ),
        ([date(2020, 1, 1), date(2020, 1, 2)], "auto", "the target 'y' must hold numbers or classes", "Date"),
        (
            [timedelta(1), timedelta(2)],
            "auto",
            "the target 'y' must hold numbers or classes",
            "Duration(time_unit='us')",
        ),
        ([[1], [2]], "auto", "the target 'y' must hold numbers or classes", "List(Int64)"),
        ([b"a", b"b"], "auto", "the target 'y' must hold numbers or classes", "Binary"),
    ],
)
def test_what_cannot_be_learned_is_refused(cells: Any, task: str, must: str, given: str) -> None:
    with pytest.raises(UserError) as refusal:
        target(cells, task)
    assert (refusal.value.requirement, refusal.value.actual) == (must, given)


@pytest.mark.parametrize("task", ["auto", "regression"])
def test_a_few_mistakes_among_numbers_do_not_make_them_classes(task: str) -> None:
    cells = [str(number % 30) for number in range(120)] + ["oh no", None]
    with pytest.raises(UserError, match="every value of column 'y' must be a number") as refusal:
        target(cells, task)
    assert refusal.value.actual == "1 of 122 values is not, the first is 'oh no' in row 121"
    assert refusal.value.hint == (
        """'data.missing_values=["oh no"]' data.drop_missing_target=true if there is no target in such rows, or """
        "data.task=classification"
    )
    assert len(target(cells, "classification").class_names) == 31


def test_codes_with_leading_zeros_are_classes_unless_a_regression_is_said() -> None:
    cells = ["01", "1", "10"] * 9
    assert target(cells).class_names == ("01", "1", "10")
    assert target(cells, "regression").class_names == ()


def test_lengths_of_time_and_amounts_of_money_are_numbers() -> None:
    assert target([f"{number}:{number:02}:30" for number in range(30)]).column.compound == "seconds"
    assert target([f"(${number}.50)" for number in range(40)]).column.prefix == "$"


def test_labels_are_class_numbers_and_minus_one_where_missing() -> None:
    codes, notes = read(["b", "a", None, "NA", " b "], Target(Column("y", "categorical"), ("a", "b")))
    assert codes.dtype == np.int64
    assert codes.tolist() == [1, 0, -1, -1, 1]
    assert notes == {}


def test_values_are_numbers_and_not_a_number_where_missing() -> None:
    found, notes = read(["1,5", "-9", None], Target(Column("y", "numeric", ",")), ("-9",))
    assert found.dtype == np.float64
    assert found[0] == 1.5
    assert np.isnan(found[1:]).all()
    assert notes == {}


@pytest.mark.parametrize("label", [" <=50K.", "<=50k", "<=50K .", "<=50K  ", " <=50k. "])
def test_a_label_may_be_spelled_in_another_way_and_that_is_counted(label: str) -> None:
    learned = Target(Column("y", "categorical"), ("<=50K", ">50K"))
    codes, notes = read([label, ">50K", label], learned)
    assert codes.tolist() == [0, 1, 0]
    stripped = label.strip()
    expected = {} if stripped == "<=50K" else {f"the label {stripped!r}, which is taken for '<=50K'": 2}
    assert notes == expected


@pytest.mark.parametrize("cells", [["1", "02"], ["1.0", "2.00"], ["1", "2."], [1, 2], [1.0, 2.0]])
def test_a_number_as_label_may_be_written_in_another_way(cells: list[Any]) -> None:
    learned = Target(Column("y", "categorical"), ("1", "2"))
    assert read(cells, learned)[0].tolist() == [0, 1]


@pytest.mark.parametrize("cells", [["TRUE", "FALSE"], ["True", "False"], [True, False]])
def test_truth_values_as_labels_may_be_written_in_any_capitals(cells: list[Any]) -> None:
    learned = Target(Column("y", "categorical"), ("false", "true"))
    assert read(cells, learned)[0].tolist() == [1, 0]


def test_where_classes_differ_by_spelling_alone_it_is_taken_as_it_is() -> None:
    learned = Target(Column("y", "categorical"), ("A", "a"))
    assert read(["a", "A"], learned)[0].tolist() == [1, 0]
    with pytest.raises(UserError, match=r"'a\.' stands in 1 row"):
        read(["a", "a."], learned)


def test_a_label_that_is_no_class_is_refused_with_its_row_and_the_nearest() -> None:
    learned = Target(Column("y", "categorical"), ("setosa", "virginica"))
    with pytest.raises(UserError) as refusal:
        read(["setosa", "setossa", None, "setossa"], learned, first_row=11)
    assert refusal.value.requirement == "every label in column 'y' must be one of the 2 classes that are learned"
    assert refusal.value.actual == "'setossa' stands in 2 rows, the first is row 12"
    assert refusal.value.hint == "'setosa', or leaving those rows out"


@settings(max_examples=examples(40))
@given(st.lists(st.text(st.sampled_from(list("aAbB.1 0é")), max_size=3), min_size=4, max_size=30))
def test_what_is_inferred_can_be_read_again(cells: list[str]) -> None:
    try:
        found = target(cells)
    except UserError:
        return
    values, notes = read(cells, found)
    missing = null_missing(pl.Series("y", cells), (), ()).is_null().to_numpy()
    if not found.class_names:
        assert (np.isnan(values) == missing).all()
        return
    assert ((values == -1) == missing).all()
    names = [found.class_names[code] for code in values[~missing]]
    known = [cell.strip() for cell, is_missing in zip(cells, missing, strict=True) if not is_missing]
    # A label that is no name of a class is one in another spelling, which is told.
    others = [label for name, label in zip(names, known, strict=True) if name != label]
    assert sum(notes.values()) == len(others)
    assert not set(others) & set(found.class_names)


@pytest.mark.parametrize(
    "one", [Target(Column("y", "numeric", ","), (), "numbers"), Target(Column("y", "categorical"), ("a", "b"), "text")]
)
def test_a_target_is_kept_as_plain_values(one: Target) -> None:
    assert Target.from_dict(one.as_dict()) == one
    assert isinstance(one.as_dict()["class_names"], list)
