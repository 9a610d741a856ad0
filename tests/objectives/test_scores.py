import pytest
import torch

from mlplab.objectives.scores import build_scores
from mlplab.task import Task

THREE = Task("classification", 2, class_names=("a", "b", "c"))
TWO = Task("classification", 2, class_names=("a", "b"))
REGRESSION = Task("regression", 2)

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.3, 0.3, 0.4]])
TARGETS = torch.tensor([0, 0, 1, 2, 1])


def test_scores_of_a_classification_by_hand() -> None:
    scores = build_scores(THREE)
    scores.update(PROBABILITIES, TARGETS)
    values = {name: value.item() for name, value in scores.compute().items()}
    # Predicted 0 1 1 2 2. F1: class a 2/3 (precision 1, recall 1/2), b 1/2 (1/2, 1/2), c 2/3 (1/2, 1).
    # One against the rest, pairs in the right order: a 6 of 6; b 5 of 6 (0.8 and 0.3 against 0.2, 0.5, 0.1); c 4 of 4.
    assert values == pytest.approx(
        {"accuracy": 3 / 5, "f1": (2 / 3 + 1 / 2 + 2 / 3) / 3, "auroc": (1 + 5 / 6 + 1) / 3}, rel=1e-6
    )


def test_scores_of_a_regression_by_hand() -> None:
    scores = build_scores(REGRESSION)
    scores.update(torch.tensor([1.0, 2.0, 3.0, 8.0]), torch.tensor([1.0, 3.0, 5.0, 7.0]))
    values = {name: value.item() for name, value in scores.compute().items()}
    # Errors 0, −1, −2, 1; the targets' mean is 4 and their squares around it add up to 20.
    assert values == pytest.approx({"mse": 1.5, "rmse": 1.5**0.5, "mae": 1.0, "r2": 1 - 6 / 20}, rel=1e-6)


@pytest.mark.parametrize("n_parts", [1, 2, 5])
def test_scores_do_not_depend_on_how_the_rows_are_batched(n_parts: int) -> None:
    scores = build_scores(THREE)
    for probabilities, targets in zip(PROBABILITIES.chunk(n_parts), TARGETS.chunk(n_parts), strict=True):
        scores.update(probabilities, targets)
    whole = build_scores(THREE)
    whole.update(PROBABILITIES, TARGETS)
    for name, value in whole.compute().items():
        assert scores.compute()[name].item() == pytest.approx(value.item(), rel=1e-6)


def test_perfect_predictions_have_perfect_scores() -> None:
    classes, numbers = build_scores(TWO), build_scores(REGRESSION)
    targets = torch.tensor([0, 1, 1, 0])
    classes.update(torch.nn.functional.one_hot(targets, 2).float(), targets)
    numbers.update(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 4.0]))
    assert {name: value.item() for name, value in classes.compute().items()} == {"accuracy": 1, "f1": 1, "auroc": 1}
    assert {name: value.item() for name, value in numbers.compute().items()} == {
        "mse": 0,
        "rmse": 0,
        "mae": 0,
        "r2": 1,
    }


def test_the_f1_of_a_rare_class_counts_as_much_as_that_of_a_frequent_one() -> None:
    scores = build_scores(TWO)
    targets = torch.tensor([0] * 9 + [1])
    scores.update(torch.tensor([[0.9, 0.1]] * 10), targets)
    values = scores.compute()
    assert values["accuracy"].item() == pytest.approx(0.9, rel=1e-6)
    assert values["f1"].item() == pytest.approx((18 / 19 + 0) / 2, rel=1e-6)
    assert values["auroc"].item() == 0.5


def test_a_reset_forgets_all_rows() -> None:
    scores = build_scores(REGRESSION)
    scores.update(torch.tensor([100.0, 5.0]), torch.tensor([0.0, 0.0]))
    scores.reset()
    scores.update(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    assert scores.compute()["mae"].item() == 0.5
