"""The area under the ROC curve from ranks: one sort for all classes, where a curve for each takes ten times as long."""

import torch
from torch import Tensor

WHOLE_NUMBERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def one_against_the_rest(probabilities: Tensor, of_class: Tensor) -> Tensor:
    """The area for each class: (..., N, C) in [0, 1], whether a row is of a class (..., C, N) bool -> (..., C) float64.

    The share of pairs, one row of the class and one of the rest, in which the former has the larger probability; a
    tie is half a pair (Hanley and McNeil 1982; by the sum of ranks, as Mann and Whitney 1947 count them). NOTE[DIFF]:
    a class without a row, or with all of them, has no such pair; it gets 0, as torchmetrics has it.
    """
    # The bits of a positive number, read as a whole number, are in its order. Those of a probability leave room for
    # one more, which carries through the sort whether the row is of the class. Of equal probabilities it puts the rows
    # of the class last, and then first: on average they win half of the pairs among them.
    if probabilities.dtype not in WHOLE_NUMBERS:
        probabilities = probabilities.float()
    bits = probabilities.transpose(-1, -2).view(WHOLE_NUMBERS[probabilities.dtype]) << 1
    ordered = _sorted(torch.stack((bits | of_class, bits | ~of_class)))
    n_rows = ordered.shape[-1]
    ranks = torch.arange(1, n_rows + 1, device=ordered.device)
    of_marked = ((ordered & 1) * ranks).sum(dim=-1)
    n_in = of_class.sum(dim=-1)
    twice_won = of_marked[0] + n_rows * (n_rows + 1) // 2 - of_marked[1] - n_in * (n_in + 1)
    twice_pairs = 2 * n_in * (n_rows - n_in)
    return twice_won.double() / twice_pairs.clamp(min=1)


def _sorted(numbers: Tensor) -> Tensor:
    """Along the last dimension; on the processor by NumPy, which is several times as fast as PyTorch there."""
    if numbers.device.type != "cpu":
        return numbers.sort(dim=-1).values
    numbers.numpy().sort(axis=-1)
    return numbers
