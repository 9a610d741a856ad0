import math

import polars as pl
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.number_strings import are_bounds, around_numbers, as_numbers, plain_numbers


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "number"),
    [
        ("1.5", ".", "", 1.5),
        ("-1e-3", ".", "", -0.001),
        ("+.5", ".", "", 0.5),
        ("5.", ".", "", 5.0),
        ("1,5", ".", "", None),
        ("1,5", ",", "", 1.5),
        ("1.5", ",", "", None),
        ("-,5e2", ",", "", -50.0),
        ("1,234,567.5", ".", ",", 1234567.5),
        ("1.234.567,5", ",", ".", 1234567.5),
        ("12,34", ".", ",", None),
        ("1,2345", ".", ",", None),
        ("1.234,567.8", ",", ".", None),
        ("1234", ".", ",", 1234.0),
        ("-1,234", ".", ",", -1234.0),
        ("1_000", ".", "", None),
        ("0x10", ".", "", None),
        ("1 000", ".", "", None),
        ("1 000,5", ",", " ", 1000.5),
        ("1\u00a0000\u202f000", ".", " ", 1e6),
        ("0,125", ".", ",", None),
        ("x", ".", "", None),
        ("-nan", ".", "", None),
        ("+nan", ",", "", None),
        ("1,2,3", ",", "", None),
        ("inf", ".", "", math.inf),
        ("1e999", ".", "", math.inf),
    ],
)
def test_text_as_numbers(text: str, decimal: str, thousands: str, number: float | None) -> None:
    assert as_numbers(pl.Series([text, None]), decimal, thousands).to_list() == [number, None]


@settings(max_examples=examples(50))
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_number_is_read_back_with_either_decimal_mark(numbers: list[float]) -> None:
    text = [repr(number) for number in numbers]
    assert as_numbers(pl.Series(text), ".", "").to_list() == numbers
    assert as_numbers(pl.Series([cell.replace(".", ",") for cell in text]), ",", "").to_list() == numbers


@settings(max_examples=examples(30))
@given(st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 8), min_size=1, max_size=20))
def test_every_number_is_read_back_with_its_thousands_set_off(numbers: list[float]) -> None:
    text = [f"{number:,.3f}" for number in numbers]
    assert as_numbers(pl.Series(text), ".", ",").to_list() == numbers
    swapped = [cell.translate(str.maketrans(",.", ".,")) for cell in text]
    assert as_numbers(pl.Series(swapped), ",", ".").to_list() == numbers


@pytest.mark.parametrize(
    ("text", "prefix", "suffix", "number"),
    [
        ("-$5.00", "$", "", -5.0),
        ("$5.00", "", "", None),
        ("€5", "$", "", None),
        ("5 €", "", "€", 5.0),
        ("3k €", "", "€", 3000.0),
        ("3K", "", "", None),
        ("3K", "", "K, M, B", 3000.0),
        ("2 km", "", "m", 2000.0),
        ("2 GiB", "", "B", 2.0 * 1024**3),
        ("5", "", "kg", 5.0),
        ("5 lb", "", "kg", None),
        ("1 Star", "", "stars", 1.0),
        ("10+", "", "+", 10.0),
        ("(5", "", "", None),
        ("5-", "", "", None),
        ("5.00-", "", "", -5.0),
        ("120/80", "", "", None),
        ("2 3/4", "", "", 2.75),
        ("2 3", "", "", None),
        ("1.2x10^-3", "", "", 0.0012),
        ("~7[a]", "", "", 7.0),
        ("\u0661\u0662", "", "", 12.0),
        ("1-2", "", "", None),
        ("", "", "", None),
    ],
)
def test_signs_units_scales_and_notes(text: str, prefix: str, suffix: str, number: float | None) -> None:
    assert as_numbers(pl.Series([text, None]), ".", "", prefix, suffix).to_list() == [number, None]


@settings(max_examples=examples(50))
@given(st.lists(st.text(max_size=12), min_size=1, max_size=20))
def test_any_text_is_a_finite_number_or_none_whatever_stands_beside_it(text: list[str]) -> None:
    together = as_numbers(pl.Series(text), ".", ",").to_list()
    assert together == [as_numbers(pl.Series([one]), ".", ",")[0] for one in text]
    plain = plain_numbers(pl.Series(text), ".", ",").to_list()
    assert all(number in (None, other) for number, other in zip(plain, together, strict=True))


@pytest.mark.parametrize(
    ("sample", "around"),
    [
        (["5", "6"], ("", "")),
        (["$5", "6"], ("$", "")),
        (["$5", "€6"], ("", "")),
        (["3.0K", "5"], ("", "K, M, B")),
        (["300 K"], ("", "K")),
        (["3 m", "2 km"], ("", "m")),
        (["12a", "13b"], ("", "")),
        (["12%", "0"], ("", "%")),
        (["12%", "0.5"], ("", "")),
        (["a", "b"], None),
        (["a1", "b2"], None),
    ],
)
def test_what_stands_around_numbers(sample: list[str], around: tuple[str, str] | None) -> None:
    assert around_numbers(pl.Series(sample)) == around


def test_bounds() -> None:
    assert are_bounds(pl.Series(["< 5", ">=3", "10+", "5", "+5"])).to_list() == [True, True, True, False, False]
