from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from drawn import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlplab.data.bundled import bundled
from mlplab.data.dataset import Dataset
from mlplab.data.split import Split, SplitRules, split_rows
from mlplab.errors import UserError

FRACTIONS = st.floats(0.01, 0.6)
SEEDS = st.integers(0, 2**32 - 1)


def numbers(n_rows: int) -> Dataset:
    return Dataset("toy", np.zeros((n_rows, 1)), np.arange(float(n_rows)))


def classes(*counts: int, order: int = 0) -> Dataset:
    targets = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(order).shuffle(targets)
    names = tuple(f"class {number}" for number in range(len(counts)))
    return Dataset("toy", np.zeros((len(targets), 1)), targets, class_names=names)


def ruled(dataset: Dataset, **rules: Any) -> Dataset:
    return replace(dataset, split_rules=SplitRules(**{name: np.asarray(rule) for name, rule in rules.items()}))


def split(dataset: Dataset, validation: float = 0.15, test: float = 0.15, seed: int = 0) -> Split:
    return split_rows(dataset, validation_fraction=validation, test_fraction=test, seed=seed)


def parts(split: Split) -> list[list[int]]:
    return [split.train.tolist(), split.val.tolist(), split.test.tolist()]


@settings(max_examples=examples(100))
@given(n_rows=st.integers(1, 300), validation=FRACTIONS, test=FRACTIONS, seed=SEEDS)
def test_every_row_is_in_exactly_one_part_of_the_size_that_was_asked_for_or_the_split_is_refused(
    n_rows: int, validation: float, test: float, seed: int
) -> None:
    n_val, n_test = round(validation * n_rows), round(test * n_rows)
    if min(n_val, n_test, n_rows - n_val - n_test) < 2:
        with pytest.raises(UserError, match="must each have two rows"):
            split(numbers(n_rows), validation, test, seed)
        return
    train, val, test_rows = parts(split(numbers(n_rows), validation, test, seed))
    assert sorted(train + val + test_rows) == list(range(n_rows))
    assert (len(val), len(test_rows)) == (n_val, n_test)
    assert [train, val, test_rows] == [sorted(train), sorted(val), sorted(test_rows)]


@settings(max_examples=examples(100))
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
    except UserError:
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


@settings(max_examples=examples(20))
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
    with pytest.raises(UserError) as refusal:
        split(numbers(n_rows))
    assert refusal.value.requirement == "the training, validation and test part must each have two rows"
    assert given in refusal.value.actual
    assert "data.validation_fraction" in refusal.value.hint


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(UserError, match="0, 50 and 50 of 100 rows"):
        split(numbers(100), 0.5, 0.5)
    with pytest.raises(UserError, match="-20, 60 and 60 of 100 rows"):
        split(numbers(100), 0.6, 0.6)


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_a_class_of_fewer_than_three_rows_is_refused_by_name(rare: int) -> None:
    dataset: Any = classes(50, rare, 50)
    with pytest.raises(UserError) as refusal:
        split(dataset)
    assert refusal.value.requirement == "each part must have a row of each of the 3 classes"
    assert refusal.value.actual == f"class 'class 1' has {rare} of {100 + rare} rows"


def test_a_part_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(UserError) as refusal:
        split(classes(*[5] * 10), 0.15, 0.15)
    assert "each of the 10 classes" in refusal.value.requirement
    assert "larger data.validation_fraction" in refusal.value.hint


@pytest.mark.parametrize("seed", range(3))
def test_a_class_whose_share_of_a_part_is_less_than_a_row_is_refused_by_name(seed: int) -> None:
    with pytest.raises(UserError) as refusal:
        split(classes(97, 3), seed=seed)
    assert refusal.value.actual == "class 'class 1' has 3 of 100 rows"


@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_which_the_test_part_leaves_one_row_is_refused_by_name(seed: int) -> None:
    with pytest.raises(UserError) as refusal:
        split(classes(3, 9), 0.17, 0.6, seed=seed)
    assert refusal.value.actual == "class 'class 0' has 3 of 12 rows"


@settings(max_examples=examples(60))
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    validation=FRACTIONS,
    test=FRACTIONS,
    seed=SEEDS,
)
def test_rows_of_rare_classes_are_kept_in_training_and_the_rest_is_stratified(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    dataset = replace(classes(*counts), split_rules=SplitRules(rare_classes="keep"))
    try:
        result = split(dataset, validation, test, seed)
    except UserError:
        return  # too few rows, or not two classes that are in every part
    assert sorted(chain(*parts(result))) == list(range(sum(counts)))
    rows_of = {part: np.bincount(dataset.targets[getattr(result, part)].astype(int), minlength=len(counts))
               for part in ("train", "val", "test")}  # fmt: skip
    for number, count in enumerate(counts):
        is_rare = number in result.rare
        assert (rows_of["train"][number] == count) == is_rare
        assert (rows_of["val"][number] > 0) == (rows_of["test"][number] > 0) == (not is_rare)
    if not result.rare:
        assert parts(split(classes(*counts), validation, test, seed)) == parts(result)


def test_two_classes_must_be_in_every_part() -> None:
    for rare_classes in ("keep", "drop"):
        with pytest.raises(UserError) as refusal:
            split(replace(classes(9, 1), split_rules=SplitRules(rare_classes=rare_classes)))
        assert refusal.value.actual == "class 'class 1' has 1 of 10 rows"
    with pytest.raises(UserError, match=r"data\.rare_classes=keep"):
        split(replace(classes(50, 50, 1), split_rules=SplitRules(rare_classes="refuse")))


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_the_bundled_data_sets_can_be_split_with_the_defaults(name: str) -> None:
    dataset = bundled(name)
    assert sorted(chain(*parts(split(dataset)))) == list(range(len(dataset.targets)))


GIVEN = np.array(["train", "val", "test", "test", "val", "train", "train", "val", "test"])


@pytest.mark.parametrize("dataset", [numbers(9), classes(5, 4), classes(8, 1)])
@pytest.mark.parametrize("rules", [{}, {"times": np.zeros(9)}, {"groups": np.array([0, 1, 2, 2, 1, 0, 0, 1, 2])}])
def test_parts_that_are_given_are_taken_as_they_are(dataset: Dataset, rules: dict[str, Any]) -> None:
    # Fractions, seeds and the shares of classes have no say in it.
    result = split(ruled(dataset, parts=GIVEN, **rules), 0.9, 0.05, seed=7)
    assert parts(result) == [np.flatnonzero(part == GIVEN).tolist() for part in ("train", "val", "test")]


@settings(max_examples=examples(50))
@given(n_free=st.integers(8, 100), n_test=st.integers(2, 50), validation=st.floats(0.25, 0.6), seed=SEEDS)
def test_beside_a_given_test_part_validation_is_drawn_from_the_rest(
    n_free: int, n_test: int, validation: float, seed: int
) -> None:
    given_parts = np.random.default_rng(seed).permutation([""] * n_free + ["test"] * n_test)
    # The test fraction has nothing to say.
    train, val, test_rows = parts(split(ruled(numbers(len(given_parts)), parts=given_parts), validation, 0.99, seed))
    assert test_rows == np.flatnonzero(given_parts == "test").tolist()
    assert len(val) == round(validation * n_free)
    assert sorted(train + val) == np.flatnonzero(given_parts == "").tolist()


def test_the_rest_of_a_given_test_part_keeps_the_shares_of_its_own_classes() -> None:
    targets = np.array([0] * 60 + [1] * 20 + [1, 2] * 10)
    dataset = replace(classes(1, 1, 1), features=np.zeros((100, 1)), targets=targets)
    result = split(ruled(dataset, parts=[""] * 80 + ["test"] * 20), 0.25)
    assert np.bincount(targets[result.val]).tolist() == [15, 5]
    assert np.bincount(targets[result.train]).tolist() == [45, 15]


def test_of_the_classes_beside_a_given_part_the_rare_one_is_named() -> None:
    # Class 0 is in the given part alone, and is none of those that are too rare.
    dataset = replace(classes(1, 1, 1), features=np.zeros((30, 1)), targets=np.array([0] * 10 + [1] * 19 + [2]))
    with pytest.raises(UserError) as refusal:
        split(ruled(dataset, parts=["test"] * 10 + [""] * 20))
    assert refusal.value.requirement == "each part must have a row of each of the 2 classes"
    assert refusal.value.actual == "class 'class 2' has 1 of 20 rows"


def test_a_given_part_that_leaves_no_rows_for_another_is_refused() -> None:
    with pytest.raises(UserError, match="must each have two rows, but they have 1 and 0 of 1 rows"):
        split(ruled(numbers(10), parts=["test"] * 9 + [""]))
    with pytest.raises(UserError, match="must each have two rows, but they have 8, 1 and 1 of 10 rows"):
        split(ruled(numbers(10), parts=["train"] * 8 + ["val", "test"]))


@settings(max_examples=examples(20))
@given(
    groups=st.lists(st.integers(0, 30), min_size=12, max_size=150),
    n_classes=st.integers(0, 3),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    seed=SEEDS,
)
def test_no_group_is_in_two_parts(groups: list[int], n_classes: int, validation: float, test: float, seed: int) -> None:
    dataset = classes(*[len(groups) // n_classes] * n_classes) if n_classes > 1 else numbers(len(groups))
    groups = groups[: len(dataset.targets)]
    dataset = ruled(dataset, groups=groups)
    if len(set(groups)) < 3:
        with pytest.raises(UserError, match="at least 3 groups"):
            split(dataset, validation, test, seed)
        return
    try:
        result = split(dataset, validation, test, seed)
    except UserError:  # a part is a group of a single row
        assert min(groups.count(name) for name in groups) == 1
        assert n_classes < 2
        return
    assert sorted(chain(*parts(result))) == list(range(len(groups)))
    of_parts = [{groups[row] for row in rows} for rows in parts(result)]
    assert sum(len(names) for names in of_parts) == len(set(groups))
    assert parts(split(dataset, validation, test, seed)) == parts(result)


def test_groups_are_drawn_by_the_seed_and_fill_the_parts_as_asked() -> None:
    dataset = ruled(numbers(1000), groups=np.random.default_rng(0).integers(0, 200, 1000))
    result = split(dataset, 0.2, 0.1)
    assert len(result.val) == pytest.approx(200, abs=10)
    assert len(result.test) == pytest.approx(100, abs=10)
    assert parts(split(dataset, 0.2, 0.1, seed=1)) != parts(result)


def test_of_the_orders_of_the_groups_one_that_keeps_the_shares_of_classes_is_taken() -> None:
    groups = np.repeat(np.arange(30), 10)
    # Each group is of one class.
    dataset = replace(classes(1, 1, 1), features=np.zeros((300, 1)), targets=groups % 3)
    for seed in range(10):
        result = split(ruled(dataset, groups=groups), 0.2, 0.2, seed)
        for rows in (result.val, result.test):
            # Six groups at random have none of some class once in four times.
            assert np.bincount(dataset.targets[rows].astype(int), minlength=3).min() >= 10


def test_groups_may_be_as_few_as_the_parts_and_no_fewer() -> None:
    result = split(ruled(numbers(30), groups=np.repeat([5, 7, 9], 10)))
    assert sorted(len(rows) for rows in parts(result)) == [10, 10, 10]
    # The two groups that come nearest to the test part's 16 rows would leave none for training.
    result = split(ruled(numbers(30), groups=np.repeat([5, 7, 9], 10)), 0.3, 0.55)
    assert sorted(len(rows) for rows in parts(result)) == [10, 10, 10]
    with pytest.raises(UserError, match=r"at least 3 groups, one for each part, but data\.group_column has 2"):
        split(ruled(numbers(30), groups=np.repeat([5, 7], 15)))


def test_beside_a_given_test_part_whole_groups_are_drawn() -> None:
    groups = np.repeat(np.arange(10), 10)
    result = split(ruled(numbers(100), groups=groups, parts=[""] * 80 + ["test"] * 20), 0.25)
    assert result.test.tolist() == list(range(80, 100))
    assert len(result.val) == 20
    assert not set(groups[result.val]) & set(groups[result.train])
    with pytest.raises(UserError, match="at least 2 groups"):
        split(ruled(numbers(30), groups=[0] * 20 + [1] * 10, parts=[""] * 20 + ["test"] * 10))


@settings(max_examples=examples(25))
@given(
    times=st.lists(st.one_of(st.integers(0, 6).map(float), st.floats(-1e18, 1e18)), min_size=6, max_size=80),
    validation=FRACTIONS,
    test=FRACTIONS,
)
def test_what_is_later_is_in_the_later_part_and_equal_times_are_together(
    times: list[float], validation: float, test: float
) -> None:
    dataset = ruled(classes(len(times) - 1, 1), times=times)  # of classes, a part may be a single row
    n_distinct = len(set(times))
    if n_distinct < 3:
        with pytest.raises(UserError, match="at least 3 different times, one for each part") as refusal:
            split(dataset, validation, test)
        assert refusal.value.actual == f"it has {n_distinct}"
        return
    result = split(dataset, validation, test)
    assert sorted(chain(*parts(result))) == list(range(len(times)))
    train, val, test_times = (np.array(times)[rows] for rows in (result.train, result.val, result.test))
    assert train.max() < val.min()
    assert val.max() < test_times.min()
    if n_distinct == len(times) and test <= 0.3 and validation <= 0.3:
        assert len(test_times) == max(1, round(test * len(times)))
        assert len(val) == max(1, round(validation * len(times)))


@pytest.mark.parametrize(
    ("times", "sizes"),
    [
        (list(range(20)), [14, 3, 3]),
        ([0] * 18 + [1, 2], [18, 1, 1]),  # nearer to what was asked would leave no time for the training part
        ([0, 1] + [2] * 18, [1, 1, 18]),
        ([0] * 10 + [1] * 10 + [2], [10, 10, 1]),
        ([0] * 14 + [1] * 3 + [2] * 3, [14, 3, 3]),
        ([0] * 12 + [1] * 4 + [2] * 4, [12, 4, 4]),
        ([0] * 13 + [1] * 4 + [2] * 2 + [3], [13, 4, 3]),
    ],
)
def test_parts_by_time_are_as_near_to_the_size_that_was_asked_for_as_equal_times_allow(
    times: list[int], sizes: list[int]
) -> None:
    order = np.random.default_rng(0).permutation(len(times))
    result = split(ruled(classes(len(times) - 1, 1), times=np.array(times, float)[order]))
    assert [len(rows) for rows in parts(result)] == sizes


def test_beside_a_given_test_part_the_latest_of_the_rest_are_for_validation() -> None:
    times = [9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0, -5, -6]
    result = split(ruled(numbers(12), times=times, parts=[""] * 10 + ["test"] * 2), 0.2)
    assert parts(result) == [list(range(2, 10)), [0, 1], [10, 11]]


def test_the_seed_has_no_say_in_a_split_by_time() -> None:
    dataset = ruled(numbers(50), times=np.random.default_rng(0).permutation(50).astype(float))
    assert parts(split(dataset, seed=1)) == parts(split(dataset, seed=2))
