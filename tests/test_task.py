import json
from dataclasses import FrozenInstanceError

import pytest

from mlplab.task import Task

CLASSIFICATION = Task("classification", 2, feature_names=("x", "y"), class_names=("red", "green", "blue"))
REGRESSION = Task("regression", 3, target_name="height", unit="m", target_mean=1.75, target_std=0.1)


def test_the_number_of_classes_is_that_of_their_names() -> None:
    assert CLASSIFICATION.n_classes == 3
    assert REGRESSION.n_classes == 0


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION])
def test_a_task_comes_back_from_plain_values_through_json(task: Task) -> None:
    assert Task.from_dict(json.loads(json.dumps(task.as_dict()))) == task


def test_plain_values_hold_no_tuples_which_a_checkpoint_would_have_to_pickle() -> None:
    assert {type(value) for value in CLASSIFICATION.as_dict().values()} == {str, int, float, list}


def test_a_task_that_has_come_back_is_hashable_as_the_first() -> None:
    assert hash(Task.from_dict(CLASSIFICATION.as_dict())) == hash(CLASSIFICATION)


def test_a_task_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CLASSIFICATION.n_features = 5  # type: ignore[misc]


def test_an_unknown_entry_is_not_dropped_silently() -> None:
    with pytest.raises(TypeError, match="colour"):
        Task.from_dict({**REGRESSION.as_dict(), "colour": "red"})


SEVERAL = Task(
    "regression", 3, target_name="a, b", unit=("m", ""), target_mean=(1.0, 2.0), target_std=(3.0, 4.0),
    target_names=("a", "b"),
)  # fmt: skip
LABELS = Task("multilabel", 3, target_names=("a", "b"), label_names=(("no", "yes"), ("0", "1")))


@pytest.mark.parametrize("task", [SEVERAL, LABELS])
def test_a_task_of_several_targets_comes_back_too(task: Task) -> None:
    back = Task.from_dict(json.loads(json.dumps(task.as_dict())))
    assert back == task
    assert hash(back) == hash(task)


def test_each_of_several_targets_has_a_task_of_its_own() -> None:
    assert SEVERAL.of_each_target()[1] == Task("regression", 3, target_name="b", target_mean=2.0, target_std=4.0)
    assert LABELS.of_each_target()[0] == Task("classification", 3, target_name="a", class_names=("no", "yes"))
    assert REGRESSION.of_each_target() == []
