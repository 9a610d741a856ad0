from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlplab.data.bundled import bundled
from mlplab.data.dataset import Dataset
from mlplab.data.split import Split, split_rows
from mlplab.errors import Refusal

FRACTIONS = st.floats(0.01, 0.6)
SEEDS = st.integers(0, 2**32 - 1)


def numbers(n_rows: int) -> Dataset:
    return Dataset("toy", np.zeros((n_rows, 1)), np.arange(float(n_rows)))


def classes(*counts: int, order: int = 0) -> Dataset:
    targets = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(order).shuffle(targets)
    names = tuple(f"class {number}" for number in range(len(counts)))
    return Dataset("toy", np.zeros((len(targets), 1)), targets, class_names=names)


def split(dataset: Dataset, validation: float = 0.15, test: float = 0.15, seed: int = 0) -> Split:
    return split_rows(dataset, validation_fraction=validation, test_fraction=test, seed=seed)


def parts(split: Split) -> list[list[int]]:
    return [split.train.tolist(), split.val.tolist(), split.test.tolist()]


@settings(deadline=None, max_examples=100)
@given(n_rows=st.integers(1, 300), validation=FRACTIONS, test=FRACTIONS, seed=SEEDS)
def test_every_row_is_in_exactly_one_part_of_the_size_that_was_asked_for_or_the_split_is_refused(
    n_rows: int, validation: float, test: float, seed: int
) -> None:
    n_val, n_test = round(validation * n_rows), round(test * n_rows)
    if min(n_val, n_test, n_rows - n_val - n_test) < 2:
        with pytest.raises(Refusal, match="must each have two rows"):
            split(numbers(n_rows), validation, test, seed)
        return
    train, val, test_rows = parts(split(numbers(n_rows), validation, test, seed))
    assert sorted(train + val + test_rows) == list(range(n_rows))
    assert (len(val), len(test_rows)) == (n_val, n_test)
    assert [train, val, test_rows] == [sorted(train), sorted(val), sorted(test_rows)]


@settings(deadline=None, max_examples=100)
@given(
    counts=st.lists(st.integers(1, 80), min_size=2, max_size=5),
    validation=FRACTIONS,
    test=FRACTIONS,
    seed=SEEDS,
    order=st.integers(0, 1000),
)
def test_every_part_has_every_class_in_its_share_or_the_split_is_refused(
    counts: list[int], validation: float, test: float, seed: int, order: int
) -> None:
    dataset = classes(*counts, order=order)
    try:
        result = split(dataset, validation, test, seed)
    except Refusal:
        # Generous data are never refused: each class has a row and a half to spare in each part.
        shares = (validation, test, 1 - validation - test)
        assert min(shares) * min(counts) < 1.5 + 2 * 0.5
        return
    assert sorted(chain(*parts(result))) == list(range(sum(counts)))
    for rows in (result.train, result.val, result.test):
        in_part = np.bincount(dataset.targets[rows].astype(int), minlength=len(counts))
        assert in_part.min() >= 1
        # Whole rows: dividing twice rounds twice, and each time by less than one row.
        assert np.abs(in_part - np.array(counts) * len(rows) / sum(counts)).max() < 2


def test_shares_that_divide_evenly_are_kept_exactly() -> None:
    dataset = classes(60, 30, 10)
    result = split(dataset, 0.2, 0.1)
    shares = [
        np.bincount(dataset.targets[rows].astype(int)).tolist() for rows in (result.train, result.val, result.test)
    ]
    assert shares == [[42, 21, 7], [12, 6, 2], [6, 3, 1]]


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_the_seed_alone_decides(seed: int) -> None:
    dataset = classes(30, 30)
    first = parts(split(dataset, seed=seed))
    np.random.seed(seed % 1000)  # noqa: NPY002
    assert parts(split(dataset, seed=seed)) == first
    assume(seed > 0)
    assert parts(split(dataset, seed=seed - 1)) != first


def test_the_test_part_does_not_depend_on_the_size_of_the_validation_part() -> None:
    dataset = numbers(100)
    assert split(dataset, 0.1, 0.2).test.tolist() == split(dataset, 0.4, 0.2).test.tolist()


def test_a_split_of_a_regression_is_random_and_not_by_the_order_of_the_rows() -> None:
    result = split(numbers(1000), 0.2, 0.2)
    # The mean of 200 of the numbers below 1000 has a standard deviation of about 18.
    assert result.test.mean() == pytest.approx(499.5, abs=90)
    assert result.val.mean() == pytest.approx(499.5, abs=90)


@pytest.mark.parametrize(("n_rows", "given"), [(1, "1, 0 and 0 of 1"), (3, "3, 0 and 0 of 3")])
def test_too_few_rows_are_refused_with_the_parts_they_would_make(n_rows: int, given: str) -> None:
    with pytest.raises(Refusal) as refusal:
        split(numbers(n_rows))
    assert refusal.value.must == "the training, validation and test part must each have two rows"
    assert given in refusal.value.given
    assert "data.validation_fraction" in refusal.value.remedy


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(Refusal, match="0, 50 and 50 of 100 rows"):
        split(numbers(100), 0.5, 0.5)
    with pytest.raises(Refusal, match="-20, 60 and 60 of 100 rows"):
        split(numbers(100), 0.6, 0.6)


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_a_class_of_fewer_than_three_rows_is_refused_by_name(rare: int) -> None:
    dataset: Any = classes(50, rare, 50)
    with pytest.raises(Refusal) as refusal:
        split(dataset)
    assert "at least 3 rows" in refusal.value.must
    assert refusal.value.given == f"class 'class 1' has {rare}"


def test_a_part_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        split(classes(*[5] * 10), 0.15, 0.15)
    assert "each of the 10 classes" in refusal.value.must
    assert "8 rows" in refusal.value.given


@pytest.mark.parametrize("seed", range(10))
def test_a_class_whose_share_of_a_part_is_less_than_a_row_is_refused_by_name(seed: int) -> None:
    with pytest.raises(Refusal) as refusal:
        split(classes(97, 3), seed=seed)
    assert "share of each part" in refusal.value.must
    assert refusal.value.given == "class 'class 1' has 3 of 100"


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_which_the_test_part_leaves_one_row_is_refused_by_name(seed: int) -> None:
    with pytest.raises(Refusal) as refusal:
        split(classes(3, 9), 0.17, 0.6, seed=seed)
    assert refusal.value.given == "class 'class 0' has 3 of 12"


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_the_bundled_data_sets_can_be_split_with_the_defaults(name: str) -> None:
    dataset = bundled(name)
    assert sorted(chain(*parts(split(dataset)))) == list(range(len(dataset.targets)))
