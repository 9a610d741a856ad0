from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlplab.data.table.split_columns import require_decided, split_rules
from mlplab.errors import UserError


def rules(*files: dict[str, list[Any]]) -> Any:
    special = [{key: pl.Series(key, cells) for key, cells in file.items()} for file in files]
    return split_rules(special, [len(next(iter(file.values()))) for file in files])


def test_nothing_said_is_no_rule() -> None:
    found = split_rules([{}], [5])
    assert (found.parts, found.groups, found.times) == (None, None, None)


def test_a_column_names_the_parts() -> None:
    cells = ["train", "TRAINING", "val", "valid", "Validation", "dev", "test", "Testing", "holdout"]
    found = rules({"split_column": cells})
    assert found.parts.tolist() == ["train"] * 2 + ["val"] * 4 + ["test"] * 3


def test_without_a_validation_part_it_is_drawn_from_training() -> None:
    assert rules({"split_column": ["train", "test", "train"]}).parts.tolist() == ["", "test", ""]


@pytest.mark.parametrize(
    ("cells", "part"), [(["train", "val"], "test"), (["val", "test"], "train"), (["test"], "train")]
)
def test_a_part_without_rows_is_refused(cells: list[str], part: str) -> None:
    with pytest.raises(UserError, match=rf"data\.split_column must give a row to the {part} part, but it gives none"):
        rules({"split_column": cells})


@pytest.mark.parametrize("cells", [["train", "x", None, "y"], [1, 2, 3, None], [True, False, None, True]])
def test_other_words_are_refused_with_their_row(cells: list[Any]) -> None:
    series = pl.Series("part", cells)
    wanted = np.array([cell is not None for cell in cells])
    with pytest.raises(UserError) as refusal:
        require_decided(series, "split_column", wanted)
    assert refusal.value.requirement == "data.split_column must say train, validation or test"
    first = next(row for row, cell in enumerate(cells) if cell != "train")
    n_other = 3 - cells.count("train")
    assert (
        refusal.value.actual
        == f"{n_other} of 4 rows say something else, the first is {cells[first]!r} in row {first + 1}"
    )


def test_rows_that_do_not_matter_may_say_anything() -> None:
    series = pl.Series("part", ["train", "x", None, "test"])
    require_decided(series, "split_column", np.array([True, False, False, True]))


@pytest.mark.parametrize("key", ["split_column", "group_column", "time_column"])
def test_a_row_without_a_value_is_refused(key: str) -> None:
    series = pl.Series("when", ["train", "test", None, None, None])
    with pytest.raises(UserError) as refusal:
        require_decided(series, key, np.ones(5, np.bool_))
    assert refusal.value.requirement == f"data.{key} must have a value in every row"
    assert refusal.value.actual == "'when' has none in 3 of 5, the first is row 3"


def test_a_test_file_is_the_test_part() -> None:
    found = split_rules([{}, {}], [3, 2])
    assert found.parts.tolist() == ["", "", "", "test", "test"]


def test_a_test_file_and_a_column_of_parts_are_refused() -> None:
    with pytest.raises(UserError, match="the split must be given once"):
        rules({"split_column": ["train", "test"]}, {"split_column": ["test"]})


def test_groups_are_numbered_whatever_they_are_called() -> None:
    assert rules({"group_column": ["b", "a", "b", "c"]}).groups.tolist() == [1, 0, 1, 2]
    numbered = rules({"group_column": [7, 5, 7]}).groups
    assert (numbered.dtype, numbered.tolist()) == (np.int64, [1, 0, 1])
    assert rules({"group_column": [date(2020, 1, 2), date(2020, 1, 1)]}).groups.tolist() == [1, 0]


@pytest.mark.parametrize("cells", [(["a", "b"], ["b", "c"]), ([1, 2], [2.0, 3.0]), ([1, 2], ["2", "x"])])
def test_a_group_in_both_files_is_refused(cells: tuple[list[Any], list[Any]]) -> None:
    with pytest.raises(UserError, match="no group must be in two parts") as refusal:
        rules({"group_column": cells[0]}, {"group_column": cells[1]})
    assert refusal.value.actual in ("1 group is, such as 'b'", "1 group is, such as '2'")
    assert rules({"group_column": ["a", "b"]}, {"group_column": ["c"]}).groups.tolist() == [0, 1, 2]


def test_a_group_in_two_named_parts_is_refused() -> None:
    parts = ["train", "train", "val", "test", "test"]
    assert rules({"split_column": parts, "group_column": [1, 1, 2, 3, 3]}).groups.tolist() == [0, 0, 1, 2, 2]
    with pytest.raises(UserError, match="no group must be in two parts, but 2 groups are, such as '1'"):
        rules({"split_column": parts, "group_column": [1, 2, 1, 2, 3]})
    # Of train and val, which is still to be drawn, a group may be in both: it will be in one.
    assert rules({"split_column": ["train", "train", "test"], "group_column": [1, 1, 2]}).groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "cells",
    [
        [datetime(2020, 1, 1), datetime(2019, 1, 1, 1), datetime(2020, 1, 1, 0, 0, 0, 1)],
        [2.0, -1.0, 2.5],
    ],
)
def test_times_are_numbers_in_their_order(cells: list[Any]) -> None:
    times = rules({"time_column": cells}).times
    assert times.dtype == np.float64
    assert np.argsort(times).tolist() == [1, 0, 2]
