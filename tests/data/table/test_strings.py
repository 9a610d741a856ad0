import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from omegaconf import DictConfig, OmegaConf

from mlplab.data.table.number_strings import as_numbers
from mlplab.data.table.strings import (
    for_hydra,
    null_missing,
    unreadable_strings,
)

WORDS = ["", "  ", "NA", "na", "Na", " N/A ", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "?", " ? "]


@pytest.mark.parametrize("word", WORDS)
def test_the_usual_markers_mean_missing_in_any_capitals(word: str) -> None:
    assert null_missing(pl.Series(["a", word]), (), ()).to_list() == ["a", None]


@pytest.mark.parametrize("word", ["none", "None", "-", ".", "missing", "NAs", "n a", "0", "??", "unknown"])
def test_other_words_are_values(word: str) -> None:
    assert null_missing(pl.Series([word]), (), ()).to_list() == [word]


def test_blanks_around_text_are_left_off_and_those_within_stay() -> None:
    assert null_missing(pl.Series([" a  b\t", "\u00a0c", None]), (), ()).to_list() == ["a  b", "c", None]


def test_further_markers_are_taken_as_they_are_written() -> None:
    cells = pl.Series(["-", "none", "None", "x"])
    assert null_missing(cells, (), ("-", "none")).to_list() == [None, None, "None", "x"]


def test_a_kept_marker_is_a_category() -> None:
    cells = pl.Series(["NA", "na", "?", "x"])
    assert null_missing(cells, ("NA",), ()).to_list() == ["NA", None, None, "x"]
    assert null_missing(cells, ("?", "NA"), ("x",)).to_list() == ["NA", None, "?", None]


@pytest.mark.parametrize("marker", ["-200", "-200.0", "-200.00"])
@pytest.mark.parametrize(
    "cells", [["-200", "1.5"], ["-200.0", "1.5"], ["-200,0", "1,5"], ["-200,00", "1,5"], [-200, 1], [-200.0, 1.5]]
)
def test_a_number_as_marker_means_that_number_however_it_is_written(marker: str, cells: list[Any]) -> None:
    found = null_missing(pl.Series(cells), (), (marker,))
    assert found.is_null().to_list() == [True, False]


def test_a_number_as_marker_with_a_decimal_comma() -> None:
    assert null_missing(pl.Series(["9,99", "9,98"]), (), ("9.99",)).to_list() == [None, "9,98"]
    assert null_missing(pl.Series([9.99, 9.98]), (), ("9,99",)).to_list() == [None, 9.98]


def test_a_marker_does_not_mean_a_thousand_times_itself() -> None:
    assert null_missing(pl.Series(["2,000", "2.000.000"]), (), ("2",)).null_count() == 0


@pytest.mark.parametrize("marker", ["inf", "nan", "1e400", "x", ""])
def test_odd_markers_do_no_harm(marker: str) -> None:
    assert null_missing(pl.Series([1.0, math.inf]), (), (marker,)).to_list()[0] == 1.0
    assert null_missing(pl.Series([1, 2]), (), (marker,)).to_list() == [1, 2]
    assert null_missing(pl.Series(["a"]), (), (marker,)).to_list() == ["a"]


def test_not_a_number_is_missing() -> None:
    assert null_missing(pl.Series([1.0, math.nan, None]), (), ()).to_list() == [1.0, None, None]


def test_markers_are_missing_among_categories_that_are_stored_as_such() -> None:
    cells = pl.Series([" a ", "NA", "?", "b", None], dtype=pl.Categorical)
    found = null_missing(cells, (), ("b",))
    assert found.dtype == pl.Categorical
    assert found.cast(pl.String).to_list() == ["a", None, None, None, None]
    assert null_missing(pl.Series(["a", "?"], dtype=pl.Enum(["a", "?"])), ("?",), ()).cast(pl.String).to_list() == [
        "a",
        "?",
    ]


def test_truth_values_and_dates_stay_as_they_are() -> None:
    for cells in (pl.Series([True, None]), pl.Series([datetime(2020, 1, 1), None])):
        assert null_missing(cells, (), ("true", "0")).to_list() == cells.to_list()


def test_what_cannot_be_read_is_said_with_its_row_and_what_to_type() -> None:
    text = pl.Series("a b", ["1", "x y", None, "z", "x y"])
    refusal = unreadable_strings(text, as_numbers(text, ".", ""), "a number", "a b", first_row=11)
    assert refusal.requirement == "every value of column 'a b' must be a number"
    assert refusal.actual == "3 of 5 values are not, the first is 'x y' in row 12"
    assert refusal.hint == (
        """'data.missing_values=["x y",z]' if they mean that there is no value, or data.unreadable_cells=0.75 to """
        """count up to that share as missing, or 'data.categorical=["a b"]'"""
    )
    one = unreadable_strings(text[:2], as_numbers(text[:2], ".", ""), "a number", "c").actual
    assert one == "1 of 2 values is not, the first is 'x y' in row 2"


def test_a_value_of_several_lines_is_said_in_one() -> None:
    text = pl.Series("a", ["x\ny", "1"])
    assert "\n" not in str(unreadable_strings(text, as_numbers(text, ".", ""), "a number", "a"))


NAMES = [
    "a", "a b", "a.b", "a-b", "é", "名前", "null", "None", "true", "TRUE", "nan", "-inf", "1", "-1", "1.5", "1.50",
    "1e5", "007", "1_000", "0x1", "-", ".", "+", "", "  pad ", "[x]", "{k: v}", "x,y", "#1", "it's", 'say "hi"', "=a",
    "a:b", "?", "a\\b", "end\\", 'b\\"c', 'b\\\\"', "${x}", "a${b.c}d", "$", "%", "(price)", "€", "a|b", "a;b",
    "*", "@a", "/",
]  # fmt: skip


def test_names_are_typed_so_that_hydra_reads_them_back(make_config: Callable[..., DictConfig]) -> None:
    data = make_config("data=table", f"data.drop=[{','.join(for_hydra(name) for name in NAMES)}]").data
    assert [str(name) for name in OmegaConf.to_container(data, resolve=True)["drop"]] == NAMES  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("text", "expected"), [("town", "town"), ("-200", "-200"), ("a.b", "a.b"), ("-200.5", "-200.5")]
)
def test_words_and_numbers_are_typed_without_quotes(text: str, expected: str) -> None:
    assert for_hydra(text) == expected


def test_a_line_break_is_typed_as_a_blank() -> None:
    assert for_hydra("a\nb") == '"a b"'


def test_text_that_an_export_protects_from_a_spreadsheet_is_taken_out() -> None:
    cells = pl.Series(['="0012"', '=""', "7", '="a"b"'])
    assert null_missing(cells, (), ()).to_list() == ["0012", None, "7", 'a"b']
