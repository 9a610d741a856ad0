"""Describes for an export's card how the values of a table become inputs."""

from collections.abc import Mapping
from typing import Any

from mlplab.data.preprocessing import Preprocessing
from mlplab.data.table.column_values import DATETIME_PARTS
from mlplab.data.table.spellings import FALSE_WORDS, TRUE_WORDS
from mlplab.data.table.strings import MISSING
from mlplab.data.table.table_preprocessing import CategoricalInput, NumericInput, TablePreprocessing

PLAIN_FORM = {"decimal": ".", "thousands": "", "prefix": "", "suffix": "", "compound": ""}
"""Marks of numbers as they are usually written."""


def describe_cells(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Describes which cells count as missing values."""
    return {
        "missing_in_any_capitals": list(MISSING),
        "missing_as_written": list(reading["missing_values"]),
        "kept_as_levels": reading["keep_values"],
        "blanks_around": "are taken away",
    }


def describe_columns(preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Describes the two inputs, numbers and categories, with their columns."""
    assert isinstance(preprocessing, TablePreprocessing)
    numbers = [_describe_numeric(one) for one in preprocessing.inputs.numeric]
    categories = [_describe_categorical(one) for one in preprocessing.inputs.categorical]
    return [
        # Numbers are rounded to float32 only after standardising, which loses less.
        {"name": "numeric", "dtype": "float64", "shape": ["rows", len(numbers)], "columns": numbers, "missing": "NaN"},
        {"name": "categorical", "dtype": "int64", "shape": ["rows", len(categories)], "columns": categories},
    ]


def _describe_numeric(one: NumericInput) -> dict[str, Any]:
    """Describes a part of a date; or a number, with its format unless that is plain."""
    column = one.column
    if one.part:
        zone = "in UTC, where the zone is given"
        counted = {"part": one.part, "counted": DATETIME_PARTS[one.part]}
        forms: dict[str, Any] = {"date_format": column.date_format}
        if column.other_formats:
            forms["other_formats"] = list(column.other_formats)
        return {"column": column.name, **counted, "zone": zone, **forms}
    form = {name: getattr(column, name) for name in PLAIN_FORM}
    return {"column": column.name, **({} if form == PLAIN_FORM else {"written_with": form})}


def _describe_categorical(one: CategoricalInput) -> dict[str, Any]:
    # From 1, as 0 is an unknown category.
    levels = {category: number for number, category in enumerate(one.categories, 1)}
    # A file may contain yes and no for the categories true and false.
    spelled = {"spelled": {"true": TRUE_WORDS, "false": FALSE_WORDS}} if one.column.kind == "boolean" else {}
    # If training had no missing values, a missing one counts as unknown.
    missing = one.n_categories if one.has_missing else 0
    return {"column": one.name, "levels": levels, **spelled, "missing": missing, "unknown": 0}
