"""Paired tests between settings that ran on the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

import numpy as np

from mlplab.sweeps.reading.formatting import number
from mlplab.sweeps.reading.ranked_settings import Setting, by_data_set, judged
from mlplab.sweeps.reading.sweep_records import Spread

LEVEL = 0.05
"""A corrected p below this one is significant."""

CONFIDENCE = 0.95
"""Level of the confidence intervals."""

MOST_COMPARED = 5
"""The best setting is tested against the others of the first five."""

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
        mean: of the differences.
        interval: of that mean, with `CONFIDENCE`.
    """

    first: Setting
    second: Setting
    result: SignedRanks
    wins: int
    corrected_p: float
    mean: float
    interval: tuple[float, float]


def tests_between(settings: Sequence[Setting]) -> list[PairedTest]:
    """Tests on each data set the best setting against the next ones, or the arms of a comparison against each other."""
    pairs = [pair for those in by_data_set(settings).values() for pair in _pairs(judged(those))]
    found = [(a, b, differences) for a, b in pairs if len(differences := paired_differences(a, b)) >= 2]
    results = [signed_rank_test(differences) for _, _, differences in found]
    return [
        PairedTest(a, b, result, sum(d > 0 for d in differences), p, fmean(differences), interval_of_mean(differences))
        for (a, b, differences), result, p in zip(found, results, holm([r.p for r in results]), strict=True)
    ]


def _pairs(settings: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    # One seed gives one pair, of which no test can say anything.
    ranked = [setting for setting in settings if len(setting.validation.values) >= 2]
    with_best = [(ranked[0], other) for other in ranked[1:]]
    if any(setting.arm is None for setting in ranked):
        # Every further test raises the corrected p of all.
        return with_best[: MOST_COMPARED - 1]
    # In the order of the ranks, so that the first of each pair is the better one.
    every = list(combinations(ranked, 2))
    n = min((len(paired_differences(a, b)) for a, b in every), default=0)
    # Of 36 pairs of nine arms, ten seeds could not show a single difference.
    return every if least_p(n) * len(every) < LEVEL else with_best


def least_p(n: int) -> float:
    """Returns the smallest p that n pairs can give: all signs alike are two of 2^n equally likely assignments."""
    return min(1.0, 2.0 ** (1 - n))


def enough_pairs(n_tests: int) -> int:
    """Returns how many pairs can show a difference in the smallest of so many corrected p values."""
    return next(n for n in range(2, 99) if least_p(n) * n_tests < LEVEL)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Returns the interval of Student's t for the mean of at least two values."""
    from scipy.stats import t

    mean = fmean(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


@dataclass(frozen=True)
class Difference:
    """By how much a setting is worse than the best, with an interval of `CONFIDENCE`; `pairs` is 0 if seeds differ."""

    mean: float
    low: float
    high: float
    pairs: int

    def text(self) -> str:
        """Formats the difference: `0.01 (95 % interval -0.02 to 0.04, 5 paired seeds)`."""
        paired = f", {self.pairs} paired seeds" if self.pairs else ""
        return (
            f"{number(self.mean)} ({100 * CONFIDENCE:.0f} % interval {number(self.low)} to {number(self.high)}{paired})"
        )


def interval_between(best: Setting, other: Setting, known: Spread) -> Difference:
    """Computes the interval of a difference: paired where seeds pair, else by the deviations of both.

    Args:
        best: the better setting.
        other: the worse one.
        known: spread of several runs, whose deviation a setting has that ran once.
    """
    differences = paired_differences(best, other)
    if len(differences) > 1:
        return Difference(fmean(differences), *interval_of_mean(differences), len(differences))
    from scipy.stats import t

    mean, variances = best.objective.sign * (other.score - best.score), []
    for setting in (best, other):
        n, spread = len(setting.validation.values), setting.validation
        spread = spread if spread.deviation is not None else known
        variances.append(((spread.deviation or 0.0) ** 2 / n, len(spread.values) - 1))
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return Difference(mean, mean, mean, 0)
    # Welch (1947): the degrees of freedom of two unequal deviations.
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in variances)
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * total**0.5
    return Difference(mean, mean - half, mean + half, 0)


def paired_differences(first: Setting, second: Setting) -> list[float]:
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
    return SignedRanks(n, n_equal, p, biserial, median, least_p(len(nonzero)))


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
