"""What an exported model takes and gives, in plain values."""

from typing import Any

from mlplab.data.table.column_values import FALSE_WORDS, TRUE_WORDS
from mlplab.data.table.strings import MISSING
from mlplab.data.table.table_preprocessing import NumericInput, TablePreprocessing
from mlplab.inference.trained import TrainedRun

SPELLED = {"true": TRUE_WORDS, "false": FALSE_WORDS}
"""Of truth values: what counts as which, in any capitals."""

PARTS = {
    "year": "such as 2024",
    "month": "1 to 12",
    "day": "1 to 31",
    "weekday": "1 (Monday) to 7",
    "hour": "0 to 23",
}


def _numeric(one: NumericInput) -> dict[str, Any]:
    """A number, and how it is written in a file where that is not plain; or a part of a date."""
    column = one.column
    if one.part:
        zone = "in UTC, where the zone is given"
        return {
            "column": column.name,
            "part": one.part,
            "counted": PARTS[one.part],
            "zone": zone,
            "date_format": column.date_format,
        }
    written = {name: getattr(column, name) for name in ("decimal", "thousands", "prefix", "suffix")}
    plain = {"decimal": ".", "thousands": "", "prefix": "", "suffix": ""}
    return {"column": column.name, **({} if written == plain else {"written_with": written})}


def describe_export(run: TrainedRun, file_format: str) -> dict[str, Any]:
    """The card: what the model takes and gives, in plain values."""
    task = run.task
    if task.kind == "classification":
        output = {"name": "probabilities", "shape": ["rows", task.n_classes], "classes": list(task.class_names)}
    else:
        output = {"name": "values", "shape": ["rows", 1], "unit": task.unit}
    return {
        "format": file_format,
        "run": run.directory.name,
        "task": task.kind,
        "target": task.target_name,
        "inputs": describe_inputs(run),
        **_cells(run),
        "outputs": [{**output, "dtype": "float32"}],
        "network": dict(run.card["model"]),
    }


def _cells(run: TrainedRun) -> dict[str, Any]:
    """How the cells of a table become levels: which mean that there is none, and that blanks around do not count."""
    reading = run.card["data"].get("reading")
    if reading is None:
        return {}
    return {
        "cells": {
            "missing_in_any_capitals": list(MISSING),
            "missing_as_written": list(reading["missing_values"]),
            "kept_as_levels": reading["keep_values"],
            "blanks_around": "are taken away",
        }
    }


def describe_inputs(run: TrainedRun) -> list[dict[str, Any]]:
    """Each input tensor with its columns, in the order of the model's arguments."""
    preprocessing = run.predictor.preprocessing
    if not isinstance(preprocessing, TablePreprocessing):
        pixels = preprocessing.name == "pixels"
        return [
            {
                "name": "features",
                "dtype": "uint8" if pixels else "float64",
                "shape": ["rows", run.task.n_features],
                "columns": list(run.task.feature_names),
            }
        ]
    inputs = preprocessing.inputs
    return [
        {
            "name": "numeric",
            "dtype": "float64",
            "shape": ["rows", len(inputs.numeric)],
            "columns": [_numeric(one) for one in inputs.numeric],
            "missing": "NaN",
        },
        {
            "name": "categorical",
            "dtype": "int64",
            "shape": ["rows", len(inputs.categorical)],
            "columns": [
                {
                    "column": one.name,
                    "levels": {level: number for number, level in enumerate(one.categories, 1)},
                    **({"spelled": SPELLED} if one.column.kind == "boolean" else {}),
                    "missing": one.n_categories if one.has_missing else 0,
                    "unknown": 0,
                }
                for one in inputs.categorical
            ],
        },
    ]
