"""Paired tests between settings that ran on the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mlplab.report.ranked_settings import Setting, contenders
from mlplab.report.statistics import Paired, holm, signed_rank_test

MOST_COMPARED = 5
"""The best is tested against so many less one."""

MOST_ARMS = 6
"""Up to which all pairs of arms are tested; beyond, the best against the others."""


@dataclass(frozen=True)
class Tested:
    """Two settings over the seeds that both have.

    Attributes:
        first: the better one by its rank.
        second: the other.
        result: differences are those of the second less the first; positive ones where the first is better.
        wins: seeds on which the first is better.
        corrected_p: by Holm, over all pairs of the report.
    """

    first: Setting
    second: Setting
    result: Paired
    wins: int
    corrected_p: float


def tests_between(settings: Sequence[Setting]) -> list[Tested]:
    """The best setting against the next, or all pairs of the arms of a comparison."""
    ranked = [setting for setting in contenders(settings) if len(setting.validation.values) >= 2]
    if all(setting.arm is not None for setting in ranked) and len(ranked) <= MOST_ARMS:
        pairs = list(combinations(ranked, 2))
    else:
        pairs = [(ranked[0], other) for other in ranked[1:MOST_COMPARED]]
    found = [(a, b, differences) for a, b in pairs if len(differences := _differences(a, b)) >= 2]
    results = [signed_rank_test(differences) for _, _, differences in found]
    return [
        Tested(a, b, result, sum(difference > 0 for difference in differences), p)
        for (a, b, differences), result, p in zip(found, results, holm([r.p for r in results]), strict=True)
    ]


def _differences(first: Setting, second: Setting) -> list[float]:
    """By how much the second is worse, on each seed that both have a value on."""
    before, after = first.by_seeds, second.by_seeds
    return [first.objective.sign * (after[seeds] - before[seeds]) for seeds in before if seeds in after]
