"""Computes the scores of a validation or test pass.

Legend: N rows, C classes, T targets. The leading dimensions (...) are kept: a stack scores its networks (K, N, C) at
once.
With weights (N,), every score treats a row of weight 2 as two equal rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.utilities.distributed import gather_all_tensors

from mlplab.objectives.objective import predictions
from mlplab.task import Task


def classification_scores(probabilities: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Scores (..., N, C) probabilities against class indices (..., N), or (N,) for all networks -> (...) each.

    accuracy: the share of rows whose largest probability is that of their class; among equal ones the first counts.
    f1: 2·hits / (rows of the class + rows taken for it), the mean over the classes that have either (van Rijsbergen
        1979, chapter 7; scikit-learn's `macro`).
    auroc: one class against the rest, the mean over the classes with some rows but not all; NaN if there is none. See
        `one_against_the_rest`.
    """
    # NumPy has no bfloat16; on a GPU the many small sorts of the last score would take longer.
    exact = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    predicted, true_class = exact.detach().cpu().numpy(), targets.long().cpu().numpy()
    classes = np.arange(predicted.shape[-1])[:, np.newaxis]
    predicted_class = predicted.argmax(axis=-1)
    # Both (..., C, N): a row for each class.
    is_true = true_class[..., np.newaxis, :] == classes
    is_predicted = predicted_class[..., np.newaxis, :] == classes
    own = None if weights is None else weights.double().cpu().numpy()
    n_true, n_predicted, n_hits = (_count(rows, own) for rows in (is_true, is_predicted, is_true & is_predicted))
    n_either = n_true + n_predicted
    areas = one_against_the_rest(predicted, np.broadcast_to(is_true, is_predicted.shape), own)
    scores = {
        "accuracy": n_hits.sum(axis=-1) / (predicted.shape[-2] if own is None else own.sum()),
        # The 1 avoids 0/0 for a class without rows; the divisor counts only the other classes.
        "f1": (2 * n_hits / np.where(n_either > 0, n_either, 1)).sum(axis=-1) / (n_either > 0).sum(axis=-1),
        "auroc": _mean_of_defined(areas),
    }
    # In one transfer to the device, instead of one for each score.
    values = torch.from_numpy(np.stack(list(scores.values()))).to(torch.get_default_dtype()).to(probabilities.device)
    return dict(zip(scores, values, strict=True))


def _count(rows: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> NDArray[Any]:
    """Counts the true rows, or adds up their weights: (..., N) -> (...)."""
    found: NDArray[Any] = rows.sum(axis=-1) if weights is None else rows @ weights
    return found


def one_against_the_rest(
    probabilities: NDArray[Any], is_class: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Computes the area under the ROC curve of each class: (..., N, C), class membership (..., C, N) -> (..., C).

    A pair is one row of the class and one of the rest. The area is the share of pairs in which the former has the
    larger probability; a tie counts half (Hanley and McNeil 1982). With weights, a pair counts by the product of its
    two. NOTE[DIFF]: a class with no row, or with all rows, has no pairs and gets NaN; torchmetrics gives it 0, which
    looks like the worst score there is.
    """
    # A class's probabilities are contiguous in memory, as they are selected and sorted by class.
    by_class = np.ascontiguousarray(probabilities.swapaxes(-1, -2))
    in_order = np.sort(by_class, axis=-1)
    areas = np.zeros(is_class.shape[:-1])
    for place in np.ndindex(areas.shape):
        if weights is not None:
            areas[place] = _weighted_area(by_class[place], is_class[place], weights)
            continue
        # Sorted, the members are looked up in a third of the time.
        members = np.sort(by_class[place][is_class[place]])
        n_members, n_rest = len(members), by_class.shape[-1] - len(members)
        # The number of smaller rows, and of rows that are not larger: only the second includes ties.
        smaller, not_larger = (in_order[place].searchsorted(members, side).sum() for side in ("left", "right"))
        # Pairs among the members themselves add n² to the sum of both numbers, whatever their order.
        n_pairs = n_members * n_rest
        areas[place] = (smaller + not_larger - n_members**2) / (2 * n_pairs) if n_pairs else np.nan
    return areas


def _mean_of_defined(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the mean over the last dimension, ignoring NaN; unlike `nanmean` without a warning if all are NaN."""
    n_defined = (~np.isnan(areas)).sum(axis=-1)
    return np.where(n_defined > 0, np.nansum(areas, axis=-1) / np.maximum(n_defined, 1), np.nan)


def _weighted_area(probabilities: NDArray[Any], is_class: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Computes `one_against_the_rest` for a single class with weighted pairs, (N,) each."""
    order = np.argsort(probabilities[~is_class])
    rest = probabilities[~is_class][order]
    # Cumulative weight of the rest before each position; the last entry is the total.
    before = np.concatenate([[0.0], np.cumsum(weights[~is_class][order])])
    members, own = probabilities[is_class], weights[is_class]
    smaller, not_larger = (float(own @ before[np.searchsorted(rest, members, side)]) for side in ("left", "right"))
    pairs = 2 * float(own.sum() * before[-1])
    return (smaller + not_larger) / pairs if pairs > 0 else np.nan


def regression_scores(predicted: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Scores (..., N) values against targets (..., N), or (N,) for all networks -> (...) each.

    mse, rmse (in the target's unit), mae; r2 = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². NOTE[DIFF]: for constant targets
    r2 is 1 if every error is 0, else 0, as in scikit-learn. torchmetrics does so for nearly constant targets too, by a
    threshold that ignores their unit. For a single row r2 is NaN.
    """
    targets = targets.double()  # float32 squares of large values would lose their last digits
    error = predicted.double() - targets
    mse, mae = _mean(error.square(), weights), _mean(error.abs(), weights)
    # The population variance, so that mse / variance is the quotient of the sums.
    variance = targets.var(dim=-1, correction=0)
    if weights is not None:
        variance = _mean((targets - _mean(targets, weights).unsqueeze(-1)).square(), weights)
    r2 = torch.where(variance > 0, 1 - mse / variance, (mse == 0).double())
    if targets.shape[-1] < 2:
        r2 = torch.full_like(r2, torch.nan)
    scores = {"mse": mse, "rmse": mse.sqrt(), "mae": mae, "r2": r2}
    return {name: score.to(torch.get_default_dtype()) for name, score in scores.items()}


def scores_of(task: Task, predicted: Tensor, targets: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Scores predictions against targets, both in the target's own unit, as `Scores.update` returns them."""
    if task.target_names:
        return scores_of_several(task, predicted, targets, weights)
    return (regression_scores if task.kind == "regression" else classification_scores)(predicted, targets, weights)


def scores_of_several(
    task: Task, predicted: Tensor, targets: Tensor, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Scores values, or probabilities of labels, (N, T) against targets (N, T): the mean and by target.

    The mean over the targets has the score's name, such as `rmse`; a target's own value is `rmse_NAME`.
    """
    of_all: dict[str, Tensor] = {}
    if task.kind == "regression":
        of_each = regression_scores(predicted.T, targets.T, weights)
    else:
        of_each, of_all = label_scores(predicted, targets, weights)
    means = {name: score.mean() for name, score in of_each.items()}
    by_target = {
        f"{name}_{target}": value
        for name, score in of_each.items()
        for target, value in zip(task.target_names, score, strict=True)
    }
    return {**means, **of_all, **by_target}


def label_scores(
    probabilities: Tensor, targets: Tensor, weights: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores probabilities (N, T) against labels (N, T): the scores of each label (T,), and the combined ones ().

    accuracy: the share of rows whose label is predicted correctly; a probability above ½ predicts true.
    f1: 2·hits / (rows that have the label + rows predicted to have it); the mean is over the labels that have either.
    auroc: rows that have the label against the others, see `one_against_the_rest`; the mean is over labels that vary.
    subset_accuracy: the share of rows in which every label is right.
    """
    exact = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    predicted = exact.detach().cpu().numpy()
    is_true, is_predicted = (targets > 0.5).T.cpu().numpy(), (predicted > 0.5).T
    own = None if weights is None else weights.double().cpu().numpy()
    total = predicted.shape[0] if own is None else own.sum()
    is_right = is_true == is_predicted
    n_either = _count(is_true, own) + _count(is_predicted, own)
    f1 = 2 * _count(is_true & is_predicted, own) / np.where(n_either > 0, n_either, 1)
    areas = one_against_the_rest(predicted, is_true, own)
    of_each = {"accuracy": _count(is_right, own) / total, "f1": f1, "auroc": areas}
    of_all = {
        "auroc": _mean_of_defined(areas),
        "f1": f1.sum() / max((n_either > 0).sum(), 1),
        "subset_accuracy": _count(is_right.all(axis=0), own) / total,
    }

    def as_tensors(scores: dict[str, Any]) -> dict[str, Tensor]:
        kind = torch.get_default_dtype()
        return {name: torch.as_tensor(score, dtype=kind).to(probabilities.device) for name, score in scores.items()}

    return as_tensors(of_each), as_tensors(of_all)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Computes the mean over the rows, with weights Σ w·x / Σ w: (..., N) -> (...)."""
    if weights is None:
        return values.mean(dim=-1)
    exact = weights.double()
    return (values * exact).sum(dim=-1) / exact.sum()


Metric = Callable[[Tensor, Tensor], Any]
"""A function of predictions and targets, in the target's own unit, or a `torchmetrics.Metric`."""


def own_scores(metrics: Mapping[str, Metric], predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Computes the user's own metrics from probabilities (N, C) and class indices (N,), or values (N,) each.

    The values of a metric that returns several, by name or as a vector, are called NAME_VALUE.
    """
    scores: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        # For two classes, torchmetrics takes the probability of the second.
        is_binary = (
            type(metric).__name__.startswith("Binary") or getattr(metric, "keywords", {}).get("task") == "binary"
        )
        if isinstance(metric, nn.Module):
            metric.to(predicted.device)
        value = metric(predicted[:, 1] if is_binary and predicted.ndim == 2 else predicted, targets)
        if hasattr(metric, "reset"):
            metric.reset()  # or it would accumulate over passes
        if isinstance(value, Tensor) and value.ndim:
            value = {str(place): part for place, part in enumerate(value.flatten())}
        several = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, of_part in several:
            key = f"{name}_{part}" if part else name
            scores[key] = torch.as_tensor(of_part, dtype=torch.get_default_dtype(), device=predicted.device)
    return scores


class Scores:
    """Collects losses, predictions and targets of all batches and processes, and scores them.

    Args:
        task: what is learned.
        metrics: name → a metric besides the scores of the task. It sees all rows at once, without their weights.
    """

    def __init__(self, task: Task, metrics: Mapping[str, Metric] = {}) -> None:
        self._task, self._metrics = task, metrics
        self.reset()

    def reset(self) -> None:
        self._losses: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._weights: list[Tensor] = []  # stays empty where rows have no weights

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a batch: its mean loss (), and outputs, targets and perhaps weights as the loss takes them.

        Returns:
            Predictions and targets in the target's own unit: probabilities (B, C) and class indices (B,), or values
            (B,) each; of several targets (B, T) each.
        """
        predicted = predictions(outputs, self._task)
        if self._task.kind == "regression":
            targets = predictions(targets, self._task)
            if not self._task.target_names:
                predicted, targets = predicted.squeeze(1), targets.squeeze(1)
        self._losses.append(loss.detach())
        # Kept until the end of the pass, as f1, auroc and r2 are not means over batches.
        self._predicted.append(predicted)
        self._targets.append(targets)
        self._weights.extend(weights)
        return predicted, targets

    def compute(self) -> dict[str, Tensor]:
        """Returns the mean `loss` over the rows, and the scores, each ()."""
        parts = [self._predicted, self._targets, *([self._weights] if self._weights else [])]
        rows = list(map(_of_all_batches, parts))
        return {"loss": self._mean_loss(), **scores_of(self._task, *rows), **own_scores(self._metrics, *rows[:2])}

    def _mean_loss(self) -> Tensor:
        losses = torch.stack(self._losses)
        rows = [len(targets) for targets in self._targets]
        # A NaN stays one, which torchmetrics' `MeanMetric` would leave out.
        total = sum(loss * n for loss, n in zip(losses.tolist(), rows, strict=True))
        # The loss of a batch is Σ w·l / B, that of all rows Σ w·l / Σ w.
        weight = sum(float(part.double().sum()) for part in self._weights) if self._weights else sum(rows)
        if _are_several():
            own = torch.tensor([total, weight], dtype=torch.float64, device=losses.device)
            total, weight = torch.stack(gather_all_tensors(own)).sum(dim=0).tolist()
        # bfloat16 would round the mean to three digits.
        kind = torch.promote_types(losses.dtype, torch.float32)
        return torch.tensor(total / weight, dtype=kind, device=losses.device)


def _of_all_batches(parts: list[Tensor]) -> Tensor:
    """Concatenates the rows of all batches and processes, in order."""
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return torch.cat(gather_all_tensors(rows)) if _are_several() else rows


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
