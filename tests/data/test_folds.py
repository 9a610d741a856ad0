"""Folds of a cross-validation: each row is tested once, by a run that has not learned from it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit

from mlplab.data.dataset import Dataset
from mlplab.data.folds import rows_of_fold
from mlplab.data.split import SplitRules, split_fold
from mlplab.errors import UserError

Rows = npt.NDArray[np.int64]


def folds(n_rows: int, n_folds: int, **options: object) -> list[tuple[Rows, Rows]]:
    return [rows_of_fold(n_rows, fold, n_folds, seed=3, **options) for fold in range(n_folds)]  # type: ignore[arg-type]


@given(st.integers(2, 200), st.integers(2, 10), st.integers(1, 5))
def test_each_row_is_tested_once_and_classes_are_spread_evenly(n_rows: int, n_folds: int, n_classes: int) -> None:
    labels = np.random.default_rng(n_rows).integers(0, n_classes, n_rows)
    if n_rows < n_folds:
        with pytest.raises(UserError, match="at least"):
            folds(n_rows, n_folds, labels=labels)
        return
    found = folds(n_rows, n_folds, labels=labels)
    assert np.sort(np.concatenate([tested for _, tested in found])).tolist() == list(range(n_rows))
    counts = np.array([np.bincount(labels[tested], minlength=n_classes) for _, tested in found])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert all(np.union1d(others, tested).tolist() == list(range(n_rows)) for others, tested in found)


def test_the_folds_are_as_even_as_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 7])
    splits = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    theirs = [np.bincount(labels[tested], minlength=3) for _, tested in splits]
    ours = [np.bincount(labels[tested], minlength=3) for _, tested in folds(87, 5, labels=labels)]
    assert np.ptp(ours, axis=0).max() <= np.ptp(theirs, axis=0).max()


@given(st.integers(2, 60), st.integers(2, 6))
def test_groups_stay_together(n_groups: int, n_folds: int) -> None:
    groups = np.repeat(np.arange(n_groups), np.random.default_rng(n_groups).integers(1, 9, n_groups))
    if n_groups < n_folds:
        with pytest.raises(UserError, match=f"at least {n_folds} groups"):
            folds(len(groups), n_folds, groups=groups)
        return
    found = folds(len(groups), n_folds, groups=groups)
    assert np.sort(np.concatenate([tested for _, tested in found])).tolist() == list(range(len(groups)))
    for others, tested in found:
        assert len(tested)
        assert not set(groups[others]) & set(groups[tested])


@given(st.lists(st.integers(0, 50), min_size=3, max_size=80), st.integers(2, 6))
def test_by_time_nothing_is_learned_from_what_comes_later(times: list[int], n_folds: int) -> None:
    moments = np.array(times, float)
    if len(set(times)) < n_folds + 1:
        with pytest.raises(UserError, match=f"at least {n_folds + 1} different times"):
            folds(len(times), n_folds, times=moments)
        return
    before = -1
    for others, tested in folds(len(times), n_folds, times=moments):
        assert len(others) > before  # each fold has more to learn from
        before = len(others)
        assert moments[others].max() < moments[tested].min()


def test_by_time_the_blocks_are_those_of_scikit_learn() -> None:
    theirs = [(a.tolist(), b.tolist()) for a, b in TimeSeriesSplit(4).split(np.zeros(50))]
    ours = [(a.tolist(), b.tolist()) for a, b in folds(50, 4, times=np.arange(50.0))]
    assert ours == theirs


def dataset(**rules: npt.NDArray[np.generic]) -> Dataset:
    split_rules = SplitRules(**rules)  # type: ignore[arg-type]
    return Dataset("d", np.zeros((60, 2)), np.arange(60) % 3, class_names=("a", "b", "c"), split_rules=split_rules)


def test_the_validation_part_is_drawn_from_the_other_folds() -> None:
    split = split_fold(dataset(), 1, 5, validation_fraction=0.25, seed=0)
    assert (len(split.test), len(split.val), len(split.train)) == (12, 12, 36)
    assert np.bincount(np.arange(60)[split.val] % 3).tolist() == [4, 4, 4]
    by_time = split_fold(dataset(times=np.arange(60.0)), 1, 5, validation_fraction=0.25, seed=0)
    assert by_time.test.tolist() == list(range(20, 30))
    assert by_time.val.tolist() == list(range(15, 20))
    assert by_time.train.tolist() == list(range(15))


def test_a_given_test_part_is_refused() -> None:
    with pytest.raises(UserError, match="must draw the test part of each fold"):
        split_fold(dataset(parts=np.full(60, "")), 0, 5, validation_fraction=0.2, seed=0)
