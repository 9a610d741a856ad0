"""Paired tests between settings that ran on the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mlplab.report.ranked_settings import Setting, contenders

MOST_COMPARED = 5
"""The best setting is tested against the others of the first five."""

MOST_ARMS = 6
"""With more arms the best is tested against the others, instead of every pair."""

MOST_ENUMERATED = 13
"""Pairs up to which all assignments of signs are enumerated where differences are tied."""


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed-rank test of paired differences.

    Attributes:
        n: pairs.
        n_equal: pairs without a difference, which the test leaves out.
        p: two-sided.
        rank_biserial: (sum of ranks of positive differences - of negative ones) / sum of all ranks, from -1 to 1.
        median: of the differences.
        least_p: smallest p that this number of pairs can give, 2 / 2^n.
    """

    n: int
    n_equal: int
    p: float
    rank_biserial: float
    median: float
    least_p: float


@dataclass(frozen=True)
class PairedTest:
    """Two settings compared on the seeds that both have.

    Attributes:
        first: the setting with the better rank.
        second: the other one.
        result: of the differences second - first; positive where the first is better.
        wins: seeds on which the first is better.
        corrected_p: by Holm, over all pairs of the report.
    """

    first: Setting
    second: Setting
    result: SignedRanks
    wins: int
    corrected_p: float


def tests_between(settings: Sequence[Setting]) -> list[PairedTest]:
    """Tests the best setting against the next ones, or every pair of arms of a comparison."""
    # One seed gives one pair, of which no test can say anything.
    ranked = [setting for setting in contenders(settings) if len(setting.validation.values) >= 2]
    if all(setting.arm is not None for setting in ranked) and len(ranked) <= MOST_ARMS:
        # In the order of the ranks, so that the first of each pair is the better one.
        pairs = list(combinations(ranked, 2))
    else:
        # Every further test raises the corrected p of all.
        pairs = [(ranked[0], other) for other in ranked[1:MOST_COMPARED]]
    found = [(a, b, differences) for a, b in pairs if len(differences := _differences(a, b)) >= 2]
    results = [signed_rank_test(differences) for _, _, differences in found]
    return [
        PairedTest(a, b, result, sum(difference > 0 for difference in differences), p)
        for (a, b, differences), result, p in zip(found, results, holm([r.p for r in results]), strict=True)
    ]


def _differences(first: Setting, second: Setting) -> list[float]:
    """Returns by how much the second setting is worse, on each seed for which both have a value."""
    before, after = first.by_seeds, second.by_seeds
    return [first.objective.sign * (after[seeds] - before[seeds]) for seeds in before if seeds in after]


def signed_rank_test(differences: Sequence[float]) -> SignedRanks:
    """Computes Wilcoxon's signed-rank test and the matched-pairs rank-biserial correlation.

    Differences of zero are left out, as in Wilcoxon (1945, "Individual comparisons by ranking methods"). The
    correlation is that of Kerby (2014, "The simple difference formula"). p is exact, unless there are ties among more
    than 13 differences: then it is the normal approximation.

    Args:
        differences: one for each pair, (N,) with N at least 1; finite.
    """
    # Not above: the import takes half a second, for which reports without repeated seeds need not wait.
    from scipy.stats import PermutationMethod, rankdata, wilcoxon

    every = np.asarray(differences, dtype=np.float64)
    nonzero = every[every != 0]
    n, n_equal, median = len(every), int((every == 0).sum()), float(np.median(every))
    if not len(nonzero):
        return SignedRanks(n, n_equal, 1.0, 0.0, median, 1.0)
    if len(np.unique(np.abs(nonzero))) == len(nonzero):
        method = "exact"  # SciPy's table of rank sums, which holds without ties only
    else:
        # Its 9,999 samples are more than the 2^13 signs, so it enumerates; "approx" is known to every SciPy.
        method = PermutationMethod() if len(nonzero) <= MOST_ENUMERATED else "approx"
    p = float(wilcoxon(nonzero, method=method).pvalue)
    ranks = rankdata(np.abs(nonzero))
    biserial = float(ranks @ np.sign(nonzero) / ranks.sum())
    # All signs alike is the extreme case: two of the 2^n equally likely assignments.
    return SignedRanks(n, n_equal, p, biserial, median, min(1.0, 2.0 ** (1 - len(nonzero))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number, so that the chance of any false positive stays below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    # The smallest p is multiplied by the number of tests, the next by one less; none may end below an earlier one.
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected
