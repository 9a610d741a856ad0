import polars as pl
import pytest

from mlplab.data.table.compound_strings import COMPOUNDS, as_compounds


@pytest.mark.parametrize(
    ("unit", "text", "number"),
    [
        ("seconds", "1:06", 66.0),
        ("seconds", "-1:06.5", -66.5),
        ("seconds", "36:15:00", 130500.0),
        ("seconds", "1 day, 2:00:00", 93600.0),
        ("seconds", "1.03:04:05", 97445.0),
        ("seconds", "0 days 00:00:05.25", 5.25),
        ("seconds", "P1W", 604800.0),
        ("seconds", "PT1H30M", 5400.0),
        ("seconds", "1 hr and 5 mins", 3900.0),
        ("seconds", "1:60", None),
        ("seconds", "P", None),
        ("seconds", "", None),
        ("seconds", "+01:00", None),
        ("seconds", "2024-01-01", None),
        ("months", "3y 10m", 46.0),
        ("months", "2 years", 24.0),
        ("inches", "5'11\"", 71.0),
        ("inches", "6 ft", 72.0),
        ("degrees", "48.85°S", -48.85),
        ("degrees", "40° 30' N", 40.5),
        ("degrees", "12N", None),
    ],
)
def test_parts_are_summed(unit: str, text: str, number: float | None) -> None:
    assert as_compounds(pl.Series("c", [text, None]), unit).to_list() == [number, None]


def test_plain_numbers_are_no_compounds() -> None:
    for unit in COMPOUNDS:
        assert as_compounds(pl.Series(["5", "1.5", "x"]), unit).null_count() == 3
