from pathlib import Path

import polars as pl
import pytest

from mlplab.data.table.table_checks import empty_columns, require_columns
from mlplab.errors import UserError

NAMES = ["height", "a b", "price (€)", "${x}"]
FRAME = pl.DataFrame({name: [1, 2] for name in NAMES})


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


def test_columns_without_a_value_are_named_in_one_note() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [None, None], "c": [None, None], "y": [None, None]})
    assert empty_columns(frame, {"y"}) == (["b", "c"], ["2 columns have no value and are left out: b, c"])
    assert empty_columns(frame, {"y", "c"})[1] == ["1 column has no value and is left out: b"]
    assert empty_columns(frame, {"y", "b", "c"}) == ([], [])
