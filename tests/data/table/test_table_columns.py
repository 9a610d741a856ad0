import polars as pl

from mlplab.data.table.table_columns import empty_columns


def test_columns_without_a_value_are_named_in_one_note() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [None, None], "c": [None, None], "y": [None, None]})
    assert empty_columns(frame, {"y"}) == (["b", "c"], ["2 columns have no value and are left out: b, c"])
    assert empty_columns(frame, {"y", "c"})[1] == ["1 column has no value and is left out: b"]
    assert empty_columns(frame, {"y", "b", "c"}) == ([], [])
