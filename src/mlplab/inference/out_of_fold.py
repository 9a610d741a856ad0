"""Predicts the rows of a cross-validation, each by the run that has not learned from it."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mlplab.errors import UserError
from mlplab.inference.intervals import Calibrated
from mlplab.inference.prediction_columns import columns_of
from mlplab.inference.trained import TrainedRun
from mlplab.inference.training_rows import data_of_training
from mlplab.objectives.scores import Scores, scores_of
from mlplab.task import Task


def out_of_fold(runs: Mapping[str, TrainedRun]) -> tuple[pl.DataFrame, dict[str, float]]:
    """Predicts the test rows of the folds of one setting.

    Args:
        runs: job → the run of a fold.

    Returns:
        One line per prediction, ordered by "row": its number from 1, without rows that were left out; "fold", "job",
        the target, and the columns of `predict_file` with probabilities. Also the scores over all rows together, which
        are not means over folds.

    Raises:
        UserError: a run does not belong to a cross-validation, or its data have changed.
    """
    frames, parts = [], []
    for job, run in runs.items():
        fold = run.card["data"]["split"].get("fold")
        if fold is None:
            raise UserError(
                "the jobs must be folds of a cross-validation", f"{job} has none", "-m data.folds=5 for a sweep"
            )
        dataset, split = data_of_training(run)
        rows, task = split.test, run.task
        outputs = run.outputs(dataset.inputs(rows, run.predictor.preprocessing))
        # In the target's own unit, as each fold scales targets by its own training rows.
        predicted, targets = Scores(task).update(torch.zeros(()), outputs, run.scaled_targets(dataset.targets[rows]))
        weights = torch.ones(len(rows)) if dataset.weights is None else torch.from_numpy(dataset.weights[rows])
        parts.append((predicted, targets, weights))
        columns = [
            pl.Series("row", rows + 1),
            pl.Series("fold", np.full(len(rows), fold)),
            pl.Series("job", [job] * len(rows)),
            *_targets(task, targets),
            *columns_of(run, outputs, Calibrated(run, None), probabilities=task.kind != "regression"),
        ]
        frames.append(pl.DataFrame(columns))
    found = scores_of(task, *map(torch.cat, zip(*parts, strict=True)))
    return pl.concat(frames).sort("row", "job"), {name: float(value) for name, value in found.items()}


def _targets(task: Task, targets: Tensor) -> list[pl.Series]:
    """Returns the targets as columns: values in their unit, or names of classes and labels."""
    if task.kind == "classification":
        return [pl.Series(task.class_names).gather(targets.numpy()).rename("target")]
    if not task.target_names:
        return [pl.Series("target", targets.numpy())]
    columns = zip(task.target_names, targets.T, strict=True)
    if task.kind == "regression":
        return [pl.Series(f"target_{name}", values.numpy()) for name, values in columns]
    return [
        pl.Series(names).gather((values > 0.5).long().numpy()).rename(f"target_{name}")
        for (name, values), names in zip(columns, task.label_names, strict=True)
    ]
