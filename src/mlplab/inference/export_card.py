"""What an exported model takes and gives, in plain values."""

from typing import Any

from mlplab.data.table.preprocessing import TablePreprocessing
from mlplab.inference.trained import TrainedRun


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
        "outputs": [{**output, "dtype": "float32"}],
        "network": dict(run.card["model"]),
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
            "columns": [
                {"column": one.column.name, **({"part": one.part} if one.part else {})} for one in inputs.numeric
            ],
            "missing": "NaN",
        },
        {
            "name": "categorical",
            "dtype": "int64",
            "shape": ["rows", len(inputs.categorical)],
            "columns": [
                {
                    "column": one.name,
                    "levels": {level: number for number, level in enumerate(one.levels, 1)},
                    "missing": one.n_levels if one.has_missing else 0,
                    "unknown": 0,
                }
                for one in inputs.categorical
            ],
        },
    ]
