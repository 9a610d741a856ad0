import itertools
from pathlib import Path

import numpy as np
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sweeps.making import grid, job, write_sweep

from mlplab.report.paired_tests import holm, p_text, signed_rank_test
from mlplab.report.paired_tests import tests_between as compare
from mlplab.sweeps.reading.ranked_settings import settings_of
from mlplab.sweeps.reading.sweep_reading import read_sweep


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


def test_the_smallest_p_is_that_of_all_signs_alike() -> None:
    result = signed_rank_test([float(n) for n in range(1, 11)])
    assert result.p == pytest.approx(result.least_p) == pytest.approx(2 / 2**10)


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


def test_the_best_is_tested_against_the_next_on_common_seeds(tmp_path: Path) -> None:
    found = compare(settings_of(read_sweep(write_sweep(tmp_path, grid(5)))))
    assert len(found) == 4
    assert all(dict(test.first.values) == {"optimizer": "adam", "optimizer.lr": 0.01} for test in found)
    assert [test.result.n for test in found] == [5] * 4
    assert min(test.corrected_p for test in found) == pytest.approx(4 * 0.0625)


def test_only_seeds_that_both_have_make_a_pair(tmp_path: Path) -> None:
    jobs = [job(n, {"a": 0, "seed": n}, 0.1 + 0.01 * n) for n in range(4)]
    jobs += [job(10 + n, {"a": 1, "seed": n}, 0.3, state="waiting" if n == 3 else "finished") for n in range(1, 5)]
    (test,) = compare(settings_of(read_sweep(write_sweep(tmp_path, jobs))))
    assert (test.result.n, test.result.wins) == (2, 2)
    assert test.result.median == pytest.approx(0.185)


def test_without_seeds_nothing_is_tested(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.1 * n) for n in range(4)]
    assert compare(settings_of(read_sweep(write_sweep(tmp_path, jobs)))) == []


def test_all_pairs_of_arms_are_tested_on_their_reruns(tmp_path: Path) -> None:
    jobs = [
        job(10 * a + seed, {"lr": 0.1, "seed": seed}, a + 0.1 * seed, arm=arm, stage="rerun")
        for a, arm in enumerate("xyz")
        for seed in range(7)
    ]
    found = compare(settings_of(read_sweep(write_sweep(tmp_path, jobs))))
    assert [(test.first.arm, test.second.arm) for test in found] == [("x", "y"), ("x", "z"), ("y", "z")]


def test_a_rounded_p_stays_on_its_side_of_the_level() -> None:
    texts = [p_text(p) for p in (0.0498, 0.04999, 0.05, 0.0502, 0.031, 0.00001)]
    assert texts == ["0.0498", "0.04999", "0.05", "0.05", "0.031", "below 0.0001"]
