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
