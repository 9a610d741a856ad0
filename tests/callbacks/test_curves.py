"""Training curves, gradient norms and histograms, as TensorBoard reads them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from slow_cases import slow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from mlplab.building import build_data, build_learner
from mlplab.callbacks import training_curves
from mlplab.errors import Diverged
from mlplab.models import MLP

WINE = ["data=wine", "callbacks.figures=null", "callbacks.calibration=null"]


def events(run: Any) -> EventAccumulator:
    sizes = {"scalars": 0, "histograms": 0}
    return EventAccumulator(str(run.directory / "tensorboard"), size_guidance=sizes).Reload()


def values(log: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in log.Scalars(tag)]


def test_the_first_point_of_the_curve_is_the_loss_of_the_first_batch(train_run: Any, make_config: Any) -> None:
    overrides = [*WINE, "data.batch_size=full", "model.dropout=0", "trainer.log_every_n_steps=1"]
    log = events(train_run(*overrides, "trainer.max_epochs=2"))
    data = build_data(make_config(*overrides))
    data.setup()
    learner = build_learner(make_config(*overrides), data)
    features, targets = data.part("train")
    loss = cross_entropy(learner.model(features), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert isinstance(learner.model, MLP)
    assert values(log, "train/loss_step")[0] == pytest.approx(loss.item(), rel=1e-6)
    assert values(log, "train/loss")[0] == pytest.approx(loss.item(), rel=1e-6)
    gradients = [parameter.grad for parameter in learner.model.output.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm().item()
    assert values(log, "gradient_norm/output")[0] == pytest.approx(norm, rel=1e-5)
    everything = torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]).norm().item()
    assert values(log, "gradient_norm/all")[0] == pytest.approx(everything, rel=1e-5)


def test_exponents_of_gradient_norms_are_logged_if_asked_for_and_left_out_for_zero(train_run: Any) -> None:
    overrides = [*WINE, "model.initialization=zeros", "trainer.max_epochs=1", "data.batch_size=full"]
    log = events(train_run(*overrides, "callbacks.gradient_norms.log10=true"))
    (norm,), (exponent,) = values(log, "gradient_norm/all"), values(log, "gradient_norm_log10/all")
    assert 10**exponent == pytest.approx(norm, rel=1e-5)
    # With zeros and relu only the output's biases have a gradient.
    assert values(log, "gradient_norm/hidden.0.linear") == [0.0]
    assert "gradient_norm_log10/hidden.0.linear" not in log.Tags()["scalars"]


def test_the_epochs_loss_is_the_mean_over_rows_not_over_batches(train_run: Any) -> None:
    overrides = [*WINE, "data.batch_size=50", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
    log = events(train_run(*overrides))  # 124 rows: batches of 50, 50 and 24
    steps = values(log, "train/loss_step")
    assert len(steps) == 3
    mean = (50 * steps[0] + 50 * steps[1] + 24 * steps[2]) / 124
    assert values(log, "train/loss")[0] == pytest.approx(mean, rel=1e-6)


def test_neither_penalties_nor_accumulation_nor_clipping_show_in_the_curves(train_run: Any) -> None:
    overrides = [*WINE, "trainer.limit_train_batches=1", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
    plain = events(train_run(*overrides))
    for changed in ("regularization.l2=5", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.001"):
        log = events(train_run(*overrides, changed))
        assert values(log, "train/loss_step") == values(plain, "train/loss_step")
    assert values(log, "gradient_norm/all") == values(plain, "gradient_norm/all")  # norms are taken before clipping
    assert values(log, "gradient_norm/all")[0] > 0.1


@pytest.mark.parametrize(
    "words", [[*WINE], *slow(["data=breast_cancer", "loss=binary_cross_entropy", "callbacks.figures=null"])]
)
def test_the_accuracy_of_an_epoch_is_that_of_its_training_steps(
    train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    overrides = [*words, "optimizer.lr=1e-12", "data.batch_size=50"]
    data = build_data(make_config(*overrides))
    data.setup()
    features, targets = data.part("train")
    with torch.no_grad():
        outputs = build_learner(make_config(*overrides), data).model(features)
    predicted = outputs.argmax(1) if outputs.shape[1] > 1 else outputs.squeeze(1) > 0
    expected = (predicted == targets).double().mean().item()
    for held in (1_000_000, 1):
        monkeypatch.setattr(training_curves, "OUTPUTS_HELD", held)
        log = events(train_run(*overrides, "trainer.max_epochs=2"))
        assert values(log, "train/accuracy") == pytest.approx([expected] * 2, abs=1e-6)
    values_of = events(train_run(*WINE, "data=diabetes", "trainer.max_epochs=1"))
    assert "train/accuracy" not in values_of.Tags()["scalars"]


def test_every_step_has_one_point_while_gradients_are_gathered(train_run: Any) -> None:
    overrides = [*WINE, "trainer.accumulate_grad_batches=2", "trainer.log_every_n_steps=1"]
    log = events(train_run(*overrides, "trainer.max_epochs=3"))  # 4 batches an epoch: 2 updates
    assert [event.step for event in log.Scalars("train/loss_step")] == [1, 2, 3, 4, 5, 6]


def test_a_long_epoch_is_written_in_between(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_curves, "STEPS_BUFFERED", 3)
    log = events(train_run(*WINE, "data.batch_size=10", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"))
    assert [event.step for event in log.Scalars("train/loss_step")] == list(range(1, 14))


def test_the_first_steps_are_logged_closer_together(train_run: Any) -> None:
    logged = {
        interval: [training_curves.logged_step(step, interval) for step in range(1, 13)] for interval in (1, 5, 10)
    }
    assert logged == {
        1: list(range(1, 13)),
        5: [0, 2, None, 4, 5, None, None, None, None, 10, None, None],
        10: [0, 2, None, 4, None, None, None, 8, None, 10, None, None],
    }
    log = events(train_run(*WINE, "trainer.max_epochs=3", "trainer.log_every_n_steps=10"))
    for name in ("train/loss_step", "lr", "gradient_norm/all"):
        assert [event.step for event in log.Scalars(name)] == [0, 2, 4, 8, 10]


def test_a_run_that_diverges_at_once_has_its_curves(train_run: Any, tmp_path: Path) -> None:
    with pytest.raises(Diverged) as diverged:
        train_run(
            "data=wine", "optimizer=sgd", "optimizer.lr=1e6", "callbacks.figures=null", directory=tmp_path / "run"
        )
    log = events(SimpleNamespace(directory=tmp_path / "run"))
    points = log.Scalars("train/loss_step")
    assert (points[0].step, points[-1].step) == (0, diverged.value.step)
    assert not math.isfinite(points[-1].value)


def test_a_loss_that_is_no_number_counts_in_no_mean() -> None:
    assert training_curves.sums_over_rows([1.0, math.nan, 4.0, math.inf], [2, 5, 1, 5]) == (6, 3)
    assert training_curves.sums_over_rows([math.nan], [3]) == (0, 0)


def test_histograms_show_the_start_every_few_epochs_and_the_end(train_run: Any) -> None:
    log = events(train_run(*WINE, "trainer.max_epochs=5", "callbacks.histograms.every_n_epochs=2"))
    for name in ("hidden.0.linear.weight", "output.bias"):
        assert [event.step for event in log.Histograms(name)] == [0, 8, 16, 20]
