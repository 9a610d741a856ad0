import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.column_inference import Column
from mlplab.data.table.column_values import (
    DATETIME_PARTS,
    LARGEST_FLOAT32,
    as_categories,
    as_enum,
    column_values,
    datetime_part,
    n_unreadable,
    tell_markers,
    tell_unreadable,
)
from mlplab.data.table.strings import null_missing
from mlplab.errors import UserError


def of(cells: Any, column: Column, missing: tuple[str, ...] = ()) -> list[Any]:
    series = cells if isinstance(cells, pl.Series) else pl.Series(cells)
    return column_values(null_missing(series.alias(column.name), (), missing), column, missing).to_list()


NUMERIC, COMMA = Column("c", "numeric"), Column("c", "numeric", ",", ".")
LEVELS, BOOLEAN = Column("c", "categorical"), Column("c", "boolean")


@pytest.mark.parametrize(
    ("cells", "column", "expected"),
    [
        ([1, None, 3], NUMERIC, [1.0, None, 3.0]),
        ([1.5, math.nan], NUMERIC, [1.5, None]),
        (["1.5", " 2 ", "NA"], NUMERIC, [1.5, 2.0, None]),
        ([Decimal("1.25"), None], NUMERIC, [1.25, None]),
        ([timedelta(minutes=1), None], NUMERIC, [60.0, None]),
        ([True, None], NUMERIC, [1.0, None]),
        (["1.234,5", "-2"], COMMA, [1234.5, -2.0]),
        (["1234.5", "-2"], COMMA, [1234.5, -2.0]),  # another file may write the same numbers plainly
        (["1.234", "-2"], COMMA, [1234.0, -2.0]),
        ([1234.5, -2.0], COMMA, [1234.5, -2.0]),  # and Parquet does
    ],
)
def test_numbers(cells: Any, column: Column, expected: list[float | None]) -> None:
    assert of(cells, column) == expected


@pytest.mark.parametrize(
    ("cells", "given"),
    [
        (["1", "x", None, "y"], "2 of 4 values are not, the first is 'x' in row 12"),
        (["1.5", "2,5"], "1 of 2 values is not, the first is '2,5' in row 12"),
    ],
)
def test_a_value_that_is_no_number_is_refused_with_its_row(cells: list[str], given: str) -> None:
    with pytest.raises(UserError) as refusal:
        column_values(pl.Series("c", cells), NUMERIC, (), first_row=11)
    assert refusal.value.actual == given


@pytest.mark.parametrize(
    ("cells", "must", "given"),
    [
        ([1.0, math.inf, -math.inf], "finite", "2 of 3 are not, the first is inf in row 2"),
        (["1", "-inf"], "finite", "1 of 2 is not, the first is -inf in row 2"),
        (["1", "1e999"], "finite", "1 of 2 is not, the first is inf in row 2"),
        ([1.0, None, -3.5e38], "fit into 32 bits", "1 of 3 does not, the first is -3.5e+38 in row 3"),
        (["1e39", "1e40"], "fit into 32 bits", "2 of 2 do not, the first is 1e+39 in row 1"),
    ],
)
def test_what_does_not_fit_into_32_bits_is_refused_with_its_row(cells: list[Any], must: str, given: str) -> None:
    with pytest.raises(UserError, match="every number of column 'a b' must") as refusal:
        column_values(pl.Series("a b", cells), Column("a b", "numeric"), ())
    assert must in refusal.value.requirement
    assert refusal.value.actual == given
    assert 'data.drop=["a b"]' in refusal.value.hint


def test_the_largest_numbers_of_32_bits_are_taken() -> None:
    assert of([LARGEST_FLOAT32, -LARGEST_FLOAT32], NUMERIC) == [LARGEST_FLOAT32, -LARGEST_FLOAT32]


def test_a_decimal_point_beside_decimal_commas_is_taken_only_where_it_cannot_set_off_thousands() -> None:
    column = Column("c", "numeric", ",")
    assert of(["1.5", "2.25", "0.125"], column) == [1.5, 2.25, 0.125]
    with pytest.raises(UserError, match=r"2 of 2 values are not, the first is '1\.500'"):
        of(["1.500", "2.25"], column)


@pytest.mark.parametrize("cell", ["-200", "-2e2", "-200.000", "-0200"])
def test_a_number_that_means_missing_does_so_in_any_spelling(cell: str) -> None:
    assert of([cell, "1.5"], NUMERIC, ("-200",)) == [None, 1.5]


def test_infinities_may_be_declared_missing_as_the_message_says() -> None:
    assert of([1.0, math.inf, -math.inf], NUMERIC, ("inf", "-inf")) == [1.0, None, None]
    assert of(["1", "inf", "-inf"], NUMERIC, ("inf", "-inf")) == [1.0, None, None]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([[1], [2]], "numeric"),
        ([date(2020, 1, 1)], "numeric"),
        ([[1], [2]], "categorical"),
        ([b"a"], "categorical"),
        ([1, 2], "datetime"),
        ([timedelta(1)], "datetime"),
    ],
)
def test_types_that_cannot_be_values_are_refused(cells: list[Any], kind: str) -> None:
    with pytest.raises(UserError, match="it holds") as refusal:
        of(cells, Column("a b", kind))
    assert refusal.value.hint == """'data.drop=["a b"]'"""


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([" a", "b ", "NA", None], ["a", "b", None, None]),
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.0, None], ["1", "2", None]),
        ([1.0, 2.5], ["1", "2.5"]),
        ([True, None], ["true", None]),
        (pl.Series(["a", " NA"], dtype=pl.Categorical), ["a", None]),
        ([date(2020, 1, 1)], ["2020-01-01"]),
        ([1e300, -0.0], ["1e+300", "0"]),
        ([10**18], ["1000000000000000000"]),
    ],
)
def test_categories(cells: Any, expected: list[str | None]) -> None:
    assert of(cells, LEVELS) == expected


@settings(max_examples=examples(40))
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), min_size=1, max_size=20))
def test_a_category_is_called_alike_whatever_stands_around_it(numbers: list[float | None]) -> None:
    together = as_categories(pl.Series(numbers, dtype=pl.Float64)).to_list()
    alone = [as_categories(pl.Series([number], dtype=pl.Float64))[0] for number in numbers]
    assert together == alone
    assert all(text is None or float(text) == number for text, number in zip(together, numbers, strict=True))


@pytest.mark.parametrize("cells", [["Yes", "NO", None], ["T", "f", None], ["true", "False", None], [True, False, None]])
def test_truth_values_are_called_alike(cells: list[Any]) -> None:
    assert of(cells, BOOLEAN) == ["true", "false", None]


def test_a_word_that_is_no_truth_value_stays_for_an_unknown_category() -> None:
    assert of(["yes", "maybe"], BOOLEAN) == ["true", "maybe"]


@pytest.mark.parametrize(
    ("cells", "date_format", "expected"),
    [
        (["29/02/2020", None], "%d/%m/%Y", datetime(2020, 2, 29)),
        (["2020-02-29", "NA"], "", datetime(2020, 2, 29)),
        (["2020-02-29 13:05:07.5", None], "", datetime(2020, 2, 29, 13, 5, 7, 500_000)),
        (["2020-02-29T13:05:07+02:00", None], "", datetime(2020, 2, 29, 11, 5, 7)),
        ([20200229, None], "%Y%m%d", datetime(2020, 2, 29)),
        ([date(2020, 2, 29), None], "%d/%m/%Y", datetime(2020, 2, 29)),
        ([datetime(2020, 2, 29, 13), None], "", datetime(2020, 2, 29, 13)),
        (
            pl.Series([datetime(2020, 2, 29, 13), None]).dt.replace_time_zone("Europe/Berlin"),
            "",
            datetime(2020, 2, 29, 12),
        ),
        ([time(13, 5, 7, 9), None], "", datetime(1970, 1, 1, 13, 5, 7, 9)),
        (pl.Series([0, None], dtype=pl.Datetime("ns")), "", datetime(1970, 1, 1)),
    ],
)
def test_datetimes(cells: Any, date_format: str, expected: datetime) -> None:
    assert of(cells, Column("c", "datetime", date_format=date_format)) == [expected, None]


def test_a_date_of_another_form_is_refused_with_its_row() -> None:
    with pytest.raises(UserError, match="must be a date of the form %d/%m/%Y, but 1 of 2") as refusal:
        of(["29/02/2020", "02/29/2020"], Column("c", "datetime", date_format="%d/%m/%Y"))
    assert "'02/29/2020' in row 2" in refusal.value.actual


def test_the_parts_of_a_datetime() -> None:
    moments = pl.Series([datetime(2024, 2, 29, 23, 59), datetime(2023, 1, 1), None])
    parts = {part: datetime_part(moments, part).to_list() for part in DATETIME_PARTS}
    assert parts == {
        "year": [2024.0, 2023.0, None],
        "month": [2.0, 1.0, None],
        "day": [29.0, 1.0, None],
        "weekday": [4.0, 7.0, None],  # a Thursday and a Sunday
        "hour": [23.0, 0.0, None],
        "minute": [59.0, 0.0, None],
        "second": [0.0, 0.0, None],
    }


def test_categories_are_numbered_and_other_values_are_left_as_they_are() -> None:
    numbered = as_enum(pl.Series("c", ["b", None, "a", "b"]))
    assert numbered.dtype == pl.Enum(["a", "b"])
    assert numbered.to_list() == ["b", None, "a", "b"]
    assert as_enum(pl.Series("x", [1.5, None])).dtype == pl.Float64


def test_the_share_of_cells_that_cannot_be_read_holds_for_each_file() -> None:
    column = Column("c", "numeric", unreadable_cells=0.1)
    series = pl.Series("c", [*map(str, range(18)), "-", "oh"])
    values = column_values(series, column, ())
    assert values[-2:].to_list() == [None, None]
    assert n_unreadable(series, values) == 1
    assert tell_markers(series, values) == "c: 1 value taken for missing: '-'"
    assert tell_unreadable(series, values, "numbers") == (
        "c: 1 of 20 values is no number, counted as missing: 'oh' in row 20; data.unreadable_cells=0 refuses them"
    )
    with pytest.raises(UserError, match="2 of 3 values are not, the first is 'oh' in row 2"):
        column_values(pl.Series("c", ["1", "oh", "no"]), column, ())


def test_dates_of_another_form_are_read_where_it_cannot_be_mistaken() -> None:
    column = Column("c", "datetime", date_format="%d/%m/%Y", other_formats=("%b %d, %Y",))
    assert of(["29/02/2020", "2020-02-29", "Feb 29, 2020"], column) == [datetime(2020, 2, 29)] * 3
    assert of(["13:05", "13:05:07"], Column("c", "datetime", date_format="%H:%M"))[1] == datetime(1970, 1, 1, 13, 5, 7)
