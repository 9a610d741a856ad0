import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.columns import Column
from mlplab.data.table.inputs import CategoricalInput, NumericInput, TableInputs

AREA, DAY, TOWN = Column("area", "numeric"), Column("day", "datetime"), Column("town", "categorical")
INPUTS = TableInputs(
    (NumericInput(AREA), NumericInput(DAY, "month"), NumericInput(DAY, "weekday")),
    (
        CategoricalInput(TOWN, ("Köln", "Ulm"), has_missing=True),
        CategoricalInput(Column("k", "boolean"), ("false",), False),
    ),
)
FRAME = pl.DataFrame(
    {
        "k": ["true", "false", None],
        "town": ["Ulm", "Rom", None],
        "day": [datetime(2024, 2, 29), None, datetime(2024, 1, 1)],
        "area": [1.5, None, 1e300],
        "more": [1, 2, 3],
    }
)


def test_rows_become_numbers_and_numbers_of_levels() -> None:
    numeric, categorical = INPUTS.encode(FRAME)
    nan = float("nan")
    expected = torch.tensor([[1.5, 2.0, 4.0], [nan, nan, nan], [1e300, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(numeric, expected, atol=0, rtol=0, equal_nan=True)
    # Köln 1, Ulm 2, missing 3, unknown 0; where training missed none, missing is unknown.
    assert categorical.tolist() == [[2, 0], [0, 1], [3, 0]]
    assert categorical.dtype == torch.int64


def test_names_and_columns() -> None:
    assert [one.name for one in (*INPUTS.numeric, *INPUTS.categorical)] == [
        "area", "day.month", "day.weekday", "town", "k",
    ]  # fmt: skip
    assert [column.name for column in INPUTS.columns] == ["area", "day", "town", "k"]
    assert [one.n_levels for one in INPUTS.categorical] == [3, 1]


def test_unknown_levels_are_counted_and_missing_ones_are_not() -> None:
    assert [one.n_unknown(FRAME) for one in INPUTS.categorical] == [1, 1]


def test_inputs_of_one_kind_alone() -> None:
    numeric, categorical = TableInputs((), INPUTS.categorical).encode(FRAME)
    assert (numeric.shape, categorical.shape) == ((3, 0), (3, 2))
    numeric, categorical = TableInputs(INPUTS.numeric, ()).encode(FRAME)
    assert (numeric.shape, categorical.shape) == ((3, 3), (3, 0))


def test_they_are_kept_as_plain_values() -> None:
    assert TableInputs.from_dict(json.loads(json.dumps(INPUTS.as_dict()))) == INPUTS


@settings(max_examples=examples(100))
@given(
    levels=st.sets(st.text(max_size=4), min_size=1, max_size=8),
    cells=st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=20),
    has_missing=st.booleans(),
)
def test_a_level_has_its_number_whatever_it_is_called(levels: set[str], cells: list[Any], has_missing: bool) -> None:
    ordered = tuple(sorted(levels))
    cells = [*cells, *ordered]
    category = CategoricalInput(TOWN, ordered, has_missing)
    frame = pl.DataFrame({"town": cells}, schema={"town": pl.String})
    as_enum = frame.cast(pl.Enum(sorted({cell for cell in cells if cell is not None})))
    assert category.of(as_enum).to_list() == category.of(frame).to_list()
    missing = len(ordered) + 1 if has_missing else 0
    numbers = {level: number for number, level in enumerate(ordered, 1)}
    assert category.of(frame).to_list() == [missing if cell is None else numbers.get(cell, 0) for cell in cells]
    assert category.n_unknown(frame) == sum(cell is not None and cell not in levels for cell in cells)


@pytest.mark.parametrize("n_levels", [300, 70_000])
def test_there_may_be_many_levels(n_levels: int) -> None:
    levels = tuple(f"{number:06}" for number in range(n_levels))
    category = CategoricalInput(TOWN, levels, has_missing=True)
    frame = pl.DataFrame({"town": [levels[0], levels[-1], "x", None]})
    assert category.of(frame).to_list() == [1, n_levels, 0, n_levels + 1]
