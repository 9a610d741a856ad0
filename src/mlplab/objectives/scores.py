"""Computes the scores of a validation or test pass.

Legend: N rows, C classes. The leading dimensions (...) are kept: a stack scores its networks (K, N, C) at once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from mlplab.objectives.objective import predictions
from mlplab.task import Task


def classification_scores(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores (..., N, C) probabilities against class indices (..., N), or (N,) for all networks -> (...) each.

    accuracy: the share of rows whose largest probability is that of their class; among equal ones the first counts.
    f1: 2·hits / (rows of the class + rows taken for it), the mean over the classes that have either (van Rijsbergen
        1979, chapter 7; scikit-learn's `macro`).
    auroc: one class against the rest, the mean over the classes that have rows and do not have all of them; NaN if
        there is none. See `one_against_the_rest`.
    """
    # NumPy has no bfloat16; and on a GPU the many small sorts of the last score would take longer.
    exact = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    predicted, true_class = exact.detach().cpu().numpy(), targets.long().cpu().numpy()
    classes = np.arange(predicted.shape[-1])[:, np.newaxis]
    predicted_class = predicted.argmax(axis=-1)
    # Both (..., C, N): a row for each class.
    is_true = true_class[..., np.newaxis, :] == classes
    is_predicted = predicted_class[..., np.newaxis, :] == classes
    n_hits, n_either = (is_true & is_predicted).sum(axis=-1), is_true.sum(axis=-1) + is_predicted.sum(axis=-1)
    scores = {
        "accuracy": n_hits.sum(axis=-1) / predicted.shape[-2],
        # `maximum` avoids 0/0 for a class without rows; the divisor counts only the other classes.
        "f1": (2 * n_hits / np.maximum(n_either, 1)).sum(axis=-1) / (n_either > 0).sum(axis=-1),
        "auroc": _mean_of_defined(one_against_the_rest(predicted, np.broadcast_to(is_true, is_predicted.shape))),
    }
    # In one transfer to the device, instead of one for each score.
    values = torch.from_numpy(np.stack(list(scores.values()))).to(torch.get_default_dtype()).to(probabilities.device)
    return dict(zip(scores, values, strict=True))


def one_against_the_rest(probabilities: NDArray[Any], is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Computes the area under the ROC curve of each class: (..., N, C), class membership (..., C, N) -> (..., C).

    A pair is one row of the class and one of the rest. The area is the share of pairs in which the former has the
    larger probability; a tie counts half (Hanley and McNeil 1982). NOTE[DIFF]: a class with no row, or with all rows,
    has no pairs and gets NaN; torchmetrics gives it 0, which looks like the worst score there is.
    """
    # The probabilities of a class side by side in memory, as they are picked out and sorted by class.
    by_class = np.ascontiguousarray(probabilities.swapaxes(-1, -2))
    areas = np.zeros(is_class.shape[:-1])
    for place in np.ndindex(areas.shape):
        members = np.sort(by_class[place][is_class[place]])  # sorted, they are looked up in a third of the time
        rest = np.sort(by_class[place][~is_class[place]])
        # How many of the rest are smaller, and how many are not larger: a tie is in the second number alone.
        smaller, not_larger = (np.searchsorted(rest, members, side).sum() for side in ("left", "right"))
        n_pairs = len(members) * len(rest)
        areas[place] = (smaller + not_larger) / (2 * n_pairs) if n_pairs else np.nan
    return areas


def _mean_of_defined(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the mean over the last dimension without NaN, which `nanmean` warns of if there is nothing else."""
    n_defined = (~np.isnan(areas)).sum(axis=-1)
    return np.where(n_defined > 0, np.nansum(areas, axis=-1) / np.maximum(n_defined, 1), np.nan)


def regression_scores(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Scores (..., N) values against targets (..., N), or (N,) for all networks -> (...) each.

    mse, rmse (in the target's unit), mae; r2 = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². NOTE[DIFF]: for constant targets
    r2 is 1 if every error is 0, else 0, as in scikit-learn. torchmetrics does so for nearly constant targets too, by a
    threshold that ignores their unit. For a single row r2 is NaN.
    """
    targets = targets.double()  # in float32, squares of large values would lose their last digits
    error = predicted.double() - targets
    square = error.square()
    # The population variance, so that its quotient with mse is that of the sums.
    mse, variance = square.mean(dim=-1), targets.var(dim=-1, correction=0)
    r2 = torch.where(variance > 0, 1 - mse / variance, (mse == 0).double())
    if targets.shape[-1] < 2:
        r2 = torch.full_like(r2, torch.nan)
    scores = {"mse": mse, "rmse": mse.sqrt(), "mae": error.abs().mean(dim=-1), "r2": r2}
    return {name: score.to(torch.get_default_dtype()) for name, score in scores.items()}


class Scores:
    """Collects losses, predictions and targets of all batches and processes, and scores them."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.reset()

    def reset(self) -> None:
        self._losses: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a batch: its mean loss (), the network's outputs, and targets as the loss takes them.

        Returns:
            Predictions and targets in the target's own unit: probabilities (B, C) and class indices (B,), or values
            (B,) each.
        """
        predicted = predictions(outputs, self._task)
        if self._task.kind == "regression":
            predicted, targets = predicted.squeeze(1), predictions(targets, self._task).squeeze(1)
        self._losses.append(loss.detach())
        # Kept until the end of the pass: f1, auroc and r2 are no means over batches.
        self._predicted.append(predicted)
        self._targets.append(targets)
        return predicted, targets

    def compute(self) -> dict[str, Tensor]:
        """Returns the mean `loss` over the rows, and the scores, each ()."""
        score = regression_scores if self._task.kind == "regression" else classification_scores
        predicted, targets = _of_all_batches(self._predicted), _of_all_batches(self._targets)
        return {"loss": self._mean_loss(), **score(predicted, targets)}

    def _mean_loss(self) -> Tensor:
        losses = torch.stack(self._losses)
        rows = [len(targets) for targets in self._targets]
        # A NaN stays one, which torchmetrics' `MeanMetric` would leave out.
        total, n_rows = sum(loss * n for loss, n in zip(losses.tolist(), rows, strict=True)), sum(rows)
        if _are_several():
            own = torch.tensor([total, n_rows], dtype=torch.float64, device=losses.device)
            total, n_rows = torch.stack(gather_all_tensors(own)).sum(dim=0).tolist()
        # bfloat16 would round the mean to three digits.
        kind = torch.promote_types(losses.dtype, torch.float32)
        return torch.tensor(total / n_rows, dtype=kind, device=losses.device)


def _of_all_batches(parts: list[Tensor]) -> Tensor:
    """Joins the rows of this process and of the others, in their order."""
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return torch.cat(gather_all_tensors(rows)) if _are_several() else rows


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
