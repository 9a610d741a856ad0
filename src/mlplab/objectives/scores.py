"""Computes the scores of a validation or test pass.

Legend: N rows, C classes. The leading dimensions (...) are kept: a stack scores its networks (K, N, C) at once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from mlplab.objectives.auroc import one_against_the_rest
from mlplab.task import Task


def classification_scores(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores (..., N, C) probabilities against class indices (..., N), or (N,) for all networks -> (...) each.

    accuracy: the share of rows whose largest probability is that of their class; among equal ones the first counts.
    f1: 2·hits / (rows of the class + rows taken for it), the mean over the classes that have either (van Rijsbergen
        1979, chapter 7; scikit-learn's `macro`).
    auroc: one class against the rest, the mean over all classes; see `mlplab.objectives.auroc`.
    """
    exact = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    shares, known = exact.detach().cpu().numpy(), targets.long().cpu().numpy()
    n_rows, n_classes = shares.shape[-2:]
    taken_for = shares.argmax(axis=-1)
    known = np.broadcast_to(known, taken_for.shape)
    n_known, n_taken = _counts(known, n_classes), _counts(taken_for, n_classes)
    hits = _counts(np.where(taken_for == known, known, n_classes), n_classes + 1)[..., :-1]
    n_either = n_known + n_taken
    of_class = known[..., np.newaxis, :] == np.arange(n_classes)[:, np.newaxis]
    scores = {
        "accuracy": hits.sum(axis=-1) / n_rows,
        "f1": (2 * hits / np.maximum(n_either, 1)).sum(axis=-1) / (n_either > 0).sum(axis=-1),
        "auroc": one_against_the_rest(shares, of_class).mean(axis=-1),
    }
    values = torch.from_numpy(np.stack(list(scores.values()))).to(torch.get_default_dtype()).to(probabilities.device)
    return dict(zip(scores, values, strict=True))


def _counts(indices: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Counts each class in (..., N) indices -> (..., C)."""
    if indices.ndim == 1:
        return np.bincount(indices, minlength=n_classes)
    networks = indices.reshape(-1, indices.shape[-1])
    places = networks + n_classes * np.arange(len(networks))[:, np.newaxis]
    counts = np.bincount(places.ravel(), minlength=n_classes * len(networks))
    return counts.reshape(*indices.shape[:-1], n_classes)


def regression_scores(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores (..., N) values against targets (..., N), or (N,) for all networks -> (...) each.

    mse, rmse (in the target's unit), mae; r2 = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². NOTE[DIFF]: for constant targets
    r2 is 1 if every error is 0, else 0, as in scikit-learn. torchmetrics does so for nearly constant targets too, by a
    threshold that ignores their unit. For a single row r2 is NaN.
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


class Scores:
    """Collects the predictions of all batches and processes, and scores them.

    Classification: probabilities (B, C) and class indices (B,). Regression: values (B,) and targets (B,), in the
    target's own unit.
    """

    def __init__(self, task: Task) -> None:
        self._score = regression_scores if task.kind == "regression" else classification_scores
        self.reset()

    def reset(self) -> None:
        self._predicted: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        self._predicted.append(predicted)
        self._targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        """Returns the scores, each ()."""
        return self._score(*(_of_all_batches(parts) for parts in (self._predicted, self._targets)))


class MeanLoss:
    """Averages the losses () of batches over rows. It keeps NaN, which torchmetrics' `MeanMetric` leaves out."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: list[Tensor] = []
        self._rows: list[int] = []

    def update(self, loss: Tensor, n_rows: int) -> None:
        self._losses.append(loss.detach())
        self._rows.append(n_rows)

    def compute(self) -> Tensor:
        """Returns the mean, ()."""
        losses = torch.stack(self._losses)
        total = sum(loss * n for loss, n in zip(losses.tolist(), self._rows, strict=True))
        n_rows = sum(self._rows)
        if _are_several():
            own = torch.tensor([total, n_rows], dtype=torch.float64, device=losses.device)
            total, n_rows = torch.stack(gather_all_tensors(own)).sum(dim=0).tolist()
        kind = torch.promote_types(losses.dtype, torch.float32)
        return torch.tensor(total / n_rows, dtype=kind, device=losses.device)


def _of_all_batches(parts: list[Tensor]) -> Tensor:
    """Joins the rows of this process and of the others, in their order."""
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return torch.cat(gather_all_tensors(rows)) if _are_several() else rows


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
