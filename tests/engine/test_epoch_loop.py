"""The lean loop against Lightning's own: the same weights, the same hooks, the same logged values."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_loops import run_both, spy_on_lean, use_lightnings_loops
from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor, Timer, WeightAveraging

from mlplab.data.module import DataModule
from mlplab.engine.epoch_loop import HOOKS, LeanEpochLoop
from mlplab.learner import Learner

GRID = {
    "default": [],
    "dropout and batch normalisation, ragged last batch": [
        "model.normalization=batch",
        "model.input_dropout=0.1",
        "data.batch_size=29",
    ],
    "gathered gradients": ["trainer.accumulate_grad_batches=4", "data.batch_size=30"],
    "clipping by norm": ["trainer.gradient_clip_val=0.05"],
    "clipping by value": ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value"],
    "schedule by step": ["scheduler=warmup_cosine"],
    "schedule by epoch": ["scheduler=exponential"],
    "schedule by validation": ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=10"],
    "one cycle with gathered gradients": ["scheduler=one_cycle", "trainer.accumulate_grad_batches=3"],
    "lbfgs": ["optimizer=lbfgs", "data.batch_size=full", "optimizer.max_iter=4"],
    "validation within the epoch": ["trainer.val_check_interval=0.3"],
    "an end within the epoch": ["trainer.max_steps=50"],
    "part of the batches": ["trainer.limit_train_batches=7"],
    "the same few batches": ["trainer.overfit_batches=2"],
    "single rows": ["data=iris", "data.batch_size=1"],
    "penalties": ["regularization.l1=0.001", "regularization.l2=0.01"],
}


QUICK = ["callbacks=minimal", "logger=none"]


class Recorder(Callback):
    """Notes every hook that the loop calls in a step, with where the run then stands."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def _note(self, name: str, trainer: pl.Trainer, *details: Any) -> None:
        self.calls.append((name, trainer.global_step, trainer.current_epoch, *details))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._note("start", trainer, batch_idx, float(batch[0].sum()))

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._note("zero", trainer, type(optimizer).__name__)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        assert loss.requires_grad  # as whoever follows its graph needs
        self._note("before backward", trainer, float(loss.detach()))

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._note("after backward", trainer)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._note("before step", trainer, type(optimizer).__name__)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("seen", float(batch_idx), on_step=True, on_epoch=True)
        self._note("end", trainer, batch_idx, float(outputs["loss"]), trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._note("validated", trainer, float(trainer.callback_metrics["val/loss"]))


def checkpoints_of_both(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make_callback: Any, *overrides: str
) -> list[tuple[Any, dict[str, Any]]]:
    return [
        (callback, torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True))
        for callback, run in run_both(train_run, monkeypatch, make_callback, *overrides)
    ]


SLOW = {"clipping by value", "schedule by epoch", "part of the batches", "an end within the epoch", "penalties"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else []) for n in GRID])
def test_weights_hooks_and_loop_state_are_those_of_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = ["logger=none"] if name == "default" else [*QUICK, *GRID[name]]  # with every callback once
    (lean, lean_state), (own, own_state) = checkpoints_of_both(train_run, monkeypatch, Recorder, *words)
    assert lean.calls == own.calls
    for key, value in own_state["state_dict"].items():
        assert torch.equal(lean_state["state_dict"][key], value), key
    assert lean_state["loops"] == own_state["loops"]
    assert lean_state["lr_schedulers"] == own_state["lr_schedulers"]
    assert (lean_state["epoch"], lean_state["global_step"]) == (own_state["epoch"], own_state["global_step"])


@pytest.mark.parametrize(
    "make_callback",
    [
        lambda: LearningRateMonitor("step"),
        DeviceStatsMonitor,
        Timer,
        WeightAveraging,
    ],
)
def test_callbacks_of_others_work_as_in_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make_callback: Any
) -> None:
    (_, lean), (_, own) = checkpoints_of_both(train_run, monkeypatch, make_callback, "callbacks=minimal", "logger=csv")
    for key, value in own["state_dict"].items():
        assert torch.equal(lean["state_dict"][key], value), key


class Batches:
    """Some batches, of which it does not say how many there are, or says too much."""

    def __init__(self, batches: Any) -> None:
        self.batches = list(batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


class Overstated(Batches):
    def __len__(self) -> int:
        return len(self.batches) + 2


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined", "ignore:.*IterableDataset")
@pytest.mark.parametrize("make", [Batches, Overstated, lambda batches: [Batches(batches)]])
def test_batches_come_from_loaders_of_ones_own_as_in_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    one = DataModule.train_dataloader
    step = Learner.training_step

    def take(self: Learner, batch: Any, batch_idx: int) -> Any:
        return step(self, batch[0] if len(batch) == 1 else batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", take)
    monkeypatch.setattr(Learner, "configure_optimizers", lambda self: torch.optim.SGD(self.parameters(), lr=0.1))

    def loader(self: DataModule) -> Any:
        return make(one(self)) if self.trainer is not None and self.trainer.training else one(self)

    monkeypatch.setattr(DataModule, "train_dataloader", loader)
    (_, lean_state), (_, own_state) = checkpoints_of_both(train_run, monkeypatch, Timer, *QUICK)
    assert lean_state["loops"] == own_state["loops"]
    for key, value in own_state["state_dict"].items():
        assert torch.equal(lean_state["state_dict"][key], value), key


def test_the_default_run_is_lean(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = spy_on_lean(monkeypatch, LeanEpochLoop)
    train_run("trainer.max_epochs=2", *QUICK)
    assert decisions == [True, True]


@pytest.mark.parametrize(
    "overrides", [["trainer.precision=64-true"], ["trainer.precision=bf16-mixed"], ["trainer.profiler=simple"]]
)
def test_it_steps_aside_where_lightning_has_more_to_do(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = spy_on_lean(monkeypatch, LeanEpochLoop)
    train_run("trainer.max_epochs=1", *QUICK, *overrides)
    assert decisions == [False]


@pytest.mark.parametrize("name", ["backward", "optimizer_zero_grad"])
def test_it_steps_aside_for_a_module_that_overrides_what_it_takes_over(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    decisions = spy_on_lean(monkeypatch, LeanEpochLoop)
    calls: list[str] = []
    original = getattr(pl.LightningModule, name)

    def overriding(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Learner, name, overriding)
    train_run("trainer.max_epochs=1", *QUICK)
    assert decisions == [False]
    assert len(calls) >= 40


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_of_a_users_own_module_are_called(train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls: list[str] = []
    original = getattr(Learner, name)

    def overriding(self: Any, *arguments: Any) -> Any:
        calls.append(name)
        return original(self, *arguments)

    monkeypatch.setattr(Learner, name, overriding)
    train_run("trainer.max_epochs=1", *QUICK)
    assert len(calls) == 40


def test_returning_minus_one_skips_the_rest_of_the_epoch(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "on_train_batch_start", lambda self, batch, batch_idx: -1 if batch_idx == 3 else None)
    run = train_run("trainer.max_epochs=2", *QUICK)
    assert run.result["steps"] == 6


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_that_returns_none_is_skipped(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Learner.training_step

    def every_other(self: Any, batch: Any, batch_idx: int) -> Any:
        return step(self, batch, batch_idx) if batch_idx % 2 == 0 else None

    weights = []
    for is_lean in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(Learner, "training_step", every_other)
            if not is_lean:
                use_lightnings_loops(patch)
            run = train_run("trainer.max_epochs=1", *QUICK)
        weights.append(torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    for key, value in weights[1].items():
        assert torch.equal(weights[0][key], value), key
