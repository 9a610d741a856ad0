from datetime import date, datetime

import polars as pl
import pytest

from mlplab.data.table.datetime_inference import infer_dates, infer_times_of_day, whole_number_format
from mlplab.data.table.datetime_strings import first_that_fits


def formats(*strings: str) -> tuple[str, ...]:
    return infer_dates(pl.Series(strings), pl.ones(len(strings), pl.Int64, eager=True)).formats


def test_the_most_frequent_form_comes_first_and_a_rare_string_is_a_mistake() -> None:
    assert formats(*["2024-01-13"] * 9, "Jan 14, 2024", "so") == ("%Y-%m-%d", "%b %d, %Y")
    assert formats("so", "a1") == ()


def test_a_form_of_the_other_order_joins_none() -> None:
    assert formats(*["13/01/2024"] * 9, "01/14/2024") == ("%d/%m/%Y",)
    assert formats(*["13/01/2024"] * 9, "01/14/24") == ("%d/%m/%Y",)
    assert formats(*["13/01/2024"] * 9, "14/01/24") == ("%d/%m/%Y", "%d/%m/%y")


@pytest.mark.parametrize(
    "strings",
    [
        ["1er déc. 2021", "12 août 2021"],
        ["1. Dezember 2021", "12. August 2021"],
        ["1 de diciembre de 2021", "12 de ago. de 2021"],
        ["1 декабря 2021", "12 августа 2021"],
        ["2021年12月1日", "2021年8月12日"],
    ],
)
def test_months_may_be_named_in_other_languages(strings: list[str]) -> None:
    read = first_that_fits(pl.Series(strings), formats(*strings))
    assert read.dt.date().to_list() == [date(2021, 12, 1), date(2021, 8, 12)]


def test_words_that_are_months_elsewhere_make_no_date() -> None:
    assert formats("3 out of 12", "5 out of 10") == formats("2 set 12") == ()


def test_a_zone_may_be_hours_from_greenwich() -> None:
    strings = ["2023/05/01 9:00:01 PM GMT+2", "2023/05/02 12:30:00 AM GMT+2"]
    read = first_that_fits(pl.Series(strings), formats(*strings))
    assert read.to_list() == [datetime(2023, 5, 1, 19, 0, 1), datetime(2023, 5, 1, 22, 30)]


@pytest.mark.parametrize(
    ("strings", "words", "found"),
    [
        (["14:06", "14:59"], set(), ("%H:%M",)),
        (["08:30", "09:00:05"], set(), ("%H:%M:%S%.f", "%H:%M")),
        (["1:06", "1:59"], set(), ()),
        (["00:01:06", "00:59:59"], set(), ()),
        (["9:30 PM"], {"duration"}, ("%I:%M %p",)),
    ],
)
def test_times_of_day(strings: list[str], words: set[str], found: tuple[str, ...]) -> None:
    series = pl.Series(strings)
    assert infer_times_of_day(series, pl.ones(len(series), pl.Int64, eager=True), words).formats == found


@pytest.mark.parametrize(
    ("numbers", "words", "found"),
    [
        ([20240131, 20240201], {"date"}, "%Y%m%d"),
        ([20240131, 20240201], set(), ""),
        ([20240131, 20240232], {"date"}, ""),
        ([202401, 202412], {"month"}, "%Y%m"),
        ([1_700_000_000], {"timestamp"}, "%s"),
        ([1_700_000_000], {"income"}, ""),
        ([5, 1_700_000_000], {"timestamp"}, ""),
    ],
)
def test_whole_numbers_that_are_dates(numbers: list[int], words: set[str], found: str) -> None:
    assert whole_number_format(pl.Series(numbers), words) == found
