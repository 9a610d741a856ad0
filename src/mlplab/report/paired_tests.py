"""Paired tests between settings that ran on the same seeds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from mlplab.sweeps.reading.formatting import number
from mlplab.sweeps.reading.ranked_settings import Setting, by_data_set, judged
from mlplab.sweeps.reading.sweep_records import Spread

LEVEL = 0.05  # a corrected p below this one is significant
CONFIDENCE = 0.95  # level of the confidence intervals
MOST_COMPARED = 5  # settings of which all pairs are tested; of more, the best against the next ones
MOST_ENUMERATED = 13  # pairs up to which all assignments of signs are enumerated where differences are tied


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed-rank test of paired differences."""

    n: int  # pairs
    n_equal: int  # pairs without a difference, which the test leaves out
    wins: int  # positive differences
    p: float  # two-sided
    rank_biserial: float  # (sum of ranks of positive differences - of negative ones) / sum of all ranks, from -1 to 1
    median: float  # of the differences
    mean: float
    interval: tuple[float, float]  # of the mean, with `CONFIDENCE`
    least_p: float  # smallest p that this number of pairs can give, 2 / 2^n


@dataclass(frozen=True)
class PairedTest:
    """Two settings compared on the seeds that both have."""

    first: Setting  # the one with the better rank
    second: Setting
    result: SignedRanks  # of the differences second - first; positive where the first is better
    corrected_p: float  # by Holm, over all pairs of the report
    n_tests: int  # in the report

    @property
    def can_decide(self) -> bool:
        """Returns whether so many pairs can give a p below `LEVEL`, once it is corrected."""
        return self.result.least_p * self.n_tests < LEVEL


def tests_between(settings: Sequence[Setting]) -> list[PairedTest]:
    """Tests on each data set the best setting against the next ones, or the arms of a comparison against each other."""
    pairs = [pair for those in by_data_set(settings).values() for pair in _pairs(judged(those))]
    return tests_of([pair for pair in pairs if len(paired_differences(*pair)) >= 2])


def tests_of(pairs: Iterable[tuple[Setting, Setting]]) -> list[PairedTest]:
    """Tests the settings of each pair on the seeds that both have; pairs without one are left out."""
    found = [(a, b, signed_rank_test(differences)) for a, b in pairs if (differences := paired_differences(a, b))]
    corrected = holm([result.p for *_, result in found])
    return [PairedTest(*parts, p, len(found)) for parts, p in zip(found, corrected, strict=True)]


def _pairs(settings: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    # One seed gives one pair, of which no test can say anything. Settings that are ranked behind others because runs of
    # them failed would be compared on the seeds that spared them.
    ranked = [setting for setting in settings if len(setting.validation.values) >= 2]
    ranked = [setting for setting in ranked if setting.is_complete == ranked[0].is_complete]
    if any(setting.arm is None for setting in ranked) and len(ranked) > MOST_COMPARED:
        # Every further test raises the corrected p of all.
        return [(ranked[0], other) for other in ranked[1:MOST_COMPARED]]
    # Tests of the best alone would err more often than the level, as the same values chose it.
    return list(combinations(ranked, 2))


def p_text(p: float) -> str:
    """Formats a p value with two significant digits, or as many more as tell it from `LEVEL`."""
    digits = next(digits for digits in range(2, 18) if (float(f"{p:.{digits}g}") < LEVEL) == (p < LEVEL))
    return "below 0.0001" if p < 0.0001 else number(p, digits)


def least_p(n: int) -> float:
    """Returns the smallest p that n pairs can give: all signs alike are two of 2^n equally likely assignments."""
    return min(1.0, 2.0 ** (1 - n))


def enough_pairs(n_tests: int) -> int:
    """Returns how many pairs can show a difference in the smallest of so many corrected p values."""
    return next(n for n in range(2, 99) if least_p(n) * n_tests < LEVEL)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Returns the interval of Student's t for the mean of values; NaN for a single one."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return _interval(fmean(values), error, len(values) - 1)


def _interval(mean: float, error: float, freedom: float) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return mean - half, mean + half


class Difference(NamedTuple):
    """By how much a setting is worse than the best, with an interval of `CONFIDENCE`; `pairs` is 0 if seeds differ."""

    mean: float
    low: float
    high: float
    pairs: int = 0

    def __str__(self) -> str:
        """Formats one that may be chance: `0.01 (95 % interval -0.02 to 0.04, 5 paired seeds)`."""
        paired = [f"{self.pairs} paired seeds"] if self.pairs else []
        interval = [f"{100 * CONFIDENCE:.0f} % interval {number(self.low)} to {number(self.high)}"]
        # Beside a test that shows nothing, an interval without 0 would say the opposite.
        return f"{number(self.mean)} ({', '.join([*(interval if self.low <= 0 <= self.high else []), *paired])})"


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
    mean, variances = best.objective.sign * (other.score - best.score), []
    for setting in (best, other):
        spread = setting.validation if setting.validation.deviation is not None else known
        variances.append(((spread.deviation or 0.0) ** 2 / len(setting.validation.values), len(spread.values) - 1))
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return Difference(mean, mean, mean)
    # Welch (1947): the degrees of freedom of two unequal deviations.
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in variances)
    return Difference(mean, *_interval(mean, total**0.5, freedom))


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
    ranks, p, biserial = rankdata(np.abs(nonzero)), 1.0, 0.0
    if len(set(ranks)) == len(ranks):
        method = "exact"  # SciPy's table of rank sums, which holds without ties only
    else:
        # Its 9,999 samples are more than the 2^13 signs, so it enumerates; "approx" is known to every SciPy.
        method = PermutationMethod() if len(nonzero) <= MOST_ENUMERATED else "approx"
    if len(nonzero):
        p, biserial = float(wilcoxon(nonzero, method=method).pvalue), float(ranks @ np.sign(nonzero) / ranks.sum())
    counts = len(every), len(every) - len(nonzero), int((every > 0).sum())
    center = float(np.median(every)), fmean(differences), interval_of_mean(differences)
    return SignedRanks(*counts, p, biserial, *center, least_p(len(ranks)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number, so that the chance of any false positive stays below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    # The smallest p is multiplied by the number of tests, the next by one less; none may end below an earlier one.
    corrected = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return list(corrected[np.argsort(order)].tolist())
