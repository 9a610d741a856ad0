"""What a GPU does by itself, on the processor: the same calls, of which nothing is asked in between."""

from typing import Any

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from mlplab.callbacks import divergence, guarded_updates
from mlplab.callbacks.guarded_updates import GuardedUpdates, can_guard
from mlplab.errors import Diverged
from mlplab.learner import Learner
from mlplab.optimization import lean_adam

QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2", "model.dropout=0"]

CPU = torch.device("cpu")


def plant(monkeypatch: pytest.MonkeyPatch, bad_steps: set[int]) -> None:
    step = Learner.training_step

    def planted(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = step(self, batch, batch_idx)
        return loss * float("nan") if self.trainer.global_step + 1 in bad_steps else loss

    monkeypatch.setattr(Learner, "training_step", planted)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_updates, "GUARDED", {"cpu"})
    monkeypatch.setattr(lean_adam, "LEAN", {})


def weights(run: Any) -> dict[str, torch.Tensor]:
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("model.")}


def test_it_is_for_gpus_and_optimizers_that_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = [torch.nn.Parameter(torch.zeros(2))]
    fused = [Adam(parameter, fused=True), AdamW(parameter, fused=True), SGD(parameter, lr=0.1, fused=True)]
    fused.append(Adagrad(parameter, fused=True))
    others = [Adam(parameter), SGD(parameter, lr=0.1), RMSprop(parameter)]
    gpu = torch.device("cuda")
    assert all(can_guard(optimizer, gpu) for optimizer in fused)
    assert not any(can_guard(optimizer, CPU) for optimizer in fused)
    assert not any(can_guard(optimizer, gpu) for optimizer in others)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "momentum", "adagrad"])
def test_skipping_on_the_device_leaves_out_the_same_updates(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, optimizer: str, request: pytest.FixtureRequest
) -> None:
    plant(monkeypatch, {3, 6, 7})
    expected = train_run(*QUICK, f"optimizer={optimizer}", "on_divergence=skip")
    request.getfixturevalue("as_on_a_gpu")
    run = train_run(*QUICK, f"optimizer={optimizer}", "on_divergence=skip")
    assert run.result["skipped_steps"] == expected.result["skipped_steps"] == 3
    found, wanted = weights(run), weights(expected)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    log = (run.directory / "train.log").read_text()
    assert "skipped 1 updates: the loss or the gradient is no number in step 3" in log
    assert "skipped 2 updates: the loss or the gradient is no number in step 6 and others" in log


@pytest.mark.usefixtures("as_on_a_gpu")
def test_training_stops_and_the_weights_are_numbers(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, {6})
    last: dict[str, torch.Tensor] = {}
    on_exception = divergence.Divergence.on_exception

    def remember(self: Any, trainer: Any, pl_module: Any, error: BaseException) -> None:
        last.update(pl_module.model.state_dict())
        on_exception(self, trainer, pl_module, error)

    monkeypatch.setattr(divergence.Divergence, "on_exception", remember)
    with pytest.raises(Diverged, match="the loss or the gradient is no number in step 6; try"):
        train_run(*QUICK)
    assert last
    assert all(bool(value.isfinite().all()) for value in last.values())


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_device_is_asked_every_so_many_updates(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "LOOK_EVERY", 3)
    plant(monkeypatch, {2})
    steps = []
    step = Learner.optimizer_step
    monkeypatch.setattr(Learner, "optimizer_step", lambda self, *args: (steps.append(1), step(self, *args)))
    with pytest.raises(Diverged, match="step 2"):
        train_run(*QUICK, "data.batch_size=8")
    assert len(steps) == 3


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_hundred_in_a_row_end_the_run(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, set(range(5, 10_000)))
    with pytest.raises(Diverged, match="and in 100 or more after it"):
        train_run(*QUICK, "on_divergence=skip", "trainer.max_epochs=50", "callbacks.early_stopping.patience=50")


def test_counts_by_hand() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = SGD([parameter], lr=1.0, fused=True)
    guarded = GuardedUpdates(optimizer, CPU)
    good, bad = torch.ones(2), torch.tensor([1.0, torch.inf])
    for step, (gradient, loss) in enumerate(
        [(good, 1.0), (bad, 1.0), (good, torch.nan), (good, 1.0), (bad, 1.0)], start=1
    ):
        parameter.grad = gradient.clone()
        guarded.guard([parameter.grad], torch.tensor(loss), step)
        optimizer.step()
    assert parameter.tolist() == [-1, -1]
    assert guarded.n_unread == 5
    assert guarded.read() == (3, 2, 2)
    assert guarded.n_unread == 0
    guarded.guard([bad], None, 6)
    assert guarded.read() == (1, 6, 2)  # it goes on from step 5
