from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.split import Split
from mlplab.data.table.column import Column
from mlplab.data.table.table_dataset import TableDataset
from mlplab.data.table.targets import Target
from mlplab.errors import UserError

KINDS = {pl.Float64: "numeric", pl.String: "categorical", pl.Datetime("us"): "datetime"}


def toy(values: dict[str, list[Any]] | pl.DataFrame, **changes: Any) -> TableDataset:
    """A data set of columns whose kind is that of their values."""
    if isinstance(values, pl.DataFrame):
        frame = values
    else:
        empty = {name: pl.Float64 for name, cells in values.items() if all(cell is None for cell in cells)}
        frame = pl.DataFrame(values, schema_overrides=empty)
    n_rows = len(frame)
    given: dict[str, Any] = {
        "name": "toy.csv",
        "values": frame,
        "columns": tuple(Column(series.name, KINDS[series.dtype]) for series in frame),
        "target": Target(Column("y", "numeric")),
        "targets": np.arange(float(n_rows)),
        "fingerprint": "",
    }
    return TableDataset(**{**given, **changes})


def thirds(n_rows: int) -> Split:
    rows = np.arange(n_rows)
    return Split(rows[: n_rows // 3], rows[n_rows // 3 : 2 * n_rows // 3], rows[2 * n_rows // 3 :])


def uses(dataset: TableDataset, split: Split | None = None) -> dict[str, str]:
    split = split or Split(*(np.arange(len(dataset.targets)),) * 3)
    return {column.name: column.use for column in dataset.describe(split, dataset.fit(split.train)).columns}


ALL = slice(None)


def test_class_names_make_it_a_classification() -> None:
    classes = toy({"x": [1.0, 2.0]}, target=Target(Column("y", "categorical"), ("a", "b")), targets=np.array([0, 1]))
    assert (classes.kind, classes.class_names, classes.target_name) == ("classification", ("a", "b"), "y")
    assert toy({"x": [1.0, 2.0]}).kind == "regression"


def test_statistics_by_hand() -> None:
    fitted = toy({"x": [1.0, None, 3.0, 8.0]}).fit(np.arange(4))
    assert fitted.median.tolist() == [3.0]
    assert fitted.mean.tolist() == [3.75]  # with the median in the gap
    assert fitted.std.tolist() == pytest.approx([np.std([1, 3, 3, 8])])
    assert fitted.feature_names == ("x", "x is missing")


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
CELLS = {
    "x": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "z": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "level": st.one_of(st.none(), st.sampled_from("abcdefgh")),
    "moment": st.one_of(st.none(), MOMENTS),
}
ROWS = st.fixed_dictionaries(CELLS)


@settings(max_examples=examples(25))
@given(
    train=st.lists(ROWS, min_size=3, max_size=8),
    other=st.lists(ROWS, min_size=3, max_size=8),
    changed=st.lists(ROWS, min_size=3, max_size=8),
    scaling=st.sampled_from(["standardize", "quantile_normal"]),
)
def test_rows_outside_the_training_part_change_no_statistic(
    train: list[dict[str, Any]], other: list[dict[str, Any]], changed: list[dict[str, Any]], scaling: str
) -> None:
    schema = {"x": pl.Float64, "z": pl.Float64, "level": pl.String, "moment": pl.Datetime("us")}
    # Two rows in which everything varies.
    train = [
        *train,
        {"x": 1.0, "z": 1.0, "level": "a", "moment": datetime(2020, 1, 1)},
        {"x": 2.0, "z": None, "level": "b", "moment": datetime(2021, 2, 3, 4)},
    ]
    fits = []
    for rest in (other, changed):
        # Training rows first in one table, last in the other.
        rows = [*train, *rest] if rest is other else [*rest, *train]
        begin = 0 if rest is other else len(rest)
        frame = pl.DataFrame(rows, schema=schema)
        dataset = toy(frame, numeric_scaling=scaling)
        fits.append(dataset.fit(np.arange(begin, begin + len(train))).as_dict())
    assert fits[0].keys() == fits[1].keys()
    for name, value in fits[0].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, fits[1][name]), name
        else:
            assert value == fits[1][name], name


def test_categories_are_those_of_training_and_missing_is_one_where_training_missed_some() -> None:
    dataset = toy({"a": ["p", "q", None, "r"], "b": ["u", "v", "w", None]})
    fitted = dataset.fit(np.array([0, 1, 2]))
    assert [(one.categories, one.has_missing) for one in fitted.inputs.categorical] == [
        (("p", "q"), True), (("u", "v", "w"), False),
    ]  # fmt: skip
    assert dataset.inputs(np.arange(4), fitted)[1].tolist() == [[1, 1], [2, 2], [3, 3], [0, 0]]


def test_many_categories_are_learned_embeddings_and_few_are_one_hot() -> None:
    cells = {"few": list("abcdefghij") * 2, "many": list("abcdefghijk") + ["a"] * 9, "eleven": [*"abcdefghij" * 2]}
    cells["eleven"][0] = None  # type: ignore[call-overload]
    rows = np.arange(20)
    assert toy(cells).fit(rows).embedding_dims == [0, 6, 6]
    assert toy(cells, one_hot_levels=11).fit(rows).embedding_dims == [0, 0, 0]
    assert toy(cells, embedding_dim=3).fit(rows).embedding_dims == [0, 3, 3]
    assert toy(cells, one_hot_levels=0, embedding_dim=4).fit(rows).embedding_dims == [4, 4, 4]
    assert uses(toy(cells)) == {
        "few": "10 categories, one-hot",
        "many": "11 categories, embedding of 6",
        "eleven": "11 categories, embedding of 6",
    }


@pytest.mark.parametrize(
    ("cell", "other"),
    [(7.0, 8.0), (0.1, 0.2), (None, 1.0), (None, "a"), ("a", "b"), (datetime(2020, 1, 1), datetime.max)],
)
def test_a_column_that_is_constant_in_training_is_left_out_with_a_word(cell: Any, other: Any) -> None:
    dataset = toy({"constant": [cell, cell, cell, other], "x": [1.0, 2.0, 3.0, 4.0]})
    split = Split(np.arange(3), np.arange(3, 4), np.arange(3, 4))
    assert dataset.fit(split.train).feature_names == ("x",)
    assert uses(dataset, split)["constant"] == "left out: constant in the training part"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 7.7e20, -1e-20, 0.0])
@pytest.mark.parametrize("n_rows", [3, 1000, 4097])
def test_a_constant_with_gaps_is_not_blown_up(value: float, n_rows: int) -> None:
    dataset = toy({"x": [value, None] * n_rows + [value + 1]})
    fitted = dataset.fit(np.arange(2 * n_rows))
    outputs = fitted(*dataset.inputs(np.arange(2 * n_rows + 1), fitted))
    assert fitted.feature_names == ("x", "x is missing")
    assert outputs[:-1, 0].abs().max().item() <= 1e-12 * max(1, abs(value))
    assert outputs[-1, 0].item() == pytest.approx((value + 1) - value, rel=1e-6, abs=1e-12 * abs(value))


def test_a_missing_indicator_is_there_where_training_missed_some() -> None:
    dataset = toy({"a": [1.0, None, 3.0, 4.0], "b": [1.0, 2.0, 3.0, None]})
    fitted = dataset.fit(np.arange(3))
    assert fitted.feature_names == ("a", "b", "a is missing")
    outputs = fitted(*dataset.inputs(np.arange(4), fitted))
    assert outputs[:, 2].tolist() == [0, 1, 0, 0]
    assert outputs[3, 1].item() == 0  # the mean and median of 1, 2, 3
    assert uses(dataset, Split(np.arange(3), np.arange(3, 4), np.arange(3, 4))) == {
        "a": "scaled, missing: median and an indicator", "b": "scaled",
    }  # fmt: skip


def test_a_date_becomes_the_parts_that_vary_and_one_indicator() -> None:
    begin = datetime(2024, 1, 1, 12)
    days = [begin + timedelta(days=7 * number) for number in range(8)]
    dataset = toy({"d": [*days, None], "x": [float(n) for n in range(9)]})
    fitted = dataset.fit(np.arange(9))
    assert fitted.feature_names == ("d.year", "d.month", "d.day", "x", "d.year is missing")
    complete = toy({"d": days, "x": [float(n) for n in range(8)]})
    assert complete.fit(np.arange(8)).feature_names == ("d.month", "d.day", "x")
    assert uses(dataset)["d"] == "year, month, day, missing: median and an indicator"
    assert uses(complete)["d"] == "month, day"


def test_columns_with_another_role_and_those_that_are_no_features_are_left_out() -> None:
    columns = (
        Column("part", "", reason="says which part a row belongs to"),
        Column("when", "numeric"),
        Column("id", "identifier", reason="12 different texts in 12 rows"),
        Column("x", "numeric"),
    )
    dataset = toy(
        {"when": [3.0, 1.0, 2.0], "x": [1.0, 2.0, 3.0]},
        columns=columns,
        roles={"part": "says which part a row belongs to", "when": "says what comes later"},
    )
    assert dataset.fit(np.arange(3)).feature_names == ("x",)
    assert uses(dataset) == {
        "part": "says which part a row belongs to",
        "when": "says what comes later",
        "id": "left out: 12 different texts in 12 rows",
        "x": "scaled",
    }


def test_where_nothing_varies_that_is_refused() -> None:
    with pytest.raises(UserError, match=r"toy\.csv must have a feature that varies in the training part, but none of"):
        toy({"a": [1.0, 1.0, 2.0], "b": ["x", "x", "y"]}).fit(np.arange(2))


def test_inputs_are_those_of_the_rows_in_their_order() -> None:
    dataset = toy({"x": [1.0, 2.0, 3.0], "c": ["a", "b", "a"]})
    fitted = dataset.fit(np.arange(3))
    numeric, categorical = dataset.inputs(np.array([2, 0]), fitted)
    assert (numeric.tolist(), categorical.tolist()) == ([[3.0], [1.0]], [[1], [1]])
    assert dataset.names_after(fitted) == ("x", "c")


def test_the_target_is_described_in_its_own_unit() -> None:
    dataset = toy({"x": [1.0, 2.0, 3.0, 4.0]}, targets=np.array([0.0, 2.0, 4.0, 10.0]), unit="m")
    target = dataset.describe(thirds(4), dataset.fit(np.arange(4))).target
    assert target == {
        "name": "y", "task": "regression", "because": "", "unit": "m",
        "smallest": 0.0, "largest": 10.0, "mean": 4.0, "std": pytest.approx(np.std([0, 2, 4, 10])),
    }  # fmt: skip
    classes = Target(Column("y", "categorical"), ("a", "b"), "text")
    dataset = toy({"x": [1.0, 2.0, 3.0]}, target=classes, targets=np.array([1, 0, 1]))
    assert dataset.describe(thirds(3), dataset.fit(np.arange(3))).target["classes"] == {"a": 1, "b": 2}


def test_what_was_noted_in_reading_and_of_each_column_is_described() -> None:
    column = Column("x", "numeric", ",", note="numbers with a decimal comma")
    dataset = toy({"x": [1.0, 2.0, 3.0]}, columns=(column,), notes=("read as latin-1",))
    described = dataset.describe(thirds(3), dataset.fit(np.arange(3)))
    assert described.notes == ["read as latin-1", "x: numbers with a decimal comma"]
    assert (described.n_rows, described.parts) == (3, {"train": 1, "val": 1, "test": 1})


@settings(max_examples=examples(100))
@given(numbers=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9, unique=True))
def test_the_median_is_that_of_numpy_to_the_last_bit(numbers: list[float]) -> None:
    assert toy({"x": numbers}).fit(np.arange(len(numbers))).median.tolist() == [np.median(numbers)]
