"""Compares predicted probabilities and values with the truth: temperature, conformity scores, reliability.

All are computed on rows outside the training part. Each row counts once, whatever its weight. Legend: N rows, C
classes, T targets of a regression; 1 for classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlplab.objectives.objective import predictions
from mlplab.task import Task

MOST_SCORES = 4096
"""Maximum of conformity scores to keep (32 kB). Of more, every second, third, … in ascending order is kept."""

BLOCK_ROWS = 1 << 16
"""Number of rows whose logits are converted to 64 bits at once."""

N_BINS = 15
"""Bins of a reliability diagram (Guo et al. 2017)."""


def calibrate(outputs: Tensor, targets: Tensor, task: Task) -> dict[str, Any] | None:
    """Returns the calibration of a network as plain values for its checkpoint.

    Its parts: `n_rows`; `temperature`, see `fit_temperature`; and `scores`, the rows' conformity scores in ascending
    order (n, T), float64. A row's score is 1 − p for the probability p of its class, or |y − ŷ| in the target's unit. A
    large score means an unexpected row.

    Args:
        outputs: of the network, (N, C), (N, 1) for one logit, or (N, T) scaled values.
        targets: class indices (N,), or scaled values (N, T), as the loss takes them.
        task: what was learned.

    Returns:
        None if an output is not finite, or for several labels.
    """
    if task.kind == "multilabel" or len(outputs) == 0 or not bool(outputs.isfinite().all()):
        return None
    scores = conformity_scores(outputs, targets, task)
    temperature = fit_temperature(outputs, targets) if task.kind == "classification" else None
    return {"n_rows": len(scores), "temperature": temperature, "scores": _kept(scores.sort(dim=0).values)}


def conformity_scores(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Returns how far each row is from its prediction, (N, T) float64; see `calibrate`."""
    if task.kind == "regression":
        return (outputs.double() - targets.double()).abs() * torch.tensor(task.target_std, dtype=torch.float64)
    # In 32 bits first, as predictions are: scores to be compared must be rounded alike.
    return 1 - predictions(outputs.float(), task).gather(1, targets.unsqueeze(1)).double()


def _kept(ordered: Tensor) -> Tensor:
    n_rows, n_kept = len(ordered), min(len(ordered), MOST_SCORES)
    # Rounded up: the largest score is kept, and a dropped one is represented by the next larger.
    ranks = torch.tensor([-(-place * n_rows // n_kept) for place in range(1, n_kept + 1)])
    return ordered[ranks - 1]


def rows_needed(level: float) -> int:
    """Returns the minimum of calibration rows for which `conformal_quantile` exists."""
    share = Fraction(str(level))
    return math.ceil(share / (1 - share))


def conformal_quantile(calibration: Mapping[str, Any], level: float) -> list[float]:
    """Returns for each of T targets the score that a new row does not exceed with a probability of at least `level`.

    It is the ⌈(n + 1)·level⌉-th smallest of n scores (Lei et al. 2018, section 2.2). The probability is over the
    draw of the calibration rows and the new row, which must be exchangeable. There must be `rows_needed(level)` rows.
    """
    n_rows, scores = int(calibration["n_rows"]), calibration["scores"]
    # As a fraction: 0.95 · 20 would be a little more than 19 in floating point.
    rank = math.ceil((n_rows + 1) * Fraction(str(level)))
    assert rank <= n_rows
    # The smallest kept score that is not below it.
    quantiles: list[float] = scores[(rank - 1) * len(scores) // n_rows].tolist()
    return quantiles


def coverage(
    calibration: Mapping[str, Any], level: float, outputs: Tensor, targets: Tensor, task: Task
) -> float | None:
    """Returns the share of targets within their interval or set; None if there are too few calibration rows."""
    if calibration["n_rows"] < rows_needed(level):
        return None
    quantiles = torch.tensor(conformal_quantile(calibration, level), dtype=torch.float64)
    is_covered = conformity_scores(outputs, targets, task) <= quantiles
    if task.kind == "classification":  # the predicted class is in every set
        is_covered |= (predictions(outputs, task).argmax(1) == targets).unsqueeze(1)
    return float(is_covered.double().mean())


def fit_temperature(logits: Tensor, targets: Tensor) -> float | None:
    """Fits the temperature T that minimises the mean of −log softmax(logits / T)[target] (Guo et al. 2017, section 4).

    A temperature above 1 makes probabilities less extreme. The largest one stays the largest.

    Args:
        logits: (N, C); or (N, 1), the logit of class 1 of two.
        targets: (N,) class indices.

    Returns:
        T; None if the minimum is at no positive, finite T: at 0 if every row is right, at infinity if the logits are
        worse than none.
    """
    # The loss is convex in 1/T, by which logits are multiplied. Its slope decides whether there is a minimum.
    if _slopes(logits, targets, 0.0)[0] >= 0 or bool((_as_classes(logits).argmax(1) == targets).all()):
        return None
    low, high, inverse = 0.0, math.inf, 1.0
    for _ in range(100):
        slope, curvature = _slopes(logits, targets, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        proposed = inverse - slope / curvature if curvature > 0 else math.inf
        if not low < proposed < high:  # Newton's step leaves the bracket
            proposed = 2 * inverse if math.isinf(high) else (low + high) / 2
        is_found, inverse = abs(proposed - inverse) <= 1e-10 * inverse, proposed
        if is_found:
            break
    return 1 / inverse


def _slopes(logits: Tensor, targets: Tensor, inverse: float) -> tuple[float, float]:
    """Returns the first and second derivative of the mean loss with respect to 1/T."""
    slope = curvature = 0.0
    blocks = zip(torch.split(logits, BLOCK_ROWS), torch.split(targets, BLOCK_ROWS), strict=True)
    for some, classes in blocks:
        exact = _as_classes(some).double()
        probabilities = (exact * inverse).softmax(dim=1)
        mean = (probabilities * exact).sum(dim=1)
        slope += float((mean - exact.gather(1, classes.unsqueeze(1)).squeeze(1)).sum())
        curvature += float((probabilities * (exact - mean.unsqueeze(1)).square()).sum())
    return slope / len(logits), curvature / len(logits)


def _as_classes(logits: Tensor) -> Tensor:
    """Returns logits (N, C): sigmoid(z) is the second of softmax(0, z)."""
    return functional.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


@dataclass(frozen=True)
class Reliability:
    """Statistics of predicted classes in bins of equal width by probability, each (`N_BINS`,).

    Attributes:
        n_rows: rows in each bin.
        confidence: mean probability of the predicted class; 0 in an empty bin.
        accuracy: share of correctly classified rows; 0 in an empty bin.
    """

    n_rows: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """Returns the expected calibration error Σ n/N · |accuracy − confidence| (Guo et al. 2017, eq. 3)."""
        return float((self.n_rows * (self.accuracy - self.confidence).abs()).sum() / self.n_rows.sum())


def reliability(probabilities: Tensor, targets: Tensor) -> Reliability:
    """Compares probabilities (N, C) with class indices (N,); also for two classes, by the larger probability."""
    confidence, predicted = probabilities.double().max(dim=1)
    # Bins are open below and closed above, as in torchmetrics.
    bins = (confidence * N_BINS).ceil().long().clamp(1, N_BINS) - 1
    n_rows = torch.bincount(bins, minlength=N_BINS)
    sums = [torch.bincount(bins, value.double(), N_BINS) for value in (confidence, predicted == targets)]
    confident, right = (value / n_rows.clamp(min=1) for value in sums)
    return Reliability(n_rows, confident, right)
