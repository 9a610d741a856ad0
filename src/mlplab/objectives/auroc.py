"""The area under the ROC curve from ranks: one sort for all classes, where a curve for each takes ten times as long."""

import torch
from torch import Tensor


def one_against_the_rest(probabilities: Tensor, of_class: Tensor) -> Tensor:
    """The area for each class: (..., N, C), whether a row is of a class (..., C, N) bool -> (..., C) float64.

    The share of pairs, one row of the class and one of the rest, in which the former has the larger probability; a
    tie is half a pair (Hanley and McNeil 1982; by ranks, as Mann and Whitney 1947 count them). NOTE[DIFF]: a class
    without a row, or with all of them, has no such pair; it gets 0, as torchmetrics has it.
    """
    scores = probabilities.transpose(-1, -2).contiguous()
    ordered = scores.sort(dim=-1).values
    below = torch.searchsorted(ordered, scores)
    not_above = torch.searchsorted(ordered, scores, right=True)
    n_in = of_class.sum(dim=-1)
    # A row's two counts are twice the rows below it and once its equals. Among those of one class they add up to the
    # square of their number, whatever their order; what is left is twice the pairs won.
    twice_won = ((below + not_above) * of_class).sum(dim=-1) - n_in.square()
    twice_pairs = 2 * n_in * (of_class.shape[-1] - n_in)
    return twice_won.double() / twice_pairs.clamp(min=1)
