from datetime import datetime

import polars as pl
import pytest

from mlplab.data.table.datetime_strings import (
    CLOCKS,
    DAYS,
    GAPS,
    MONTHS,
    as_datetimes,
    first_that_fits,
    formats_of,
    reordered,
)


@pytest.mark.parametrize(
    ("text", "date_format", "expected"),
    [
        ("2020-02-29", "%Y-%m-%d", datetime(2020, 2, 29)),
        ("2021-02-29", "%Y-%m-%d", None),
        ("29/02/2020 13:05", "%d/%m/%Y %H:%M", datetime(2020, 2, 29, 13, 5)),
        ("2020-01-01T01:00:00+02:00", "%+", datetime(2019, 12, 31, 23)),
        ("13:05", "%H:%M", datetime(1970, 1, 1, 13, 5)),
        ("25:05", "%H:%M", None),
        ("1/2/20", "%m/%d/%Y", None),  # no year 20
        ("x", "%Y-%m-%d", None),
        ("2020-01-01", "%Q", None),
        ("2020-01-01", "%", None),
        ("2020-01-01", "%M", None),  # polars refuses minutes without hours,
        ("2020-01-01", "%T%s", None),  # and seconds without them
    ],
)
def test_text_as_datetimes(text: str, date_format: str, expected: datetime | None) -> None:
    found = as_datetimes(pl.Series([text, None]), date_format)
    assert found.dtype == pl.Datetime("us")
    assert found.to_list() == [expected, None]


@pytest.mark.parametrize("date_format", [*DAYS, *MONTHS])
def test_every_form_of_a_day_or_month_is_recognised_and_read(date_format: str) -> None:
    moment = datetime(2024, 10, 1)
    text = moment.strftime(date_format.replace("%q", "4"))
    assert date_format in formats_of([text])
    assert as_datetimes(pl.Series([text]), date_format)[0] == (datetime(2024, 9, 30) if "%V" in date_format else moment)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("clock", [clock for clock in CLOCKS if clock != "%H%M"])
@pytest.mark.parametrize("zone", ["", "+02:00", " UTC"])
def test_times_stand_behind_a_day(gap: str, clock: str, zone: str) -> None:
    text = datetime(2024, 1, 13, 9, 5, 7).strftime(f"%Y-%m-%d{gap}{clock.replace('%.f', '')}") + zone
    read = [as_datetimes(pl.Series([text]), form)[0] for form in formats_of([text])]
    assert datetime(2024, 1, 13, 7 if zone == "+02:00" else 9, 5, 7 if "%S" in clock else 0) in read


@pytest.mark.parametrize("text", ["Sept. 5, 2024", "5th of September 2024", "Thu Sep  5 00:00:00 +0000 2024"])
def test_names_of_months_and_ordinals_as_people_write_them(text: str) -> None:
    assert first_that_fits(pl.Series([text]), formats_of([text]))[0] == datetime(2024, 9, 5)


def test_the_unit_of_unix_time_is_told_by_its_size() -> None:
    text = pl.Series(["1700000000", "1700000000000", "1700000000000000", "1700000000000000000", "5", "x"])
    assert as_datetimes(text, "%s").to_list() == [datetime(2023, 11, 14, 22, 13, 20)] * 4 + [None] * 2


def test_years_of_two_digits_after_the_latest_are_a_century_earlier() -> None:
    text = pl.Series(["05/18/35", "05/18/29", "2035-05-18"])
    years = first_that_fits(text, ["%m/%d/%y", "%Y-%m-%d"], latest_year=2029).dt.year()
    assert years.to_list() == [1935, 2029, 2035]


def test_forms_that_differ_in_the_order_of_days_and_months_are_alike() -> None:
    assert reordered("%m/%d/%y") == reordered("%y/%m/%d") != reordered("%m/%d/%Y") == reordered("%d/%m/%Y")
