from datetime import datetime
from typing import Any

import polars as pl
import pytest

from mlplab.data.table.column import Column, Hints
from mlplab.data.table.column_inference import infer_column
from mlplab.data.table.column_values import column_values
from mlplab.data.table.datetime_strings import as_datetimes
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
    assert as_datetimes(pl.Series([text]), found.date_format)[0] is not None


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
def test_a_column_without_any_value_is_no_feature(cells: pl.Series) -> None:
    assert column(cells) == Column("c", "empty", reason="has no value in any row")


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
    assert all(isinstance(value, str | list | int | float) for value in plain.values())
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


def test_a_blank_may_stand_in_front_of_a_unit_or_not() -> None:
    cells = ["1%", "2 %"] * 15
    assert (column(cells).kind, column(cells).suffix) == ("numeric", "%")
    assert column([None, *reversed(cells)]).suffix == "%"


def test_a_few_words_among_dates_are_mistakes_wherever_they_stand() -> None:
    dates = [f"2024-01-{day:02}" for day in range(1, 31)] * 4
    for place in (1, 115):
        cells = [*dates[:place], "soon", *dates[place:]]
        with pytest.raises(UserError, match="must be a date of the form %Y-%m-%d") as refusal:
            column(cells)
        assert refusal.value.actual == f"1 of 121 values is not, the first is 'soon' in row {place + 1}"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["01234", "1234", "90210"] * 9, "categorical"),
        (["01", "1", "10"] * 9, "categorical"),
        ([f"{number:05}" for number in range(50)], "identifier"),
        (["+4917612345678", "+49 30 123456"] * 9, "categorical"),
        ([12345678901234567, 98765432109876543] * 9, "categorical"),
        (["123456789012345678901", "98765432109876543210"] * 9, "categorical"),
        (["9" * 40, "8" * 45] * 9, "categorical"),
        ([1152921504606846976 + 10**15 * number for number in range(20)], "identifier"),
        ([10**17 + number for number in range(-800, 800)], "numeric"),  # differ too little for codes
        (["007.5", "012.25", "100.0"] * 9, "numeric"),
        (["-05", "03", "11"] * 9, "numeric"),
        (["0", "0.5", "10"] * 9, "numeric"),
        ([str(number) for number in range(1, 2000)] + ["05"], "numeric"),  # a typing error
    ],
)
def test_codes_of_digits_are_no_quantities(cells: list[Any], kind: str) -> None:
    found = column(cells)
    assert found.kind == kind
    assert ("data.numeric=[c]" in found.note) == (kind != "numeric")


def test_codes_are_quantities_where_the_user_says_so() -> None:
    assert column(["01234", "1234"] * 9, kind="numeric").kind == "numeric"
    assert column([12345678901234567, 98765432109876543] * 9, kind="numeric").kind == "numeric"


def test_the_name_decides_where_the_digits_do_not() -> None:
    assert column([10115, 80331, 20095] * 9, "zip_code").kind == "categorical"
    assert column(["001", "022", "365"] * 9, "dayCount").kind == "numeric"


@pytest.mark.parametrize(
    ("cells", "date_format", "said"),
    [
        (["24/04/30", "23/09/29", "22/12/11"], "%y/%m/%d", "as they lie within 2 years, and not %d/%m/%y"),
        (["24/04/05", "23/09/08"], "%y/%m/%d", "as they lie within"),
        (["01/02/24", "03/04/24"], "%m/%d/%y", "which could as well be %d/%m/%y"),
        (["24-04-30", "23-09-29", "22-12-11"], "%y-%m-%d", "as they lie within"),
        (["01-Jan-24", "29-FEB-24"], "%d-%b-%y", ""),
        (["2024.01.13", "2024.12.01"], "%Y.%m.%d", ""),
        (["Jan 2024", "Sep 2023"], "%b %Y", ""),
        (["2024-Q1", "2023-Q4"], "%Y-Q%q", ""),
        (["2024-W05", "2023-W52"], "%G-W%V", ""),
        ([20240401 + number for number in range(20)], "%Y%m%d", "data.numeric=[c] says otherwise"),
        (["20240430T120000", "20240501T130000"], "%Y%m%dT%H%M%S", ""),
        (["Mon, 01 Jan 2024 12:00:00 +0000"] * 2, "%a, %d %b %Y %H:%M:%S%.f %#z", ""),
        (["1st March 2024", "22nd April 2024"], "%d %B %Y", ""),
        (["14:06", "14:59"], "%H:%M", "times of day"),
        (["9:30", "17:45"], "%H:%M", "times of day"),
    ],
)
def test_further_forms_of_dates_are_read_and_doubts_are_said(cells: list[Any], date_format: str, said: str) -> None:
    found = column(cells)
    assert (found.kind, found.date_format) == ("datetime", date_format)
    assert said in found.note
    assert column_values(pl.Series("c", cells), found, ()).null_count() == 0


def test_unix_time_is_read_under_a_name_that_says_so() -> None:
    seconds = [1_700_000_000 + 86_400 * number for number in range(9)]
    for unit in (1, 1000, 10**9):
        found = column([second * unit for second in seconds], "created_at")
        assert (found.kind, found.date_format) == ("datetime", "%s")
        assert column_values(pl.Series("created_at", seconds), found, ())[0] == datetime(2023, 11, 14, 22, 13, 20)
    assert column(seconds, "income").kind == "numeric"


def test_a_column_may_hold_dates_in_several_forms() -> None:
    cells = ["2024-01-13", "2024-01-14T12:00:00Z", "01/15/2024", "2024-01-16"] * 9
    found = column(cells)
    assert found.kind == "datetime"
    assert len({found.date_format, *found.other_formats}) == 3
    assert "dates of the forms" in found.note
    assert "without a zone are taken for UTC" in found.note
    days = column_values(pl.Series("c", cells), found, ()).dt.day().to_list()
    assert days == [13, 14, 15, 16] * 9


def test_days_and_months_in_both_orders_are_no_dates_of_two_forms() -> None:
    cells = ["13/01/2024", "01/14/2024"] * 20
    assert column(cells).kind == "categorical"


def test_school_years_are_no_months() -> None:
    assert column(["2009-10", "2010-11", "2011-12"] * 9).kind == "categorical"


@pytest.mark.parametrize(
    ("cells", "compound", "first"),
    [
        (["1:06", "1:59"], "seconds", 66.0),
        (["36:15:00", "01:00:00"], "seconds", 130500.0),
        (["59:32", "1:02:10"], "seconds", 3572.0),
        (["2 days 03:04:05", "0 days 00:00:01"], "seconds", 183845.0),
        (["P1DT2H", "PT5M"], "seconds", 93600.0),
        (["1h 30m", "45m"], "seconds", 5400.0),
        (["5'11\"", "6'2\""], "inches", 71.0),
        (["40°26'46\"N", "48.85° S"], "degrees", 40 + 26 / 60 + 46 / 3600),
    ],
)
def test_numbers_that_are_made_of_several(cells: list[str], compound: str, first: float) -> None:
    found = column(cells)
    assert (found.kind, found.compound) == ("numeric", compound)
    assert compound in found.note
    assert column_values(pl.Series("c", cells), found, ())[0] == pytest.approx(first)


def test_the_name_tells_lengths_of_time_from_times_of_day() -> None:
    assert column(["08:30", "09:45"], "duration").compound == "seconds"
    assert column(["1:06", "1:59"], "departure").kind == "datetime"
    assert column(["25:23", "19:25"], "set_score").kind == "categorical"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["-$5.00", "$-5.00", "($5.00)", "$1,234.50", "0"], [-5.0, -5.0, -5.0, 1234.5, 0.0]),
        (["(1,234.50)", "5.00"], [-1234.5, 5.0]),
        (["\u22125", "\u20136.5", "7"], [-5.0, -6.5, 7.0]),
        (["1,23,45,678", "1,234"], [12345678.0, 1234.0]),
        (["3.0K", "1.2M", "500"], [3000.0, 1.2e6, 500.0]),
        (["$1.2m", "$3 bn"], [1.2e6, 3e9]),
        (["12kg", "900g"], [12000.0, 900.0]),
        (["1 234,50 €", "12,00 €"], [1234.5, 12.0]),
        (["１２", "３.５"], [12.0, 3.5]),
        (["1/2", "1 3/4", "½"], [0.5, 1.75, 0.5]),
        (["4.1/5", "3.9/5", "3/5"], [4.1, 3.9, 3.0]),
        (["12/20", "7/20", "19/20"], [12.0, 7.0, 19.0]),
        (["1.2×10^3", "5×10⁻²"], [1200.0, 0.05]),
        (["12*", "13[1]", "14"], [12.0, 13.0, 14.0]),
        (["10,000+", "5+", "0"], [10000.0, 5.0, 0.0]),
        (["3 stars", "1 star"], [3.0, 1.0]),
        (["8GB", "1TB"], [8e9, 1e12]),
        (["1\u2009234", "5"], [1234.0, 5.0]),
        (["-", ".", "#DIV/0!", "(null)", "1.5", "unknown"], [None, None, None, None, 1.5, None]),
    ],
)
def test_numbers_are_read_as_people_write_them_and_that_is_said(cells: list[str], expected: list[float]) -> None:
    found = column(cells)
    assert found.kind == "numeric"
    assert column_values(pl.Series("c", cells), found, ()).to_list() == expected
    assert bool(found.note) == (None not in expected)


@pytest.mark.parametrize(
    "cells",
    [
        ["<=50K", ">50K"] * 30,
        ["18-25", "26-35", "36+"] * 9,
        ["120/80", "130/85"] * 9,
        ["2100 - 2850", "1200 - 1500"] * 9,
        ["12%", "0.12", "0.5"] * 9,
        ["2.0T", "1.8T"] * 9,
    ],
)
def test_groups_and_pairs_are_no_numbers(cells: list[str]) -> None:
    assert column(cells).kind == "categorical"


def test_bounds_among_many_numbers_are_numbers() -> None:
    cells = [str(number) for number in range(50)] + ["< 5", ">100"]
    found = column(cells)
    assert found.kind == "numeric"
    assert "2 values such as '>100', read as 100" in found.note


def test_a_few_cells_that_are_no_numbers_count_as_missing() -> None:
    cells = [str(number) for number in range(100)] + ["2100 - 2850", "3.0M"]
    found = column(cells, unreadable_cells=0.02)
    assert (found.kind, found.unreadable_cells) == ("numeric", 0.02)
    assert column_values(pl.Series("c", cells), found, ())[-2:].to_list() == [None, None]
    with pytest.raises(UserError, match=r"data.unreadable_cells=0\.02"):
        column(cells, unreadable_cells=0.01)


@pytest.mark.parametrize("words", [["Ja", "nein"], ["oui", "non"], ["si", "no"], ["on", "off"], ["yes", "no", "Y"]])
def test_truth_values_in_other_words(words: list[str]) -> None:
    found = column(words * 5)
    assert found.kind == "boolean"
    assert set(column_values(pl.Series("c", words), found, ())) == {"true", "false"}


@pytest.mark.parametrize(
    ("cells", "name", "years"),
    [
        (["05/18/45", "05/18/71", "05/18/99"], "d", [1945, 1971, 1999]),
        (["05/18/35", "05/18/05", "05/18/20"], "d", [2035, 2005, 2020]),
        (["05/18/35", "05/18/05"], "dob", [1935, 2005]),
        (["05/18/45", "05/18/60"], "d", [1945, 1960]),
        (["05/18/71", "05/18/20"], "d", [1971, 2020]),
    ],
)
def test_two_digits_of_a_year_are_of_the_century_that_is_plausible(
    cells: list[str], name: str, years: list[int]
) -> None:
    found = column(cells, name)
    values = column_values(pl.Series(name, cells), found, ())
    assert values.dt.year().to_list() == years
    assert ("years of two digits" in found.note) == bool(found.latest_year)
    # Another file may write all four digits, of which none is made up.
    assert column_values(pl.Series(name, ["2050-01-01"]), found, ()).dt.year()[0] == 2050


def test_the_share_of_unreadable_cells_holds_for_columns_without_any_in_training() -> None:
    for cells in ([1, 2], ["1", "2"], ["2024-01-01"], [0.5]):
        assert column(cells, unreadable_cells=0.02).unreadable_cells == 0.02
    assert column(["a", "b"], unreadable_cells=0.02).unreadable_cells == 0.0


def test_a_few_bounds_beside_few_numbers_are_numbers_and_more_are_groups() -> None:
    counts = [str(number % 5) for number in range(97)]
    assert column([*counts, "5+", "5+", "5+"]).kind == "numeric"
    assert column([*counts, *["5+"] * 20]).kind == "categorical"
    assert column(["<=50K", ">50K"] * 9, kind="numeric").kind == "numeric"


def test_markers_alone_are_no_numbers() -> None:
    assert column(["-", "unknown"], kind="numeric").kind == "empty"
    assert column(["-", "unknown"]).kind == "categorical"


@pytest.mark.parametrize(
    ("cells", "numbers", "unit"),
    [
        (["$ -", "$ 1,234.00", "$ (5.00)"], [0, 1234, -5], "$"),
        (["- €", "12,50 €"], [0, 12.5], "€"),
        (["₹1.5 Cr", "₹85 L"], [1.5e7, 8.5e6], "₹"),
        (["5 L", "8 L"], [5, 8], "L"),
        (["€12.5M", "€300K"], [1.25e7, 3e5], "€"),
        (["7.07 ± 0.05", "6.9 +/- 0.1"], [7.07, 6.9], ""),
        (["12.3 [10.1-14.5]", "2.5 (1.0, 4.5)"], [12.3, 2.5], ""),
    ],
)
def test_amounts_and_measurements_as_they_are_published(cells: list[str], numbers: list[float], unit: str) -> None:
    found = column(cells)
    assert column_values(pl.Series(cells), found, []).to_list() == pytest.approx(numbers)
    assert found.unit == unit


def test_whole_numbers_are_not_said_to_have_a_decimal_comma() -> None:
    assert column(["1", "20"], decimal=",").note == ""


def test_numbers_in_a_column_of_text_are_told() -> None:
    found = column([f"{n} hours" if n % 3 == 0 else f"{n / 7:.2f} k/g" if n % 3 == 1 else f"{n}" for n in MANY])
    assert found.kind == "identifier"
    assert "20 of 60 values are numbers, others such as '0 hours' are not" in found.note
    assert "data.numeric=[c] data.unreadable_cells=0.67 counts them as missing" in found.note


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [(["1 year", "6 months", "1 year 2 months"], [12, 6, 14]), (["1 year", "2 weeks", "3 weeks"], [12, 0.46, 0.69])],
)
def test_ages_of_weeks_months_and_years(cells: list[str], numbers: list[float]) -> None:
    found = column(cells)
    assert found.compound == "months"
    assert column_values(pl.Series(cells), found, []).to_list() == pytest.approx(numbers, abs=0.01)


@pytest.mark.parametrize("cells", [["860xx", "120xx", "309xx"], [3067.0, 3042.0, None, 3121.0]])
def test_postcodes_are_codes_however_they_are_written(cells: list[Any]) -> None:
    assert column(cells * 10, "zip_code").kind == "categorical"
    assert column(cells * 10, "price").kind == "numeric"


def test_whole_numbers_beside_missing_ones_may_have_decimals() -> None:
    zips = pl.Series("zip", [90210.0, None, 10115.0, 80331.0] * 9)
    found = column(zips, "zip")
    assert found.kind == "categorical"
    assert column_values(zips, found, ())[:3].to_list() == ["90210", None, "10115"]
    days = pl.Series("date", [20240131.0, None])
    assert column_values(days, column(days, "date"), ())[0] == datetime(2024, 1, 31)
    assert column([90210.5, 10115.0] * 9, "zip").kind == "numeric"
