"""The area under the ROC curve from ranks: one sort for all classes, where a curve for each takes ten times as long."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAUROC
from torchmetrics.utilities.data import dim_zero_cat


def one_against_the_rest(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The area for each class: (N, C), (N,) class indices -> (C,) float64.

    The share of pairs, one row of the class and one of the rest, in which the former has the larger probability; a
    tie is half a pair (Hanley and McNeil 1982; by ranks, as Mann and Whitney 1947 count them). NOTE[DIFF]: a class
    without a row, or with all of them, has no such pair; it gets 0, as torchmetrics has it.
    """
    scores = probabilities.t().contiguous()
    ordered = scores.sort(dim=1).values
    below = torch.searchsorted(ordered, scores)
    not_above = torch.searchsorted(ordered, scores, right=True)
    ranks = (below + not_above + 1).double() / 2  # the mean rank of those that tie
    of_class = torch.arange(len(scores), device=targets.device).unsqueeze(1) == targets
    n_in = of_class.sum(dim=1).double()
    n_pairs = n_in * (len(targets) - n_in)
    in_order = (ranks * of_class).sum(dim=1) - n_in * (n_in + 1) / 2
    return torch.where(n_pairs > 0, in_order / n_pairs.clamp(min=1), 0.0)


class RankedAUROC(MulticlassAUROC):
    """`MulticlassAUROC` with the mean over classes, on probabilities (B, C) and class indices (B,)."""

    def compute(self) -> Tensor:  # type: ignore[override]
        areas = one_against_the_rest(dim_zero_cat(self.preds), dim_zero_cat(self.target))
        return areas.mean().to(torch.get_default_dtype())
