import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from mlplab.objectives import calibration
from mlplab.objectives.calibration import (
    MOST_SCORES,
    N_BINS,
    calibrate,
    conformal_quantile,
    fit_temperature,
    reliability,
    rows_needed,
)
from mlplab.task import Task

REGRESSION = Task(kind="regression", n_features=1, target_mean=100.0, target_std=5.0)
Draw = Callable[[int, int, float], tuple[Tensor, Tensor]]


def task_of(n_classes: int) -> Task:
    return Task(kind="classification", n_features=1, class_names=tuple("abcdefgh"[:n_classes]))


def drawn(n_rows: int, n_classes: int, temperature: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, C), or (N, 1) for one class, whose right temperature is known, and classes drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n_rows, n_classes, generator=generator)
    both = torch.cat([torch.zeros_like(logits), logits], 1) if n_classes == 1 else logits
    return logits * temperature, torch.multinomial(both.softmax(1), 1, generator=generator).squeeze(1)


def loss_at(logits: Tensor, targets: Tensor, temperature: float) -> float:
    both = torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
    return float(torch.nn.functional.cross_entropy(both.double() / temperature, targets))


# --- temperature -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.02, 0.7, 1.0, 3.0, 500.0])
def test_the_temperature_is_the_minimum_of_the_loss(
    monkeypatch: pytest.MonkeyPatch, n_classes: int, temperature: float
) -> None:
    monkeypatch.setattr(calibration, "BLOCK_ROWS", 300)
    logits, targets = drawn(1000, n_classes, temperature)
    found = fit_temperature(logits, targets)
    assert found is not None
    expected = minimize_scalar(
        lambda log: loss_at(logits, targets, math.exp(log)),
        bracket=(math.log(temperature) - 0.5, math.log(temperature) + 0.5),
        options={"xtol": 1e-12},
    )
    assert loss_at(logits, targets, found) <= expected.fun + 1e-14
    assert found == pytest.approx(math.exp(expected.x), rel=1e-5)
    assert found == pytest.approx(temperature, rel=0.25)  # of which the rows were drawn


def test_no_temperature_is_found_where_none_is_best() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert fit_temperature(logits, logits.argmax(1)) is None  # all are right: the smaller, the better
    assert fit_temperature(logits, logits.argmin(1)) is None  # all are wrong: the larger, the better
    assert fit_temperature(torch.zeros(3, 2), torch.tensor([0, 1, 1])) is None  # no temperature changes anything
    assert fit_temperature(logits, torch.tensor([1, 1, 0])) is not None


# --- conformity scores -------------------------------------------------------------------------------------


def test_scores_of_values_are_absolute_errors_in_the_targets_unit() -> None:
    found = calibrate(torch.tensor([[1.0], [0.0], [-2.0]]), torch.tensor([[0.0], [0.1], [-2.0]]), REGRESSION)
    assert found is not None
    assert (found["n_rows"], found["temperature"]) == (3, None)
    np.testing.assert_allclose(found["scores"][:, 0].numpy(), [0.0, 0.5, 5.0], atol=1e-6)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_scores_of_classes_are_probabilities_of_other_classes(n_classes: int) -> None:
    logits, targets = drawn(50, n_classes, 1.0)
    both = torch.cat([torch.zeros_like(logits), logits], 1) if n_classes == 1 else logits
    expected = 1 - both.double().softmax(1)[torch.arange(50), targets]
    found = calibrate(logits, targets, task_of(max(2, n_classes)))
    assert found is not None
    np.testing.assert_allclose(found["scores"][:, 0].numpy(), np.sort(expected.numpy()), atol=1e-6)
    assert found["temperature"] == fit_temperature(logits, targets)


def test_what_is_not_finite_is_not_calibrated() -> None:
    assert calibrate(torch.tensor([[math.nan]]), torch.zeros(1, 1), REGRESSION) is None
    assert calibrate(torch.tensor([[math.inf, 0.0]]), torch.tensor([0]), task_of(2)) is None


@pytest.mark.parametrize(("level", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.98, 49)])
def test_the_rows_needed_are_the_fewest_that_have_such_a_quantile(level: float, needed: int) -> None:
    assert rows_needed(level) == needed
    scores = torch.arange(1.0, needed + 1)[:, None]
    # With the fewest rows it is the largest score.
    assert conformal_quantile({"n_rows": needed, "scores": scores}, level) == [needed]


def test_the_quantile_is_an_order_statistic_with_a_rank_for_a_finite_sample() -> None:
    scores = torch.arange(1.0, 101)[:, None]
    assert conformal_quantile({"n_rows": 100, "scores": scores}, 0.9) == [91]  # ⌈101 · 0.9⌉ = ⌈90.9⌉
    scores = torch.arange(1.0, 20)[:, None]
    assert conformal_quantile({"n_rows": 19, "scores": scores}, 0.95) == [19]  # 20 · 0.95 is 19 and no more


@pytest.mark.parametrize("n_rows", [MOST_SCORES, MOST_SCORES + 1, 3 * MOST_SCORES - 1, 100_000])
def test_of_many_scores_the_next_larger_one_is_kept(n_rows: int) -> None:
    outputs = torch.arange(n_rows, dtype=torch.float64).unsqueeze(1)
    task = Task(kind="regression", n_features=1)
    found = calibrate(outputs, torch.zeros_like(outputs), task)
    assert found is not None
    assert len(found["scores"]) == MOST_SCORES
    for level in (0.001, 0.5, 0.9, 0.95, 0.999):
        exact = math.ceil((n_rows + 1) * level) - 1
        assert 0 <= conformal_quantile(found, level)[0] - exact <= n_rows / MOST_SCORES


@pytest.mark.parametrize(("n_rows", "level"), [(19, 0.9), (40, 0.8), (200, 0.95)])
def test_intervals_cover_new_rows_as_often_as_they_say(n_rows: int, level: float) -> None:
    """The mean over many draws is ⌈(n + 1)·level⌉ / (n + 1), at least the level, whatever the distribution."""
    generator = torch.Generator().manual_seed(1)
    n_draws, n_new = 2000, 200
    covered = []
    for _ in range(n_draws):
        errors = torch.randn(n_rows + n_new, 1, generator=generator, dtype=torch.float64).exp()  # far from normal
        found = calibrate(errors[:n_rows], torch.zeros(n_rows, 1), REGRESSION)
        assert found is not None
        covered.append(float((errors[n_rows:] * 5.0 <= conformal_quantile(found, level)[0]).double().mean()))
    expected = math.ceil((n_rows + 1) * level - 1e-9) / (n_rows + 1)
    # Four standard errors of the mean over draws.
    assert abs(np.mean(covered) - expected) < 4 * np.std(covered) / math.sqrt(n_draws)


# --- reliability -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_calibration_error_is_that_of_torchmetrics(n_classes: int, temperature: float) -> None:
    logits, targets = drawn(2000, n_classes, temperature)
    probabilities = logits.softmax(1)
    expected = multiclass_calibration_error(probabilities, targets, n_classes, n_bins=N_BINS, norm="l1")
    assert reliability(probabilities, targets).error == pytest.approx(float(expected), abs=1e-6)


def test_bins_hold_rows_by_the_probability_of_the_predicted_class() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.5, 0.5], [0.45, 0.55]])
    found = reliability(probabilities, torch.tensor([0, 1, 1, 1]))
    assert found.n_rows.tolist() == [0] * 7 + [1, 1] + [0] * 5 + [2]
    assert found.confidence[[7, 8, 14]].tolist() == pytest.approx([0.5, 0.55, 0.995])
    assert found.accuracy[[7, 8, 14]].tolist() == [0.0, 1.0, 0.5]
    assert found.error == pytest.approx((0.5 + 0.45 + 2 * 0.495) / 4)
