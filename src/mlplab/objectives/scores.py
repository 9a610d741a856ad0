"""The figures by which a trained network is judged, from torchmetrics."""

from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from mlplab.objectives.auroc import RankedAUROC
from mlplab.task import Task


def build_scores(task: Task) -> MetricCollection:
    """The scores of a task.

    Classification, on probabilities (B, C) and class indices (B,): accuracy (share of rows), f1 (mean over
    classes), auroc (one class against the rest, mean over classes).
    Regression, on values (B,) and targets (B,) in the target's own unit: mse, rmse, mae, r2.
    """
    if task.kind == "regression":
        return MetricCollection(
            {
                "mse": MeanSquaredError(),
                "rmse": MeanSquaredError(squared=False),
                "mae": MeanAbsoluteError(),
                "r2": R2Score(),
            }
        )
    n = task.n_classes
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(n, average="micro", validate_args=False),
            "f1": MulticlassF1Score(n, average="macro", validate_args=False),
            "auroc": RankedAUROC(n, average="macro", validate_args=False),
        }
    )
