"""A test for pairs, its size of effect, and its correction where several pairs are tested."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Wilcoxon's signed-rank test of pairs.

    Attributes:
        n: pairs.
        n_equal: pairs without a difference, which the test leaves out.
        p: exact and two-sided: how often signs by the toss of a coin give rank sums as far apart.
        rank_biserial: (sum of ranks of positive differences - of negative ones) / sum of all ranks, from -1 to 1.
        median: of the differences.
        least_p: the smallest p that so many pairs can give, 2 / 2^n.
    """

    n: int
    n_equal: int
    p: float
    rank_biserial: float
    median: float
    least_p: float


def signed_rank_test(differences: Sequence[float]) -> Paired:
    """Wilcoxon's signed-rank test, exact with ties too, and the matched-pairs rank-biserial correlation.

    Differences of zero are left out, as Wilcoxon (1945, "Individual comparisons by ranking methods") has it; equal
    sizes share the mean of their ranks. The correlation is that of Kerby (2014, "The simple difference formula").

    Args:
        differences: one for each pair, (N,) with N at least 1; finite.
    """
    all_of_them = np.asarray(differences, dtype=np.float64)
    nonzero = all_of_them[all_of_them != 0]
    n = len(nonzero)
    median = float(np.median(all_of_them))
    if n == 0:
        return Paired(len(all_of_them), len(all_of_them), 1.0, 0.0, median, 1.0)
    ranks = mean_ranks(np.abs(nonzero))
    total, positive = float(ranks.sum()), float(ranks[nonzero > 0].sum())
    # Ranks are multiples of a half: doubled, their sums are whole numbers that can be counted.
    doubled = np.rint(2 * ranks).astype(int)
    shares = np.zeros(int(doubled.sum()) + 1)
    shares[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(shares)
        moved[rank:] = shares[: len(shares) - rank]
        shares = (shares + moved) / 2
    at = round(2 * positive)
    p = 2 * min(float(shares[: at + 1].sum()), float(shares[at:].sum()))
    biserial = (2 * positive - total) / total
    return Paired(len(all_of_them), len(all_of_them) - n, min(1.0, p), biserial, median, min(1.0, 2.0 ** (1 - n)))


def mean_ranks(values: Values) -> Values:
    """Ranks from 1; equal values share the mean of theirs. (N,) -> (N,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Values = (last - (counts - 1) / 2)[place]
    return ranks


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number: the chance of any false alarm stays below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected
