"""The area under the ROC curve, by counting pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_against_the_rest(probabilities: NDArray[Any], of_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Computes the area of each class: probabilities (..., N, C), class membership (..., C, N) -> (..., C).

    A pair is one row of the class and one of the rest. The area is the share of pairs in which the former has the
    larger probability; a tie counts half (Hanley and McNeil 1982). NOTE[DIFF]: a class with no row, or with all rows,
    has no pairs and gets 0, as in torchmetrics.
    """
    by_class = np.ascontiguousarray(probabilities.swapaxes(-1, -2))
    areas = np.zeros(of_class.shape[:-1])
    for place in np.ndindex(areas.shape):
        members = np.sort(by_class[place][of_class[place]])  # sorted, they are looked up in a third of the time
        rest = np.sort(by_class[place][~of_class[place]])
        # How many of the rest are smaller, and how many are not larger: a tie is in the second number alone.
        smaller, not_larger = (np.searchsorted(rest, members, side).sum() for side in ("left", "right"))
        areas[place] = (smaller + not_larger) / max(2 * len(members) * len(rest), 1)
    return areas
