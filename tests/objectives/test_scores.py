import math
from typing import Any

import numpy as np
import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_f1_score
from torchmetrics.functional.regression import r2_score as torchmetrics_r2_score

from mlplab.objectives.objective import build_objective
from mlplab.objectives.scores import (
    Scores,
    classification_scores,
    one_against_the_rest,
    regression_scores,
    scores_of_several,
)
from mlplab.task import Task

THREE = Task("classification", 2, class_names=("a", "b", "c"))
REGRESSION = Task("regression", 2)

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.3, 0.3, 0.4]])
TARGETS = torch.tensor([0, 0, 1, 2, 1])


NAMES = {"loss", "accuracy", "subset_accuracy", "f1", "auroc", "mse", "rmse", "mae", "r2"}
"""The scores that are tested here; somebody may add others."""


def numbers(scores: Any) -> dict[str, float]:
    return {name: value.item() for name, value in scores.items() if {name, name.rpartition("_")[0]} & NAMES}


def drawn(seed: int, *shape: int, has_ties: bool = False) -> torch.Tensor:
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return scores.round() if has_ties else scores


def drawn_classes(seed: int, n_classes: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, n_classes, shape, generator=torch.Generator().manual_seed(seed))


def test_scores_of_a_classification_by_hand() -> None:
    # Predicted 0 1 1 2 2. F1: class a 2/3 (precision 1, recall 1/2), b 1/2 (1/2, 1/2), c 2/3 (1/2, 1).
    # One against the rest, pairs in the right order: a 6 of 6; b 5 of 6 (0.8 and 0.3 against 0.2, 0.5, 0.1); c 4 of 4.
    assert numbers(classification_scores(PROBABILITIES, TARGETS)) == pytest.approx(
        {"accuracy": 3 / 5, "f1": (2 / 3 + 1 / 2 + 2 / 3) / 3, "auroc": (1 + 5 / 6 + 1) / 3}, rel=1e-6
    )


def test_scores_of_a_regression_by_hand() -> None:
    predicted, targets = torch.tensor([1.0, 2.0, 3.0, 8.0]), torch.tensor([1.0, 3.0, 5.0, 7.0])
    # Errors 0, −1, −2, 1; the targets' mean is 4 and their squares around it add up to 20.
    assert numbers(regression_scores(predicted, targets)) == pytest.approx(
        {"mse": 1.5, "rmse": 1.5**0.5, "mae": 1.0, "r2": 1 - 6 / 20}, rel=1e-6
    )


@settings(max_examples=examples(60))
@given(n=st.integers(2, 60), n_classes=st.integers(2, 6), seed=st.integers(0, 999), has_ties=st.booleans())
def test_scores_of_a_classification_are_those_of_scikit_learn(
    n: int, n_classes: int, seed: int, has_ties: bool
) -> None:
    probabilities = drawn(seed, n, n_classes, has_ties=has_ties).softmax(1)
    targets = drawn_classes(seed, n_classes, n)
    found, predicted = numbers(classification_scores(probabilities, targets)), probabilities.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, predicted), rel=1e-6)
    assert found["f1"] == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0), rel=1e-6)
    present = targets.unique().tolist()
    if len(present) > 1:  # a class without rows has no area, and counts in no mean
        areas = [roc_auc_score(targets == c, probabilities[:, c]) for c in present]
        assert found["auroc"] == pytest.approx(np.mean(areas), rel=1e-6)


def mean_of_present(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    areas = multiclass_auroc(probabilities, targets, probabilities.shape[1], average=None)
    return areas[targets.unique()].mean().item()


@pytest.mark.filterwarnings("ignore:No (positive|negative) samples in targets")
@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_scores_of_a_classification_are_those_of_torchmetrics(n: int, n_classes: int) -> None:
    """Also where classes are absent, which are most of them in one row."""
    probabilities, targets = drawn(n, n, n_classes).softmax(1), drawn_classes(n, n_classes, n)
    assert numbers(classification_scores(probabilities, targets)) == pytest.approx(
        {
            "accuracy": multiclass_accuracy(probabilities, targets, n_classes, average="micro").item(),
            "f1": multiclass_f1_score(probabilities, targets, n_classes, average="macro").item(),
            "auroc": math.nan if len(targets.unique()) < 2 else mean_of_present(probabilities, targets),
        },
        rel=1e-6,
        nan_ok=True,
    )


@settings(max_examples=examples(60))
@given(n=st.integers(2, 60), seed=st.integers(0, 999), far=st.sampled_from([0.0, 1e4]), has_ties=st.booleans())
def test_scores_of_a_regression_are_those_of_scikit_learn(n: int, seed: int, far: float, has_ties: bool) -> None:
    targets, predicted = drawn(seed, n, has_ties=has_ties) + far, drawn(seed + 1, n, has_ties=has_ties) + far
    found = numbers(regression_scores(predicted, targets))
    r2 = found.pop("r2")
    expected = {
        "mse": mean_squared_error(targets.double(), predicted.double()),
        "rmse": root_mean_squared_error(targets.double(), predicted.double()),
        "mae": mean_absolute_error(targets.double(), predicted.double()),
    }
    assert found == pytest.approx(expected, rel=1e-5)
    # What is left unexplained, 1 - r2, is the quotient that is computed: r2 itself may be as near to 0 as it likes.
    assert 1 - r2 == pytest.approx(1 - r2_score(targets.double(), predicted.double()), rel=1e-5)
    if not far and not has_ties:
        assert 1 - r2 == pytest.approx(1 - torchmetrics_r2_score(predicted, targets).item(), rel=1e-4)


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_targets_that_do_not_vary_is_that_of_scikit_learn(error: float, r2: float) -> None:
    targets = torch.full((7,), 0.1)
    assert regression_scores(targets + error, targets)["r2"].item() == r2
    assert r2_score(targets.double(), (targets + error).double()) == r2


def test_r2_does_not_depend_on_the_unit() -> None:
    targets, predicted = drawn(0, 30) * 1e-4, drawn(1, 30) * 1e-4
    assert regression_scores(predicted, targets)["r2"].item() == pytest.approx(r2_score(targets, predicted), rel=1e-4)


def test_a_single_row_has_no_r2() -> None:
    found = numbers(regression_scores(torch.tensor([3.0]), torch.tensor([1.0])))
    assert found == pytest.approx({"mse": 4, "rmse": 2, "mae": 2, "r2": float("nan")}, nan_ok=True)


@pytest.mark.parametrize("leading", [(1,), (4,), (2, 3)])
@pytest.mark.parametrize("targets_are_shared", [True, False])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_networks_that_are_judged_at_once_have_the_scores_of_each_alone(
    leading: tuple[int, ...], targets_are_shared: bool, kind: str
) -> None:
    n, own = 23, () if targets_are_shared else leading
    if kind == "classification":
        score, predicted = classification_scores, drawn(0, *leading, n, 4, has_ties=True).softmax(-1)
        targets = drawn_classes(1, 4, *own, n)
    else:
        score, predicted, targets = regression_scores, drawn(0, *leading, n), drawn(1, *own, n)
    together = score(predicted, targets)
    for place in np.ndindex(*leading):
        alone = score(predicted[place], targets if targets_are_shared else targets[place])
        assert numbers(alone) == numbers({name: value[place] for name, value in together.items()})


@pytest.mark.parametrize("n_parts", [1, 2, 5])
@pytest.mark.parametrize("task", [THREE, REGRESSION])
def test_scores_do_not_depend_on_how_the_rows_are_batched(n_parts: int, task: Task) -> None:
    scores, is_classes = Scores(task), task is THREE
    outputs, known = (PROBABILITIES.log(), TARGETS) if is_classes else (PROBABILITIES[:, :1], TARGETS[:, None])
    for part, targets in zip(outputs.chunk(n_parts), known.chunk(n_parts), strict=True):
        scores.update(torch.tensor(0.5), part, targets)
    expected = (
        classification_scores(PROBABILITIES, TARGETS) if is_classes else regression_scores(PROBABILITIES[:, 0], TARGETS)
    )
    assert numbers(scores.compute()) == pytest.approx({"loss": 0.5, **numbers(expected)}, rel=1e-6)


def test_perfect_predictions_have_perfect_scores() -> None:
    targets = torch.tensor([0, 1, 1, 0])
    found = classification_scores(torch.nn.functional.one_hot(targets, 2).float(), targets)
    assert numbers(found) == {"accuracy": 1, "f1": 1, "auroc": 1}
    values = torch.tensor([1.0, 2.0, 4.0])
    assert numbers(regression_scores(values, values)) == {"mse": 0, "rmse": 0, "mae": 0, "r2": 1}


def test_the_f1_of_a_rare_class_counts_as_much_as_that_of_a_frequent_one() -> None:
    found = numbers(classification_scores(torch.tensor([[0.9, 0.1]] * 10), torch.tensor([0] * 9 + [1])))
    assert found == pytest.approx({"accuracy": 0.9, "f1": (18 / 19 + 0) / 2, "auroc": 0.5}, rel=1e-6)


def test_a_reset_forgets_all_rows() -> None:
    scores = Scores(REGRESSION)
    scores.update(torch.tensor(9.0), torch.tensor([[100.0], [5.0]]), torch.zeros(2, 1))
    scores.reset()
    scores.update(torch.tensor(2.0), torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [2.0]]))
    found = numbers(scores.compute())
    assert (found["loss"], found["mae"]) == (2.0, 0.5)


def test_predictions_and_targets_come_back_in_the_targets_unit() -> None:
    scores = Scores(Task("regression", 2, target_mean=100.0, target_std=10.0))
    predicted, targets = scores.update(torch.tensor(0.0), torch.tensor([[1.0]]), torch.tensor([[-1.0]]))
    assert (predicted.tolist(), targets.tolist()) == ([110.0], [90.0])
    assert scores.compute()["mae"].item() == 20.0


@pytest.mark.parametrize(("second", "mean"), [(3.0, 1.5), (float("nan"), float("nan"))])
def test_the_mean_loss_weighs_batches_by_their_rows_and_leaves_no_nan_out(second: float, mean: float) -> None:
    scores = Scores(REGRESSION)
    for loss, n_rows in ((1.0, 30), (second, 10)):
        scores.update(torch.tensor(loss), torch.zeros(n_rows, 1), torch.zeros(n_rows, 1))
    assert scores.compute()["loss"].item() == pytest.approx(mean, nan_ok=True)


def areas(probabilities: torch.Tensor, targets: torch.Tensor) -> list[float]:
    classes = torch.arange(probabilities.shape[1]).unsqueeze(1)
    values = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    return one_against_the_rest(values.numpy(), (targets == classes).numpy()).tolist()


def test_the_share_of_pairs_in_the_right_order_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    # Class 0: rows 0 and 1 of it, with 0.7 and 0.4, against 0.6 and 0.4: in order, in order; not, a tie.
    assert areas(probabilities, torch.tensor([0, 0, 1, 1])) == [2.5 / 4, 2.5 / 4]


@pytest.mark.filterwarnings("ignore:.*samples in targets.*")
@settings(max_examples=examples(60))
@given(n=st.integers(1, 80), n_classes=st.integers(2, 7), seed=st.integers(0, 999), has_ties=st.booleans())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_what_torchmetrics_gets_from_the_curves(
    n: int, n_classes: int, seed: int, has_ties: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 20 * torch.randn(n, n_classes, generator=generator).to(dtype)  # probabilities of 0 and of 1 among them
    probabilities = (scores.round() if has_ties else scores).softmax(1)
    targets = torch.randint(0, n_classes, (n,), generator=generator)
    expected = multiclass_auroc(probabilities, targets, n_classes, average=None)
    n_rows = torch.bincount(targets, minlength=n_classes)
    expected[(n_rows == 0) | (n_rows == n)] = math.nan  # there are no pairs
    assert areas(probabilities, targets) == pytest.approx(expected.tolist(), abs=1e-6, nan_ok=True)


def test_the_smallest_differences_are_seen() -> None:
    smallest = torch.tensor([0.0, 1e-45, 1e-40, 1e-30, 1 - 2**-24, 1.0])
    for split in range(1, 6):
        targets = (torch.arange(6) >= split).long()
        assert areas(torch.stack([smallest.flip(0), smallest], dim=1), targets)[1] == 1


def test_counts_of_a_large_part_stay_exact() -> None:
    n = 200_000  # 10¹⁰ pairs, which neither 32 bits of a whole number nor of a fraction can tell apart
    values = torch.arange(n, dtype=torch.float32) / 2**18
    targets = (torch.arange(n) >= n // 2).long()
    values[n // 2 - 1], values[n // 2] = values[n // 2].item(), values[n // 2 - 1].item()  # a pair in the wrong order
    area = areas(torch.stack([1 - values, values], dim=1), targets)
    assert area == [1 - 1 / (n // 2) ** 2] * 2


def test_a_class_without_rows_counts_in_no_mean_also_in_a_stack() -> None:
    targets = torch.tensor([0, 0, 1, 1])
    perfect = torch.nn.functional.one_hot(targets, 3).float()
    found = classification_scores(torch.stack([perfect, perfect.flip(0)]), targets)
    assert found["accuracy"].tolist() == [1, 0]
    assert found["auroc"].tolist() == [1, 0]
    assert found["f1"].tolist() == [1, 0]
    alone = classification_scores(perfect[:2], targets[:2])
    assert alone["auroc"].isnan()
    assert (alone["accuracy"], alone["f1"]) == (1, 1)


WEIGHTED = {
    "n": st.integers(3, 40), "seed": st.integers(0, 999), "has_ties": st.booleans(), "has_zeros": st.booleans(),
}  # fmt: skip


def drawn_weights(n: int, seed: int, has_zeros: bool) -> torch.Tensor:
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed + 7)) + 0.1
    weights[:: 3 if has_zeros else n] = 0.0
    return weights


@settings(max_examples=examples(60))
@given(n_classes=st.integers(2, 4), **WEIGHTED)
def test_weighted_scores_of_a_classification_are_those_of_scikit_learn(
    n: int, n_classes: int, seed: int, has_ties: bool, has_zeros: bool
) -> None:
    # A class of weight 0 is none here, and one with an F1 of 0 in scikit-learn: rows of weight 0 are not given to that.
    probabilities, targets = drawn(seed, n, n_classes, has_ties=has_ties).softmax(1), drawn_classes(seed, n_classes, n)
    weights = drawn_weights(n, seed, has_zeros)
    found = numbers(classification_scores(probabilities, targets, weights))
    probabilities, targets, weights = (part[weights > 0] for part in (probabilities, targets, weights))
    predicted, w = probabilities.argmax(1), weights.double()
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, predicted, sample_weight=w), rel=1e-6)
    f1 = f1_score(targets, predicted, average="macro", sample_weight=w, zero_division=0)
    assert found["f1"] == pytest.approx(f1, rel=1e-6)
    present = targets.unique().tolist()
    if len(present) > 1:
        areas = [roc_auc_score(targets == c, probabilities[:, c], sample_weight=w) for c in present]
        assert found["auroc"] == pytest.approx(np.mean(areas), rel=1e-6, abs=1e-9)


@settings(max_examples=examples(60))
@given(**WEIGHTED)
def test_weighted_scores_of_a_regression_are_those_of_scikit_learn(
    n: int, seed: int, has_ties: bool, has_zeros: bool
) -> None:
    targets, predicted = drawn(seed, n, has_ties=has_ties).double(), drawn(seed + 1, n, has_ties=has_ties).double()
    weights = drawn_weights(n, seed, has_zeros)
    found, w = numbers(regression_scores(predicted, targets, weights)), weights.double()
    functions = {
        "mse": mean_squared_error, "rmse": root_mean_squared_error, "mae": mean_absolute_error,
    }  # fmt: skip
    for name, function in functions.items():
        assert found[name] == pytest.approx(function(targets, predicted, sample_weight=w), rel=1e-5)
    if len(targets[weights > 0].unique()) > 1:
        assert 1 - found["r2"] == pytest.approx(1 - r2_score(targets, predicted, sample_weight=w), rel=1e-5)


def test_a_row_of_weight_two_counts_as_two_rows_in_every_score() -> None:
    weights = torch.tensor([2, 1, 0, 3, 1])
    twice = torch.arange(5).repeat_interleave(weights)
    for task, outputs, targets in (
        (THREE, PROBABILITIES.log(), TARGETS),
        (REGRESSION, torch.tensor([[1.0], [2.0], [0.0], [-1.0], [5.0]]), torch.tensor([[1.5], [0], [1], [-2], [4]])),
    ):
        objective = build_objective("auto", task)
        weighted, repeated = Scores(task), Scores(task)
        for rows in (torch.arange(2), torch.arange(2, 5)):  # batches of different weights
            batch = outputs[rows], targets[rows], weights[rows].float()
            weighted.update(objective(*batch), *batch)
        repeated.update(objective(outputs[twice], targets[twice]), outputs[twice], targets[twice])
        assert numbers(weighted.compute()) == pytest.approx(numbers(repeated.compute()), rel=1e-6)


@settings(max_examples=examples(30))
@given(is_weighted=st.booleans(), **WEIGHTED)
def test_scores_of_several_targets_are_those_of_each_and_their_mean(
    n: int, seed: int, has_ties: bool, has_zeros: bool, is_weighted: bool
) -> None:
    names = ("a", "b", "c")
    weights = [drawn_weights(n, seed, has_zeros)] if is_weighted else []
    w = weights[0].double() if weights else None
    values, true = drawn(seed, n, 3, has_ties=has_ties), drawn(seed + 1, n, 3)
    found = numbers(scores_of_several(Task("regression", 2, target_names=names), values, true, *weights))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(true, values, sample_weight=w), rel=1e-5)
    assert found["mae_b"] == pytest.approx(mean_absolute_error(true[:, 1], values[:, 1], sample_weight=w), rel=1e-5)
    assert 1 - found["r2"] == pytest.approx(1 - r2_score(true, values, sample_weight=w), rel=1e-5)

    task = Task("multilabel", 2, target_names=names, label_names=(("no", "yes"),) * 3)
    probabilities, labels = values.sigmoid(), (true > 0.3).float()
    labels[0], labels[1] = 1.0, 0.0  # each label is there, and is not, with a weight above 0
    if weights:
        weights[0][:2], w = 0.5, None
        w = weights[0].double()
    found = numbers(scores_of_several(task, probabilities, labels, *weights))
    predicted = (probabilities > 0.5).int()
    each = [accuracy_score(labels[:, place], predicted[:, place], sample_weight=w) for place in range(3)]
    assert [found[f"accuracy_{name}"] for name in names] == pytest.approx(each, rel=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(each), rel=1e-6)
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(labels, predicted, sample_weight=w), rel=1e-6)
    f1 = f1_score(labels, predicted, average="macro", sample_weight=w, zero_division=0)
    assert found["f1"] == pytest.approx(f1, rel=1e-6)
    auroc = roc_auc_score(labels, probabilities, average="macro", sample_weight=w)
    assert found["auroc"] == pytest.approx(auroc, rel=1e-6)


def test_a_label_without_rows_counts_in_no_mean() -> None:
    task = Task("multilabel", 2, target_names=("a", "b"), label_names=(("no", "yes"),) * 2)
    found = numbers(scores_of_several(task, torch.tensor([[0.9, 0.1], [0.2, 0.1]]), torch.tensor([[1.0, 0], [0, 0]])))
    assert (found["f1"], found["f1_a"], found["f1_b"]) == (1.0, 1.0, 0.0)
    assert (found["auroc"], found["auroc_a"]) == (1.0, 1.0)
    assert math.isnan(found["auroc_b"])
