import itertools

import numpy as np
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlplab.report.paired_tests import holm, signed_rank_test


@pytest.mark.parametrize("n", [1, 2, 5, 10, 23, 40])
def test_without_ties_it_is_scipys_exact_test(n: int) -> None:
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.3, 1, n)
        result = signed_rank_test(list(differences))
        assert result.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-12)
        assert result.median == pytest.approx(float(np.median(differences)))
        assert result.least_p == min(1.0, 2 / 2**n)


def p_by_all_signs(differences: list[float]) -> float:
    """Every assignment of signs, counted."""
    nonzero = [d for d in differences if d != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    sums = np.array([sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in
                     itertools.product((False, True), repeat=len(ranks))])  # fmt: skip
    found = sum(r for r, d in zip(ranks, nonzero, strict=True) if d > 0)
    return min(1.0, 2 * min(float(np.mean(sums <= found)), float(np.mean(sums >= found))))


@settings(max_examples=examples(25))
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9).filter(any))
def test_with_ties_and_zeros_it_is_the_count_over_all_signs(differences: list[int]) -> None:
    result = signed_rank_test([float(d) for d in differences])
    assert result.p == pytest.approx(p_by_all_signs([float(d) for d in differences]), rel=1e-12)
    assert result.n_equal == differences.count(0)
    assert -1 <= result.rank_biserial <= 1
    assert result.p >= result.least_p * (1 - 1e-12)


def test_five_wins_of_five_cannot_be_told_from_chance() -> None:
    result = signed_rank_test([0.1, 0.2, 0.3, 0.4, 0.5])
    assert (result.p, result.least_p, result.rank_biserial) == (0.0625, 0.0625, 1.0)


def test_the_rank_biserial_correlation_by_hand() -> None:
    # Ranks 1, 2, 3, 4; the negative difference has rank 2: (8 - 2) / 10.
    assert signed_rank_test([1.0, -2.0, 3.0, 4.0]).rank_biserial == pytest.approx(0.6)


def test_no_difference_at_all_is_no_evidence() -> None:
    result = signed_rank_test([0.0, 0.0])
    assert (result.p, result.rank_biserial, result.n, result.n_equal) == (1.0, 0.0, 2, 2)


def test_ties_among_many_pairs_are_approximated() -> None:
    differences = [1.0, 1.0, 2.0, -1.0, 3.0] * 6
    assert signed_rank_test(differences).p == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
