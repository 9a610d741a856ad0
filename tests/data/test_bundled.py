import numpy as np
import pytest

from mlplab.data.bundled import TARGETS, bundled
from mlplab.errors import UserError

# Rows by class as the data sets' descriptions have them.
CLASSES = {
    "digits": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    "breast_cancer": [212, 357],
    "wine": [59, 71, 48],
    "iris": [50, 50, 50],
}
FEATURES = {"digits": 64, "breast_cancer": 30, "wine": 13, "iris": 4, "diabetes": 10}


def test_the_data_sets_here_are_all_that_there_are() -> None:
    assert set(TARGETS) == {*CLASSES, "diabetes"} == FEATURES.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_rows_that_are_known_of_them(name: str) -> None:
    dataset = bundled(name)
    assert dataset.kind == "classification"
    assert dataset.targets.dtype == np.int64
    assert np.bincount(dataset.targets.astype(np.int64)).tolist() == CLASSES[name]
    assert len(dataset.class_names) == len(CLASSES[name])


@pytest.mark.parametrize("name", TARGETS)
def test_features_are_named_one_by_one_in_plain_strings(name: str) -> None:
    dataset = bundled(name)
    assert dataset.name == name
    assert dataset.features.shape[1] == len(dataset.feature_names) == FEATURES[name]
    # A subclass of str, as NumPy has, would have to be pickled into a checkpoint.
    assert {type(text) for text in (*dataset.feature_names, *dataset.class_names, dataset.target_name)} == {str}


def test_class_names_stand_in_the_order_of_the_indices() -> None:
    assert bundled("iris").class_names == ("setosa", "versicolor", "virginica")
    assert bundled("breast_cancer").class_names == ("malignant", "benign")
    assert bundled("digits").class_names == tuple("0123456789")
    # The first row of iris is the first of Fisher's setosa.
    assert bundled("iris").features[0].tolist() == [5.1, 3.5, 1.4, 0.2]
    assert bundled("iris").targets[0] == 0


def test_pixels_of_digits_go_from_0_to_16() -> None:
    features = bundled("digits").features
    assert (features.min(), features.max()) == (0, 16)


def test_diabetes_is_a_regression_on_values_as_measured() -> None:
    dataset = bundled("diabetes")
    assert dataset.kind == "regression"
    assert dataset.target_name == "disease progression"
    assert len(dataset.targets) == 442
    assert dataset.targets.mean() == pytest.approx(152.133, abs=0.001)
    # Years of age, where the scaled variant has fractions around 0.
    age = dataset.features[:, dataset.feature_names.index("age")]
    assert (age.min(), age.max()) == (19, 79)


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_name_gives_the_same_data(name: str) -> None:
    assert bundled(name).fingerprint == bundled(name).fingerprint


@pytest.mark.parametrize("name", ["mnist", "", "files", "linnerud"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(UserError) as refusal:
        bundled(name)
    assert all(known in refusal.value.requirement for known in TARGETS)
    assert refusal.value.actual == f"data.name={name!r}"
    assert refusal.value.hint == "data=digits"


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    expected, found = load_digits(), bundled("digits")
    assert np.array_equal(found.features, expected.data)
    assert np.array_equal(found.targets, expected.target)
    assert list(found.feature_names) == expected.feature_names
    assert list(found.class_names) == [str(name) for name in expected.target_names]


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_whoever_changes_a_data_set_has_one_of_his_own(name: str) -> None:
    mine = bundled(name)
    fingerprint = mine.fingerprint
    mine.features[:] = 0.0
    mine.targets[:] = 0
    assert bundled(name).fingerprint == fingerprint != mine.fingerprint
