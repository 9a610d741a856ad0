"""The area under the ROC curve from ranks: one sort for all classes, where a curve for each takes ten times as long."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE_NUMBERS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def one_against_the_rest(probabilities: NDArray[Any], of_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The area for each class: (..., N, C) in [0, 1], and whether a row is of a class (..., C, N) -> (..., C).

    The share of pairs, one row of the class and one of the rest, in which the former has the larger probability; a
    tie is half a pair (Hanley and McNeil 1982; by the sum of ranks, as Mann and Whitney 1947 count them). NOTE[DIFF]:
    a class without a row, or with all of them, has no such pair; it gets 0, as torchmetrics has it. Probabilities
    have 32 or 64 bits.
    """
    # The bits of a positive number, read as a whole number, are in its order. Those of a probability leave room for
    # one more, which carries through the sort whether the row is of the class. Of equal probabilities it puts the rows
    # of the class last: they win all pairs among them, and where they are put first, none. The mean of both is half.
    by_class = np.ascontiguousarray(probabilities.swapaxes(-1, -2))
    bits = by_class.view(WHOLE_NUMBERS[by_class.dtype]) << 1
    n_rows = bits.shape[-1]
    ranks, n_in = np.arange(1, n_rows + 1), of_class.sum(axis=-1)
    ordered = np.sort(bits | of_class, axis=-1)
    last = (ordered & 1) @ ranks
    first = last.copy()
    ordered >>= 1
    has_ties = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    if has_ties.any():
        others = np.sort(bits[has_ties] | ~of_class[has_ties], axis=-1) & 1
        first[has_ties] = n_rows * (n_rows + 1) // 2 - others @ ranks
    twice_won = last + first - n_in * (n_in + 1)
    areas: NDArray[np.float64] = twice_won / np.maximum(2 * n_in * (n_rows - n_in), 1)
    return areas
