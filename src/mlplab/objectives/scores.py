"""The figures by which a trained network is judged, all in one go: for a small network they cost as much as learning.

Legend: N rows, C classes; leading dimensions (...) are networks that are judged at once.
"""

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from mlplab.objectives.auroc import one_against_the_rest
from mlplab.task import Task


def classification_scores(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores of (..., N, C) probabilities against class indices (..., N), or (N,) for all networks -> (...) each.

    accuracy: the share of rows whose largest probability is that of their class; of equal ones the first counts.
    f1: 2·hits / (rows of the class + rows taken for it), the mean over the classes that have either (van Rijsbergen
        1979, chapter 7; scikit-learn's `macro`).
    auroc: one class against the rest, the mean over all classes; see `mlplab.objectives.auroc`.
    """
    n_rows, n_classes = probabilities.shape[-2:]
    classes = torch.arange(n_classes, device=targets.device).unsqueeze(1)
    of_class = targets.unsqueeze(-2) == classes
    taken_for = probabilities.argmax(dim=-1).unsqueeze(-2) == classes
    hits = (of_class & taken_for).sum(dim=-1)
    n_either = of_class.sum(dim=-1) + taken_for.sum(dim=-1)
    f1 = 2 * hits / n_either.clamp(min=1)
    return {
        "accuracy": hits.sum(dim=-1) / n_rows,
        "f1": f1.sum(dim=-1) / (n_either > 0).sum(dim=-1),
        "auroc": one_against_the_rest(probabilities, of_class).mean(dim=-1).to(torch.get_default_dtype()),
    }


def regression_scores(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores of (..., N) values against targets (..., N), or (N,) for all networks -> (...) each.

    mse, rmse (in the target's unit), mae; r2 = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². NOTE[DIFF]: of targets that do not vary, r2
    is 1 where every error is 0 and else 0, as scikit-learn has it; torchmetrics says so of all that vary little, in
    whatever unit. Of a single row it is no number.
    """
    targets = targets.double()
    error = predicted.double() - targets
    square = error.square()
    mse, variance = square.mean(dim=-1), targets.var(dim=-1, correction=0)
    r2 = torch.where(variance > 0, 1 - mse / variance, (mse == 0).double())
    if targets.shape[-1] < 2:
        r2 = torch.full_like(r2, torch.nan)
    scores = {"mse": mse, "rmse": mse.sqrt(), "mae": error.abs().mean(dim=-1), "r2": r2}
    return {name: score.to(torch.get_default_dtype()) for name, score in scores.items()}


class Scores(Metric):
    """Gathers the rows of all batches and processes, and scores them.

    Classification: probabilities (B, C) and class indices (B,). Regression: values (B,) and targets (B,), in the
    target's own unit.
    """

    full_state_update = False
    __hash__ = nn.Module.__hash__

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._score = regression_scores if task.kind == "regression" else classification_scores
        self.add_state("predicted", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        self.predicted.append(predicted)  # type: ignore[union-attr,operator]
        self.targets.append(targets)  # type: ignore[union-attr,operator]

    def compute(self) -> dict[str, Tensor]:
        return self._score(dim_zero_cat(self.predicted), dim_zero_cat(self.targets))  # type: ignore[arg-type]


class MeanLoss(Metric):
    """The mean over rows of the losses () of batches. NaN is in it, where `MeanMetric` leaves it out."""

    full_state_update = False
    __hash__ = nn.Module.__hash__  # that of `Metric` follows its state, at every walk through the modules
    total: Tensor
    n_rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("n_rows", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, n_rows: int) -> None:
        self.total = self.total + loss * n_rows
        self.n_rows = self.n_rows + n_rows

    def compute(self) -> Tensor:
        return self.total / self.n_rows
