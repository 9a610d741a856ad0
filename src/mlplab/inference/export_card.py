"""Describes an exported model in plain values: inputs, outputs, and how a file's values become inputs."""

from typing import Any

from mlplab.data.preprocessing import ScalePixels
from mlplab.inference.trained import TrainedRun
from mlplab.objectives.calibration import conformal_quantile, rows_needed
from mlplab.runs.checkpoint import explain_bad_card

LEVELS = (0.8, 0.9, 0.95)
"""Levels of intervals with quantiles in the card."""


def describe_export(run: TrainedRun, file_format: str) -> dict[str, Any]:
    """Returns the card of an exported model."""
    task, reading = run.task, run.card["data"].get("reading")
    if task.kind == "classification":
        output = {"name": "probabilities", "shape": ["rows", task.n_classes], "classes": list(task.class_names)}
    elif task.kind == "multilabel":
        labels = [
            {"label": name, "false": false, "true": true}
            for name, (false, true) in zip(task.target_names, task.label_names, strict=True)
        ]
        output = {"name": "probabilities", "of": "true", "shape": ["rows", len(labels)], "labels": labels}
    elif task.target_names:
        columns = [{"target": one.target_name, "unit": one.unit} for one in task.of_each_target()]
        output = {"name": "values", "shape": ["rows", len(columns)], "columns": columns}
    else:
        output = {"name": "values", "shape": ["rows", 1], "unit": task.unit}
    card = {
        "format": file_format,
        "run": run.directory.name,
        "task": task.kind,
        "target": list(task.target_names) or task.target_name,
        "inputs": describe_inputs(run),
        "outputs": [{**output, "dtype": "float32"}],
        "network": dict(run.card["model"]),
    }
    # Only tables have rules for reading text.
    if reading is not None:
        from mlplab.inference.table_card import describe_cells

        card["cells"] = describe_cells(reading)
    calibration = _describe_calibration(run)
    return {**card, **({"calibration": calibration} if calibration else {})}


def describe_inputs(run: TrainedRun) -> list[dict[str, Any]]:
    """Describes each input tensor with its columns, in the order of the model's arguments."""
    preprocessing = run.predictor.preprocessing
    if run.card["preprocessing"]["name"] == "table":
        from mlplab.inference.table_card import describe_columns

        described: list[dict[str, Any]] = describe_columns(preprocessing)
        return described
    # Pixels stay bytes, as the network's input layer standardises them.
    dtype = "uint8" if isinstance(preprocessing, ScalePixels) else "float64"
    columns = list(run.task.feature_names)
    return [{"name": "features", "dtype": dtype, "shape": ["rows", run.task.n_features], "columns": columns}]


def _describe_calibration(run: TrainedRun) -> dict[str, Any]:
    """Returns the calibration for other programs: temperature and quantiles; empty if the run has none."""
    calibration = run.card.get("calibration")
    if calibration is None:
        return {}
    with explain_bad_card(run.checkpoint, "calibration"):
        possible = [level for level in LEVELS if rows_needed(level) <= int(calibration["n_rows"])]
        of_targets = {str(level): conformal_quantile(calibration, level) for level in possible}
        if run.task.target_names:
            return {"rows": calibration["n_rows"], "half_width_of_each_target": of_targets}
        quantiles = {level: found[0] for level, found in of_targets.items()}
        if run.task.kind == "regression":
            return {"rows": calibration["n_rows"], "half_width": quantiles}
        # A class is in the set if 1 − p is at most this.
        return {"rows": calibration["n_rows"], "largest_score": quantiles, "temperature": calibration["temperature"]}
