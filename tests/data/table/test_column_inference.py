from typing import Any

import polars as pl
import pytest

from mlplab.data.table.column_inference import DATE_FORMATS, Column, Hints, infer_column
from mlplab.data.table.column_values import column_values
from mlplab.errors import UserError


def column(cells: Any, name: str = "c", **hints: Any) -> Column:
    series = cells if isinstance(cells, pl.Series) else pl.Series(name, cells)
    return infer_column(series.alias(name), Hints(**hints))


MANY = range(60)
PROSE = [f"this is the sentence with the number {number}" for number in MANY]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, None], "numeric"),
        ([1.5, 2.5], "numeric"),
        ([5, 5], "numeric"),
        (["1", "2.5", "1e3", None], "numeric"),
        (["a", "b", "a", None], "categorical"),
        (["a", "a"], "categorical"),
        ([True, None], "boolean"),
        (["true", "False", "TRUE", None], "boolean"),
        (["yes", "no"], "boolean"),
        (["Y", "n"], "boolean"),
        (["t", "F"], "boolean"),
        (["yes", "yes"], "categorical"),
        (["yes", "no", "maybe"], "categorical"),
        (["2020-01-01", "2020-12-31", None], "datetime"),
        ([f"user {number}" for number in MANY], "identifier"),
        ([f"user {number % 40}" for number in MANY], "identifier"),
        ([f"user {number % 25}" for number in MANY], "categorical"),
        (["a", "b", "c"], "categorical"),  # three rows are too few to tell
        (PROSE, "text"),
        (pl.Series(["a", "b"], dtype=pl.Categorical), "categorical"),
        (pl.Series(["1", "2"], dtype=pl.Enum(["1", "2"])), "categorical"),
        (pl.Series([1, 2], dtype=pl.Date), "datetime"),
        (pl.Series([1, 2], dtype=pl.Datetime("ns", "UTC")), "datetime"),
        (pl.Series([1, 2], dtype=pl.Time), "datetime"),
        (pl.Series([1, 2], dtype=pl.Duration), "numeric"),
        (pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)), "numeric"),
        (pl.Series([[1], [2]]), "nested"),
        (pl.Series([{"a": 1}]), "nested"),
        (pl.Series([b"a"]), "nested"),
    ],
)
def test_what_values_hold(cells: Any, kind: str) -> None:
    found = column(cells)
    assert found.kind == kind
    assert found.is_feature == (kind in ("numeric", "categorical", "boolean", "datetime"))
    assert bool(found.reason) == (not found.is_feature)


@pytest.mark.parametrize("name", ["id", "ID", "userId", "user_id", "row.index", "Key", "order-key", "id2", "UUID"])
@pytest.mark.parametrize("cells", [list(range(100, 120)), [float(n) for n in range(20)], [str(n) for n in range(20)]])
def test_whole_numbers_that_are_all_different_are_an_identifier_by_their_name(name: str, cells: list[Any]) -> None:
    found = column(cells, name)
    assert found.kind == ("numeric" if isinstance(cells[0], float) else "identifier")
    assert column(cells, name, kind="numeric").kind == "numeric"


@pytest.mark.parametrize("name", ["width", "idea", "keyboard", "humid", "paid", "indexed"])
def test_other_names_make_no_identifier(name: str) -> None:
    assert column(list(range(20)), name).kind == "numeric"


@pytest.mark.parametrize(
    "cells", [[*range(19), 0], [*range(9)], [n + 0.5 for n in range(20)], [f"{n},5" for n in range(20)]]
)
def test_numbers_that_repeat_are_few_or_are_not_whole_make_no_identifier(cells: list[Any]) -> None:
    assert column(cells, "id").kind == "numeric"


@pytest.mark.parametrize(
    "cells", [[1, 2, 3], ["1", "2", "3"], [1.5, 2.5, 1.5], PROSE, [True, False], ["2020-01-01", "x"]]
)
def test_categorical_is_said(cells: list[Any]) -> None:
    assert column(cells, kind="categorical", kept=("NA",)) == Column("c", "categorical", kept=("NA",))


def test_numeric_is_said_and_refused_where_values_are_none() -> None:
    assert column(["1", "2"] * 9, kind="numeric").kind == "numeric"
    with pytest.raises(UserError) as refusal:
        column(["a", "1", "b"], kind="numeric")
    assert refusal.value.actual == "2 of 3 values are not, the first is 'a' in row 1"


@pytest.mark.parametrize(
    ("cells", "options", "marks"),
    [
        (["1.5", "2"], {}, (".", "")),
        (["1,5", "2"], {}, (",", "")),
        (["1,234", "2,345"], {}, (".", ",")),
        (["1,234", "2,345"], {"prefers_comma": True}, (",", "")),
        (["1,234.5", "2"], {}, (".", ",")),
        (["1.234,5", "2,5"], {}, (",", ".")),
        (["1.234", "2.345"], {}, (".", "")),
        (["1.234", "2.345"], {"prefers_comma": True}, (".", "")),
        (["1.234", "2.345"], {"decimal": ","}, (",", ".")),
        (["1,234", "2,345"], {"decimal": ","}, (",", "")),
        (["1,234", "2,345"], {"decimal": "."}, (".", ",")),
        (["1.234.567", "1.000"], {}, (",", ".")),
        (["1\u202f234,5", "1\u00a0000", "7"], {}, (",", " ")),
        (["0,125", "1,250"], {}, (",", "")),
    ],
)
def test_decimal_marks_are_detected_or_said(cells: list[str], options: dict[str, Any], marks: tuple[str, str]) -> None:
    found = column(cells, **options)
    assert (found.kind, found.decimal, found.thousands) == ("numeric", *marks)
    assert bool(found.note) == (marks != (".", ""))


def test_what_was_assumed_of_numbers_is_noted() -> None:
    assert column(["1.234,5"]).note == "numbers with a decimal comma and thousands set off by a point"
    assert column(["1,234"]).note == "numbers with thousands set off by a comma"


@pytest.mark.parametrize("n_bad", [1, 3])
def test_a_few_values_that_are_no_numbers_are_refused(n_bad: int) -> None:
    cells = [str(number) for number in range(100)]
    cells[40 : 40 + n_bad] = ["?!"] * n_bad
    with pytest.raises(UserError, match="every value of column 'c' must be a number") as refusal:
        column(cells)
    assert f"{n_bad} of 100 values" in refusal.value.actual
    assert "'?!' in row 41" in refusal.value.actual
    assert 'data.missing_values=["?!"]' in refusal.value.hint
    assert "data.categorical=[c]" in refusal.value.hint
    assert column(cells, kind="categorical").kind == "categorical"


def test_codes_that_are_mostly_numbers_are_categories_where_they_are_few() -> None:
    assert column(["1", "2", "3", "3b"] * 10).kind == "categorical"
    assert column(["0", "1", "2", "3+"] * 10).kind == "categorical"
    assert column(["1", "2", "3", "4", "5", "3b"] * 10).kind == "categorical"


@pytest.mark.parametrize(
    "text",
    [
        "2020-02-29", "2020-02-29 13:05:07", "2020-02-29 13:05:07.25", "2020-02-29T13:05:07", "2020-02-29 13:05",
        "2020-02-29T13:05:07Z", "2020-02-29T13:05:07+02:00", "2020/02/29", "2020/02/29 13:05", "29.02.2020",
        "29.2.2020", "29.02.2020 13:05", "02/29/2020", "2/29/2020 13:05", "29/02/2020", "29/2/2020 13:05:07",
        "02-29-2020", "29-02-2020", "29 Feb 2020", "29-Feb-2020", "29 February 2020", "Feb 29, 2020",
        "February 29, 2020", "13:05", "13:05:07",
    ],
)  # fmt: skip
def test_dates_are_known_by_their_form(text: str) -> None:
    found = column([text, None, text])
    assert found.kind == "datetime"
    assert found.date_format in DATE_FORMATS


@pytest.mark.parametrize("text", ["2020-02-30", "32.01.2020", "29/29/2020", "25:05", "1/2/20", "2020", "Feb 2020"])
def test_what_is_no_date_is_none(text: str) -> None:
    cells = [text, text, "so"]
    assert column(cells).kind == "categorical"


def test_a_day_above_12_tells_which_number_is_the_month() -> None:
    assert column(["01/02/2020", "13/02/2020"]).date_format == "%d/%m/%Y"
    assert column(["01/02/2020", "02/13/2020"]).date_format == "%m/%d/%Y"
    assert column(["01/02/2020", "13/02/2020"]).note == ""


def test_where_no_day_tells_the_month_that_is_noted_with_what_to_type() -> None:
    found = column(["01/02/2020", "03/04/2020"])
    assert found.date_format == "%m/%d/%Y"
    assert found.note == (
        "dates of the form %m/%d/%Y, which could as well be %d/%m/%Y; data.date_format='%d/%m/%Y' says otherwise"
    )
    assert column(["01/02/2020", "03/04/2020"], date_format="%d/%m/%Y").note == ""


def test_a_date_format_of_ones_own() -> None:
    found = column(["20200229", "20201231"], date_format="%Y%m%d")
    assert (found.kind, found.date_format) == ("datetime", "%Y%m%d")
    assert column([20200229, 20201231], date_format="%Y%m%d").kind == "datetime"
    assert column([20200229, 20201231]).kind == column([20200229, 7], date_format="%Y%m%d").kind == "numeric"
    assert column([20200229, 20201231], date_format="%Y%m%d", kind="numeric").kind == "numeric"


def test_columns_of_other_dates_are_known_beside_a_date_format_of_ones_own() -> None:
    assert column(["2020-02-29"], date_format="%d/%m/%Y").date_format == "%Y-%m-%d"


@pytest.mark.parametrize("date_format", ["%", "%Q", "%Y", "year"])
def test_a_date_format_that_fits_nothing_changes_nothing(date_format: str) -> None:
    assert column(["a", "b", "a"], date_format=date_format).kind == "categorical"


def test_a_few_values_that_are_no_dates_are_refused() -> None:
    cells = [f"2020-01-{number % 28 + 1:02}" for number in range(99)] + ["soon"]
    with pytest.raises(UserError, match="every value of column 'c' must be a date of the form %Y-%m-%d") as refusal:
        column(cells)
    assert refusal.value.actual == "1 of 100 values is not, the first is 'soon' in row 100"


def test_a_few_days_above_12_are_no_mistakes() -> None:
    cells = [f"{number % 12 + 1:02}/01/2020" for number in range(99)] + ["13/01/2020"]
    assert column(cells).date_format == "%d/%m/%Y"


@pytest.mark.parametrize("cells", [pl.Series([None, None]), pl.Series([None, None], dtype=pl.String)])
def test_a_column_without_any_value_is_refused(cells: pl.Series) -> None:
    with pytest.raises(UserError) as refusal:
        column(cells, "a b")
    assert refusal.value.args == (
        "column 'a b' must have a value in some row",
        "all 2 are missing",
        """'data.drop=["a b"]'""",
    )


@pytest.mark.parametrize(
    "one",
    [
        Column("a", "numeric", ",", ".", note="numbers with a decimal comma"),
        Column("${x}", "categorical", kept=("NA", "?")),
        Column("d", "datetime", date_format="%d/%m/%Y"),
        Column("t", "text", reason="3 different texts"),
    ],
)
def test_a_column_is_kept_as_plain_values(one: Column) -> None:
    plain = one.as_dict()
    assert all(isinstance(value, str | list) for value in plain.values())
    assert Column.from_dict(plain) == one


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["$1,234", "$5"], [1234.0, 5.0]),
        (["€ 7740", "€ 12.5"], [7740.0, 12.5]),
        (["12%", "7.5%", None], [12.0, 7.5, None]),
        (["84 kg", "7.25 kg"], [84.0, 7.25]),
        (["1.50 EUR", "2 EUR"], [1.5, 2.0]),
        (["1 234 567", "12"], [1234567.0, 12.0]),
        (["1'234", "12"], [1234.0, 12.0]),
    ],
)
def test_numbers_may_have_a_currency_a_percent_sign_or_a_unit_around_them(
    cells: list[str | None], expected: list[float | None]
) -> None:
    found = column(cells)
    assert found.kind == "numeric"
    assert found.note
    assert column_values(pl.Series("c", cells), found, ()).to_list() == expected


@pytest.mark.parametrize("cells", [["$5", "€5"], ["84 kg", "84 lb"], ["A12", "A13"], ["12a", "12b"]])
def test_what_differs_from_value_to_value_or_is_part_of_a_name_is_no_unit(cells: list[str]) -> None:
    assert column(cells * 3).kind == "categorical"


@pytest.mark.parametrize(
    ("cell", "date_format"),
    [("08/25/19", "%m/%d/%y"), ("09:49 PM", "%I:%M %p"), ("08/25/2019 09:49 PM", "%m/%d/%Y %I:%M %p")],
)
def test_dates_with_two_digits_for_the_year_and_twelve_hours(cell: str, date_format: str) -> None:
    assert column([cell, cell]).date_format == date_format


def test_many_different_texts_are_categories_where_each_stands_in_two_rows() -> None:
    assert column([f"town {number}" for number in range(600)] * 2).kind == "categorical"
    assert column([f"town {number}" for number in range(1200)]).kind == "identifier"


def test_what_stands_around_numbers_is_what_stands_around_the_first_one() -> None:
    cells = ["1%", "2 %"] * 15
    assert (column(cells).kind, column(cells).suffix) == ("numeric", "%")
    assert column([None, *reversed(cells)]).kind == "categorical"


def test_a_few_words_among_dates_are_mistakes_wherever_they_stand() -> None:
    dates = [f"2024-01-{day:02}" for day in range(1, 31)] * 4
    for place in (1, 115):
        cells = [*dates[:place], "soon", *dates[place:]]
        with pytest.raises(UserError, match="must be a date of the form %Y-%m-%d") as refusal:
            column(cells)
        assert refusal.value.actual == f"1 of 121 values is not, the first is 'soon' in row {place + 1}"
