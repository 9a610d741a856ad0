"""The fast validation loop against Lightning's own: the same hooks, the same logged values, the same state."""

import csv
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_engines import run_both, spy_on_fast, spy_on_hooks
from lightning.pytorch.callbacks import Callback
from slow_cases import slow, slow_but
from torchmetrics import MeanMetric

from mlplab.data import module as data_module
from mlplab.data.module import DataModule
from mlplab.engine.validation_loop import HOOKS, FastValidationLoop
from mlplab.errors import UserError
from mlplab.learner import Learner
from mlplab.models import MLP

GRID = {
    "default": [],
    "some batches": ["trainer.limit_val_batches=2"],
    "a share of the batches": ["trainer.limit_val_batches=0.5"],
    "no batches": ["trainer.limit_val_batches=0"],
    "every other epoch": ["trainer.check_val_every_n_epoch=2"],
    "within the epoch": ["trainer.val_check_interval=0.3"],
    "before training": ["trainer.num_sanity_val_steps=2"],
    "gathered gradients, batch normalisation": ["trainer.accumulate_grad_batches=4", "model.normalization=batch"],
    "a schedule by validation": ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=10"],
    "a regression": ["data=diabetes"],
}


class Recorder(Callback):
    """Notes every hook of validation, and logs from it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def _note(self, name: str, trainer: Any, module: Any, *details: Any) -> None:
        place = (trainer.global_step, trainer.current_epoch, trainer.state.stage, trainer.sanity_checking)
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress.state_dict()
        modes = [part.training for part in module.modules()]
        graph = (torch.is_grad_enabled(), module._current_fx_name, [p.grad is None for p in module.parameters()])
        self.calls.append((name, *place, str(progress), modes, graph, *details))

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._note("start", trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("from_epoch_start", float(trainer.current_epoch))
        self._note("epoch start", trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._note("batch start", trainer, pl_module, batch_idx, dataloader_idx, float(batch[0].sum()))

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        pl_module.log("from_batch", float(batch[0].sum()), on_step=batch_idx >= 0, on_epoch=True)
        self._note("batch end", trainer, pl_module, batch_idx, dataloader_idx, outputs)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("from_epoch_end", torch.tensor(trainer.global_step), prog_bar=True, reduce_fx="max")
        self._note("epoch end", trainer, pl_module, sorted(trainer.callback_metrics))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._note("end", trainer, pl_module, *({**values(trainer)}.items()))


def values(trainer: Any) -> dict[str, float]:
    """All that is shown, of all three kinds."""
    kinds = {"callback": trainer.callback_metrics, "log": trainer.logged_metrics, "bar": trainer.progress_bar_metrics}
    return {f"{kind} {name}": float(value) for kind, shown in kinds.items() for name, value in shown.items()}


def logged(run: Any) -> list[dict[str, str]]:
    with (run.directory / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def validate_in_both(train_run: Any, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[tuple[Recorder, Any]]:
    monkeypatch.setattr(data_module, "EVALUATION_BATCH_ROWS", 50)
    return run_both(train_run, monkeypatch, Recorder, "logger=csv", "callbacks=minimal", *overrides)


pytestmark = pytest.mark.filterwarnings("ignore:You called `self.log.'from_epoch_end'")


OFTEN = {"within the epoch", "a schedule by validation"}


@pytest.mark.parametrize("name", slow_but(OFTEN, GRID))
def test_hooks_values_and_state_are_those_of_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (fast, fast_run), (own, own_run) = validate_in_both(train_run, monkeypatch, *GRID[name])
    assert fast.calls == own.calls
    assert (fast.calls == []) == (name == "no batches")
    assert logged(fast_run) == logged(own_run)
    states = [torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True) for run in (fast_run, own_run)]
    assert states[0]["loops"] == states[1]["loops"]
    for key, value in states[1]["state_dict"].items():
        assert torch.equal(states[0]["state_dict"][key], value), key


QUICK = ["trainer.max_epochs=1", "callbacks=minimal", "logger=none"]


def test_the_default_run_is_fast(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = spy_on_fast(monkeypatch, FastValidationLoop)
    train_run(*QUICK)
    assert decisions == [True]


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.precision=64-true"],
        pytest.param(["trainer.precision=bf16-mixed"], marks=pytest.mark.slow),
        ["trainer.profiler=simple"],
    ],
)
def test_it_steps_aside_where_lightning_has_more_to_do(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = spy_on_fast(monkeypatch, FastValidationLoop)
    train_run(*QUICK, *overrides)
    assert decisions == [False]


def test_it_steps_aside_for_several_data_loaders(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions, seen = spy_on_fast(monkeypatch, FastValidationLoop), []
    one = DataModule.val_dataloader
    monkeypatch.setattr(DataModule, "val_dataloader", lambda self: [one(self), one(self)])

    def step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        seen.append(dataloader_idx)

    monkeypatch.setattr(Learner, "validation_step", step)
    monkeypatch.setattr(Learner, "on_validation_epoch_end", lambda self: None)
    train_run(*QUICK, "~callbacks.early_stopping", "~callbacks.divergence")
    assert decisions == [False]
    assert seen[:2] == [0, 1]


def test_it_steps_aside_for_a_loader_whose_length_is_not_known(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = spy_on_fast(monkeypatch, FastValidationLoop)
    one = DataModule.val_dataloader

    class Endless:
        def __init__(self, batches: Any) -> None:
            self.batches = batches

        def __iter__(self) -> Any:
            return iter(self.batches)

    monkeypatch.setattr(DataModule, "val_dataloader", lambda self: Endless(one(self)))
    run = train_run(*QUICK)
    assert decisions == [False]
    assert run.result["validation"]["val/accuracy"] > 0.5


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
@pytest.mark.parametrize("owner", [DataModule, *slow(Learner)])
def test_it_steps_aside_for_batches_that_are_changed_on_their_way(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, owner: type
) -> None:
    decisions, stages = spy_on_fast(monkeypatch, FastValidationLoop), set()

    def change(self: Any, batch: Any, dataloader_idx: int) -> Any:
        stages.add(self.trainer.state.stage)
        return batch

    monkeypatch.setattr(owner, "on_after_batch_transfer", change)
    train_run(*QUICK)
    assert decisions == [False]
    assert {"train", "validate"} <= {stage.value for stage in stages}


def test_hooks_of_a_users_own_module_are_called(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy_on_hooks(monkeypatch, HOOKS)
    train_run(*QUICK)
    assert calls == [*HOOKS]


def test_a_part_that_changes_its_mode_in_a_way_of_its_own_is_asked(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def note(self: MLP, mode: bool = True) -> MLP:
        asked.append(mode)
        return torch.nn.Module.train(self, mode)  # type: ignore[return-value]

    monkeypatch.setattr(MLP, "train", note)
    train_run(*QUICK)
    assert False in asked


class Late(Callback):
    """Hears nothing until the second epoch, and then by hooks that are set on the object."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            return
        when = trainer.current_epoch  # another function for the same hook in each epoch
        for name in ("on_validation_end", "on_train_batch_end"):
            setattr(self, name, lambda trainer, *_, name=name: self.heard.append((name, when)))


def test_hooks_that_are_set_on_the_way_are_called_as_in_lightnings_loop(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fast, _), (lightning, _) = run_both(train_run, monkeypatch, Late, *QUICK[1:])
    assert {epoch for _, epoch in fast.heard} == {1, 2}
    assert fast.heard == lightning.heard


class LogsBeside(Callback):
    """Logs another value from where the scores are logged, and a score under another name once in a while."""

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("val/beside", 1.0 + trainer.current_epoch)
        if trainer.current_epoch == 1:
            pl_module.log("val/once", 5.0)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("train/beside", 1.0 + trainer.current_epoch)


def test_what_callbacks_log_beside_the_scores_is_kept(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, fast), (_, lightning) = run_both(train_run, monkeypatch, LogsBeside, QUICK[1], "logger=csv")
    assert any(line.get("val/once") for line in logged(fast))
    assert logged(fast) == logged(lightning)


def test_a_part_that_is_in_evaluation_mode_stays_in_it(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[bool] = []
    after: list[bool] = []

    def freeze(self: Learner) -> None:
        after.append(self.model.hidden[0].training)  # type: ignore[union-attr,index]
        self.model.hidden[0].eval()  # type: ignore[union-attr,index]

    monkeypatch.setattr(Learner, "on_train_epoch_start", freeze)
    monkeypatch.setattr(Learner, "on_validation_epoch_start", lambda self: during.append(self.model.training))
    train_run(*QUICK, "trainer.max_epochs=3")
    assert after == [True, False, False]
    assert during == [False] * 3


def test_a_step_of_ones_own_logs_as_in_lightnings_loop(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of each step, of the epoch, of both, and an object of torchmetrics."""

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = self.objective(self.model(batch[0]), batch[1])
        self.seen.update(loss)
        self.log("val/loss", loss)
        self.log("both", loss, on_step=True, on_epoch=True)
        self.log("each", loss.double(), on_step=True, on_epoch=False)
        self.log("largest", loss, reduce_fx="max", batch_size=batch_idx + 1)
        self.log("weighted", loss, batch_size=batch_idx + 1)
        self.log("object", self.seen)
        return loss

    monkeypatch.setattr(Learner, "validation_step", step)
    monkeypatch.setattr(Learner, "on_validation_epoch_end", lambda self: None)
    monkeypatch.setattr(Learner, "on_fit_start", lambda self: setattr(self, "seen", MeanMetric()))
    (fast, fast_run), (own, own_run) = validate_in_both(train_run, monkeypatch)
    assert [call[:-1] for call in fast.calls] == [call[:-1] for call in own.calls]
    assert logged(fast_run) == logged(own_run)
    assert {"both_step", "both_epoch", "each", "largest", "weighted", "object"} <= set(logged(fast_run)[0])


def test_a_value_that_is_logged_in_two_ways_is_refused_as_ever(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: pl.LightningModule) -> None:
        self.log("value", torch.tensor(1.0))
        self.log("value", torch.tensor(1.0), reduce_fx="max")

    monkeypatch.setattr(Learner, "on_validation_epoch_start", twice)
    with pytest.raises(UserError, match="twice"):
        train_run(*QUICK)
