from typing import Any

import pytest
import torch

from mlplab.errors import UserError
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import (
    LOSSES,
    Objective,
    averaged_over_members,
    balanced_class_weights,
    build_objective,
    n_outputs,
    predictions,
)
from mlplab.task import Task

THREE = Task("classification", 4, class_names=("a", "b", "c"))
TWO = Task("classification", 4, class_names=("a", "b"))
REGRESSION = Task("regression", 4, target_mean=10.0, target_std=4.0)


def test_balanced_weights_by_hand() -> None:
    # N = 12, C = 3: 12 / (3·6), 12 / (3·4), 12 / (3·2)
    assert balanced_class_weights([6, 4, 2]).tolist() == pytest.approx([2 / 3, 1.0, 2.0], rel=1e-6)


def test_balanced_weights_of_balanced_classes_are_one() -> None:
    assert balanced_class_weights([5, 5, 5, 5]).tolist() == [1.0] * 4


def test_balanced_weights_average_to_one_over_the_training_rows() -> None:
    counts = [1, 10, 100, 3]
    weights = balanced_class_weights(counts)
    total = sum(count * weight for count, weight in zip(counts, weights.tolist(), strict=True))
    assert total / sum(counts) == pytest.approx(1.0, rel=1e-6)


def test_balanced_weights_give_every_class_the_same_pull() -> None:
    counts = torch.tensor([1.0, 10.0, 100.0])
    pulls = counts * balanced_class_weights(counts.tolist())
    torch.testing.assert_close(pulls, torch.full((3,), 37.0))


def test_a_class_without_training_rows_has_the_weight_one() -> None:
    objective = build_objective("auto", THREE, class_weights="balanced", class_counts=[3, 0, 9])
    assert objective.class_weights is not None
    assert objective.class_weights.tolist() == pytest.approx([12 / (2 * 3), 1, 12 / (2 * 9)])


def test_auto_is_cross_entropy_for_classes_and_mse_for_numbers() -> None:
    assert build_objective("auto", THREE).function is cross_entropy
    assert build_objective("auto", TWO).function is cross_entropy
    assert build_objective("auto", REGRESSION).function is mse


@pytest.mark.parametrize(
    ("name", "task", "function"),
    [
        ("cross_entropy", THREE, cross_entropy),
        ("binary_cross_entropy", TWO, binary_cross_entropy),
        ("mse", REGRESSION, mse),
        ("mae", REGRESSION, mae),
        ("huber", REGRESSION, huber),
    ],
)
def test_each_loss_is_found_by_its_name(name: str, task: Task, function: Any) -> None:
    assert build_objective(name, task).function is function


@pytest.mark.parametrize(
    ("name", "task"),
    [("mse", THREE), ("cross_entropy", REGRESSION), ("binary_cross_entropy", REGRESSION), ("hinge", TWO)],
)
def test_a_loss_that_does_not_fit_the_task_is_refused_with_those_that_do(name: str, task: Task) -> None:
    with pytest.raises(UserError) as refusal:
        build_objective(name, task)
    assert task.kind in refusal.value.requirement
    assert refusal.value.actual == f"loss={name}"
    assert all(f"loss={fitting}" in refusal.value.hint for fitting in LOSSES[task.kind])


def test_binary_cross_entropy_of_three_classes_is_refused() -> None:
    with pytest.raises(UserError) as refusal:
        build_objective("binary_cross_entropy", THREE)
    assert "two classes" in refusal.value.requirement
    assert refusal.value.actual == "the data have 3"
    assert refusal.value.hint == "loss=cross_entropy"


def test_options_reach_the_loss() -> None:
    outputs, targets = torch.tensor([[0.2, -0.4, 1.0]]), torch.tensor([2])
    smoothed = build_objective("auto", THREE, label_smoothing=0.3)
    assert torch.equal(smoothed(outputs, targets), cross_entropy(outputs, targets, label_smoothing=0.3))
    values, wanted = torch.tensor([[5.0]]), torch.tensor([[0.0]])
    assert build_objective("huber", REGRESSION, delta=2.0)(values, wanted).item() == 2 * (5 - 1)


def test_class_weights_reach_the_loss_whether_balanced_or_given() -> None:
    outputs, targets = torch.zeros(3, 3), torch.tensor([0, 1, 1])
    given = build_objective("auto", THREE, class_weights=[1, 0.5, 2])
    balanced = build_objective("auto", THREE, class_weights="balanced", class_counts=[6, 4, 2])
    log_3 = torch.log(torch.tensor(3.0)).item()
    assert given(outputs, targets).item() == pytest.approx(log_3 * (1 + 0.5 + 0.5) / 3, rel=1e-6)
    assert balanced(outputs, targets).item() == pytest.approx(log_3 * (2 / 3 + 1 + 1) / 3, rel=1e-6)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], []])
def test_weights_that_do_not_fit_the_classes_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError) as refusal:
        build_objective("auto", THREE, class_weights=weights)
    assert "each of the 3 classes" in refusal.value.requirement
    assert refusal.value.actual == f"{len(weights)} were given"


def test_class_weights_follow_the_module_and_stay_out_of_its_state() -> None:
    objective = build_objective("auto", TWO, class_weights=[1.0, 3.0])
    assert objective.to(torch.float64).class_weights.dtype == torch.float64  # type: ignore[union-attr]
    assert objective.state_dict() == {}


def test_without_weights_there_are_none() -> None:
    assert build_objective("auto", TWO).class_weights is None


def test_a_function_of_ones_own_works_as_an_objective_and_is_not_given_what_it_was_not_asked_for() -> None:
    objective = Objective(lambda outputs, targets, power: ((outputs - targets) ** power).mean(), options={"power": 4})
    assert objective(torch.tensor([[3.0]]), torch.tensor([[1.0]])).item() == 16.0


@pytest.mark.parametrize(
    ("name", "task", "width"),
    [("auto", THREE, 3), ("auto", TWO, 2), ("binary_cross_entropy", TWO, 1), ("auto", REGRESSION, 1)],
)
def test_the_width_of_the_output_layer_follows_from_loss_and_task(name: str, task: Task, width: int) -> None:
    assert n_outputs(build_objective(name, task).name, task) == width


def test_predictions_of_logits_are_probabilities_by_softmax() -> None:
    logits = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    torch.testing.assert_close(predictions(logits, THREE), torch.tensor([[1 / 8, 2 / 8, 5 / 8]]))


def test_predictions_of_one_logit_are_the_probabilities_of_both_classes() -> None:
    logits = torch.log(torch.tensor([[3.0], [1.0]]))
    torch.testing.assert_close(predictions(logits, TWO), torch.tensor([[0.25, 0.75], [0.5, 0.5]]))


def test_predictions_of_huge_logits_are_certain_and_finite() -> None:
    assert predictions(torch.tensor([[1e4, -1e4, 0.0]]), THREE).tolist() == [[1.0, 0.0, 0.0]]
    assert predictions(torch.tensor([[1e4], [-1e4]]), TWO).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_predictions_of_a_regression_are_in_the_targets_own_unit() -> None:
    outputs = torch.tensor([[0.0], [1.0], [-2.5]])
    assert predictions(outputs, REGRESSION).tolist() == [[10.0], [14.0], [0.0]]


def test_several_targets_are_predicted_each_in_its_unit_and_labels_by_their_probability() -> None:
    numbers = Task(
        "regression", 2, unit=("m", "kg"), target_mean=(1.0, 10.0), target_std=(2.0, 5.0), target_names=("a", "b")
    )
    assert predictions(torch.tensor([[1.0, -1.0]]), numbers).tolist() == [[3.0, 5.0]]
    labels = Task("multilabel", 2, target_names=("a", "b", "c"), label_names=(("0", "1"),) * 3)
    assert predictions(torch.zeros(2, 3), labels).tolist() == [[0.5] * 3] * 2
    assert [n_outputs(build_objective("auto", task).name, task) for task in (numbers, labels)] == [2, 3]
    assert build_objective("auto", labels).function is binary_cross_entropy
    with pytest.raises(UserError, match="class_weights must be null for several labels"):
        build_objective("auto", labels, class_weights=[1, 2, 3])


def test_a_loss_without_weights_is_refused_for_rows_that_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplab.objectives.losses.mse", lambda outputs, targets: (outputs - targets).square().mean())
    task = Task("regression", 2)
    build_objective("mse", task)
    with pytest.raises(UserError, match="loss=mse must take weights"):
        build_objective("mse", task, has_weights=True)


@pytest.mark.parametrize(
    ("objective", "targets"),
    [
        (Objective(mse), torch.randn(4, 2)),
        (Objective(huber, options={"delta": 0.3}), torch.randn(4, 2)),
        (Objective(cross_entropy, class_weights=torch.tensor([1.0, 5.0])), torch.tensor([0, 1, 1, 0])),
        (Objective(cross_entropy, options={"label_smoothing": 0.2}), torch.tensor([0, 1, 1, 0])),
        (Objective(binary_cross_entropy), torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0]])),
    ],
)
@pytest.mark.parametrize("weights", [(), (torch.tensor([0.0, 1.0, 2.0, 3.0]),)])
def test_the_loss_of_an_ensemble_is_the_mean_of_its_members_losses(
    objective: Objective, targets: torch.Tensor, weights: tuple[torch.Tensor, ...]
) -> None:
    outputs = torch.randn(4, 3, 2)
    of_members = [objective(outputs[:, member], targets, *weights) for member in range(3)]
    torch.testing.assert_close(objective(outputs, targets, *weights), torch.stack(of_members).mean())


def test_what_an_ensemble_averages_is_what_it_predicts() -> None:
    labels = Task("multilabel", 4, target_names=("a", "b"), label_names=(("0", "1"), ("0", "1")))
    found = [averaged_over_members(width, task) for width, task in ((1, REGRESSION), (3, THREE), (1, TWO), (2, labels))]
    assert found == ["values", "softmax", "sigmoid", "sigmoid"]
