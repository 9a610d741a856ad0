from typing import Any

import numpy as np
import pytest

from mlplab.data.dataset import Dataset
from mlplab.data.module import DataModule
from mlplab.data.split import SplitRules
from mlplab.errors import UserError

FEATURES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def classes(targets: Any, **changes: Any) -> Dataset:
    return Dataset(**{"name": "toy", "features": FEATURES, "targets": targets, "class_names": ("a", "b"), **changes})


def test_class_names_make_it_a_classification() -> None:
    assert classes(np.array([0, 1, 1])).kind == "classification"
    assert classes(np.array([0.5, 1.0, 1.0]), class_names=()).kind == "regression"


@pytest.mark.parametrize(
    ("features", "targets"),
    [((3,), (3,)), ((3, 2, 1), (3,)), ((3, 2), (3, 1)), ((3, 2), (2,)), ((3, 2), ()), ((0, 2), (1,))],
)
def test_arrays_that_do_not_fit_each_other_are_refused_with_their_shapes(
    features: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(UserError) as refusal:
        Dataset("toy", np.zeros(features), np.zeros(targets))
    assert refusal.value.requirement == "toy: features must have shape (N, F) and targets (N,)"
    assert refusal.value.actual == f"they have {features} and {targets}"


@pytest.mark.parametrize("class_names", [(), ("a", "b")])
def test_a_data_set_without_rows_is_refused(class_names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="toy: there must be at least one row"):
        Dataset("toy", np.zeros((0, 2)), np.zeros(0, dtype=np.int64), class_names=class_names)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_a_feature_that_is_not_finite_is_refused_with_its_row(value: float, row: int) -> None:
    features = FEATURES.copy()
    features[row, 1] = value
    with pytest.raises(UserError) as refusal:
        classes(np.array([0, 1, 1]), features=features)
    assert refusal.value.requirement == "toy: every feature must be a finite number"
    assert f"row {row} " in refusal.value.actual


@pytest.mark.parametrize("targets", [["a", "b", "b"], np.array(["a", "b", "b"]), np.array([False, True, True]), None])
def test_targets_that_are_no_array_of_numbers_are_refused(targets: Any) -> None:
    with pytest.raises(UserError, match="targets must be a NumPy array of numbers"):
        classes(targets)


def test_one_class_and_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="at least two classes"):
        Dataset("toy", FEATURES, np.array([0, 0, 0]), class_names=("only",))
    with pytest.raises(UserError, match="a name for each or for none"):
        Dataset("toy", FEATURES, np.arange(3.0), feature_names=("one",) * 9)
    with pytest.raises(UserError, match="at least one feature"):
        Dataset("toy", np.zeros((3, 0)), np.arange(3.0))


@pytest.mark.parametrize(
    "targets",
    [np.array([0, 1, 2]), np.array([0, -1, 1]), np.array([0.0, 1.0, 1.0])],
)
def test_targets_that_are_no_class_indices_are_refused(targets: Any) -> None:
    with pytest.raises(UserError) as refusal:
        classes(targets)
    assert refusal.value.requirement == "toy: targets must be class indices below 2"
    assert refusal.value.actual == f"they are {targets.dtype} from {targets.min()} to {targets.max()}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_target_of_a_regression_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="every target must be a finite number"):
        classes(np.array([1.0, value, 2.0]), class_names=())


def test_a_regression_may_have_whole_numbers_as_targets() -> None:
    assert classes(np.array([7, -3, 100]), class_names=()).kind == "regression"


def test_equal_data_have_equal_fingerprints_however_they_lie_in_memory_and_whatever_they_are_called() -> None:
    targets = np.array([0, 1, 1])
    one = classes(targets)
    other = classes(np.array([0, 9, 1, 9, 1])[::2], features=np.asfortranarray(FEATURES), name="other")
    assert not other.features.flags.c_contiguous
    assert not other.targets.flags.c_contiguous
    assert other.fingerprint == one.fingerprint
    assert len(one.fingerprint) == 64


def test_any_change_of_the_data_changes_the_fingerprint() -> None:
    targets = np.array([0, 1, 1])
    nudged = FEATURES.copy()
    nudged[2, 1] = np.nextafter(6.0, 7.0)
    variants = [
        classes(targets),
        classes(targets, features=nudged),
        classes(np.array([1, 0, 1])),
        classes(targets, features=FEATURES[:, ::-1]),
        classes(targets, features=FEATURES.astype(np.float32)),
        classes(targets.astype(np.int32)),
        classes(targets, features=FEATURES.reshape(3, 2)[[1, 0, 2]]),
        classes(targets, features=FEATURES[:, :1]),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_shapes_are_part_of_the_fingerprint() -> None:
    # The same twelve numbers in the same order.
    numbers = np.arange(12.0)
    one = Dataset("toy", numbers[:8].reshape(4, 2), numbers[8:])
    other = Dataset("toy", numbers[:9].reshape(3, 3), numbers[9:])
    assert one.fingerprint != other.fingerprint


def test_rare_classes_of_arrays_are_left_out_where_their_source_says_so() -> None:
    targets = np.array([0, 2] * 30 + [1])
    rules = SplitRules(rare_classes="drop", groups=None, times=None)
    names = ("a", "rare", "b")
    weights = np.arange(61.0) + 1
    data = Dataset(
        "own", np.arange(122.0).reshape(61, 2), targets, class_names=names, split_rules=rules, weights=weights
    )
    module = DataModule(lambda: data)
    module.setup()
    assert module.task.class_names == ("a", "b")
    assert sum(len(module.part(part)[1]) for part in ("train", "val", "test")) == 60  # type: ignore[arg-type]
    left = data.without_classes((1,))
    assert left.targets.tolist() == [0, 1] * 30
    assert left.weights is not None
    assert left.weights.tolist() == weights[:60].tolist()
