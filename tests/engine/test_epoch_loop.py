"""The fast loop against Lightning's own: the same hooks at the same moments, and the same run to the last bit."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_engines import last_checkpoint, require_same_bits, run_both, spy_on_fast, spy_on_hooks
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor, Timer, WeightAveraging
from slow_cases import slow, slow_but

from mlplab.data.module import DataModule
from mlplab.engine.epoch_loop import FastEpochLoop
from mlplab.engine.hooks import STEP_HOOKS
from mlplab.errors import UserError
from mlplab.learner import Learner

GRID = {
    "default": [],
    "accumulated gradients": ["trainer.accumulate_grad_batches=3", "scheduler=one_cycle"],
    "clipping and batch normalisation": ["trainer.gradient_clip_val=0.05", "model.normalization=batch"],
    "schedule by validation": ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=10"],
    "lbfgs": ["optimizer=lbfgs", "data.batch_size=full", "optimizer.max_iter=4"],
    "validation within the epoch": ["trainer.val_check_interval=0.5"],
    "an end within the epoch": ["trainer.max_steps=6"],
    "part of the batches": ["trainer.limit_train_batches=3"],
    "the same few batches": ["trainer.overfit_batches=2"],
}

QUICK = ["data=wine", "callbacks=minimal", "logger=none"]


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


OFTEN = {"default", "accumulated gradients", "schedule by validation", "validation within the epoch"}


@pytest.mark.parametrize("name", slow_but(OFTEN, GRID))
def test_hooks_and_the_whole_run_are_those_of_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = QUICK[:1] if name == "default" else [*QUICK, *GRID[name]]  # with every callback once
    (fast, fast_run), (plain, plain_run) = run_both(train_run, monkeypatch, Recorder, *words)
    assert fast.calls == plain.calls
    require_same_bits(fast_run, plain_run)


def require_same_weights(both: list[tuple[Any, Any]]) -> None:
    fast, plain = (last_checkpoint(run) for _, run in both)
    assert fast["loops"] == plain["loops"]
    assert all(torch.equal(fast["state_dict"][name], value) for name, value in plain["state_dict"].items())


@pytest.mark.parametrize(
    "make_callback", [lambda: LearningRateMonitor("step"), DeviceStatsMonitor, Timer, WeightAveraging]
)
def test_callbacks_of_others_work_as_in_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make_callback: Any
) -> None:
    require_same_weights(run_both(train_run, monkeypatch, make_callback, *QUICK[:2], "logger=csv"))


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
@pytest.mark.parametrize("make", [Overstated, *slow(Batches, lambda batches: [Batches(batches)])])
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
    require_same_weights(run_both(train_run, monkeypatch, Timer, *QUICK))


@pytest.mark.parametrize(
    ("overrides", "is_fast"),
    [
        ([], True),
        (["trainer.precision=64-true"], False),
        pytest.param(["trainer.precision=bf16-mixed"], False, marks=pytest.mark.slow),
        (["trainer.profiler=simple"], False),
        (["engine=plain"], None),
    ],
)
def test_it_steps_aside_where_lightning_has_more_to_do(
    train_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    is_fast: bool | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    decisions = spy_on_fast(monkeypatch, FastEpochLoop)
    train_run("trainer.max_epochs=2", *QUICK, *overrides)
    assert decisions == ([] if is_fast is None else [is_fast, is_fast])


@pytest.mark.parametrize("name", ["backward", "optimizer_zero_grad"])
def test_it_steps_aside_for_a_module_that_overrides_what_it_takes_over(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    decisions = spy_on_fast(monkeypatch, FastEpochLoop)
    calls: list[str] = []
    original = getattr(pl.LightningModule, name)

    def overriding(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Learner, name, overriding)
    run = train_run("trainer.max_epochs=1", *QUICK)
    assert decisions == [False]
    assert len(calls) == run.result["steps"]


def test_hooks_of_a_users_own_module_are_called(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy_on_hooks(monkeypatch, STEP_HOOKS)
    run = train_run("trainer.max_epochs=1", *QUICK)
    assert calls == [*STEP_HOOKS] * run.result["steps"]


class Late(Callback):
    """Hears nothing until the first validation within the second epoch, and then by a hook set on the object."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            self.on_train_batch_end = lambda trainer, module, outputs, batch, batch_idx: self.heard.append(  # type: ignore[method-assign,assignment]
                (trainer.current_epoch, batch_idx)
            )


def test_a_hook_that_is_set_within_an_epoch_is_called_from_the_next_batch(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, "trainer.val_check_interval=2"]
    (fast, _), (plain, _) = run_both(train_run, monkeypatch, Late, *words)
    assert fast.heard == plain.heard
    assert fast.heard[0] == (1, 2)


def test_returning_minus_one_skips_the_rest_of_the_epoch(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "on_train_batch_start", lambda self, batch, batch_idx: -1 if batch_idx == 3 else None)
    run = train_run("trainer.max_epochs=2", *QUICK)
    assert run.result["steps"] == 6


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("overrides", [[], ["trainer.accumulate_grad_batches=2"]])
def test_a_step_that_returns_none_is_skipped(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    step = Learner.training_step

    def some(self: Any, batch: Any, batch_idx: int) -> Any:
        return step(self, batch, batch_idx) if batch_idx % 3 == 0 else None

    monkeypatch.setattr(Learner, "training_step", some)
    (_, fast), (_, plain) = run_both(train_run, monkeypatch, Callback, *QUICK, *overrides)
    require_same_bits(fast, plain)


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_an_optimizer_step_that_forgets_the_closure_is_told_so(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(Learner, "optimizer_step", lambda self, epoch, batch_idx, optimizer, closure: None)
    with pytest.raises((UserError, MisconfigurationException), match="closure"):
        train_run(*QUICK, f"engine={engine}")


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_a_step_without_a_loss_is_told_so(train_run: Any, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(Learner, "training_step", lambda self, batch, batch_idx: {"losses": torch.zeros(())})
    with pytest.raises((UserError, MisconfigurationException), match="'loss' key needs to be present"):
        train_run(*QUICK, f"engine={engine}")
