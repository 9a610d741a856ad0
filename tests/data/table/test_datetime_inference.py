import polars as pl
import pytest

from mlplab.data.table.datetime_inference import infer_dates, infer_times_of_day, whole_number_format


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
