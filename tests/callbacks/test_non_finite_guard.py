"""A loss or gradient that is no number, before it reaches the weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from both_engines import ENGINES
from slow_cases import slow
from torch import Tensor

from mlplab import training
from mlplab.callbacks import NonFiniteGuard
from mlplab.errors import Diverged, RunFailed
from mlplab.learner import Learner

QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2", "model.dropout=0"]


def plant(monkeypatch: pytest.MonkeyPatch, bad_steps: set[int], *, in_gradient: bool = False) -> list[int]:
    """Makes the loss of some steps no number, or its gradient alone; the steps that were come to, from 1."""
    step = Learner.training_step
    steps: list[int] = []

    def planted(self: Any, batch: Any, batch_idx: int) -> Any:
        steps.append(self.trainer.global_step + 1)
        outputs = step(self, batch, batch_idx)
        if steps[-1] not in bad_steps:
            return outputs
        loss = outputs["loss"]
        if in_gradient:
            weight = next(self.model.parameters())
            return loss + (weight * 0).abs().sqrt().sum()  # 0 with a gradient of 0 · ∞
        return loss * float("nan")

    monkeypatch.setattr(Learner, "training_step", planted)
    return steps


def weights(directory: Path, name: str = "last") -> dict[str, Tensor]:
    state = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("model.")}


@pytest.mark.parametrize("in_gradient", [True, *slow(False)])
def test_the_update_is_stopped_and_the_message_says_where(
    train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_gradient: bool
) -> None:
    seen: dict[str, Tensor] = {}
    exception = NonFiniteGuard.on_exception

    def remember(self: Any, trainer: Any, pl_module: Any, error: BaseException) -> None:
        seen.update({f"model.{n}": p.detach().clone() for n, p in pl_module.model.named_parameters()})
        exception(self, trainer, pl_module, error)

    expected = weights(train_run(*QUICK, "trainer.max_steps=5").directory)
    monkeypatch.setattr(NonFiniteGuard, "on_exception", remember)
    plant(monkeypatch, {6}, in_gradient=in_gradient)
    loss = r"[0-9.]+" if in_gradient else "nan"
    with pytest.raises(Diverged, match=rf"loss {loss} and gradient norm nan in epoch 2, step 6; try a smaller opt"):
        train_run(*QUICK)
    assert all(torch.equal(seen[name], expected[name]) for name in seen)
    status, result = (json.loads((tmp_path / "run_1" / f"{n}.json").read_text()) for n in ("status", "result"))
    assert status["state"] == "failed"
    assert status["infeasible"] is True
    assert result["best_epoch"] == 1  # the best state so far is judged
    assert result["test"]["test/accuracy"] > 0
    assert (tmp_path / "run_1" / "checkpoints" / "best.ckpt").is_file()


def test_without_the_look_the_weights_are_spoiled(
    train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, {6})
    with pytest.raises(RunFailed):
        train_run(*QUICK, "callbacks.divergence=null")
    assert not all(bool(value.isfinite().all()) for value in weights(tmp_path / "run_0").values())


@pytest.mark.parametrize("engine", ENGINES)
def test_skipping_leaves_out_exactly_these_updates(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    words = [*QUICK, f"engine={engine}"]
    optimizer_step = Learner.optimizer_step

    def left_out(self: Any, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        if self.trainer.global_step + 1 in (3, 6):
            closure()
        else:
            optimizer_step(self, epoch, batch_idx, optimizer, closure)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "optimizer_step", left_out)
        expected = train_run(*words)
    plant(monkeypatch, {3, 6})
    run = train_run(*words, "on_divergence=skip")
    assert run.result["skipped_steps"] == 2
    assert run.result["steps"] == 8
    assert run.status["state"] == "finished"
    found, wanted = weights(run.directory), weights(expected.directory)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert (run.directory / "train.log").read_text().count("skipped an update: loss nan") == 2


def test_it_takes_up_its_state_under_the_name_that_it_had_in_release_0_5(
    train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, {3})
    words = [*QUICK, "on_divergence=skip"]
    last = train_run(*words).directory / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["callbacks"]["Divergence"] = content["callbacks"].pop("NonFiniteGuard")
    torch.save(content, last)
    run = last.parents[1]
    training.train(make_config(*words, "trainer.max_epochs=3", f"paths.run={run}"), resume=True)
    assert json.loads((run / "result.json").read_text())["skipped_steps"] == 1


def test_a_hundred_skipped_in_a_row_end_the_run(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, set(range(5, 10_000)))
    with pytest.raises(Diverged, match="step 105, after 100 skipped updates in a row"):
        train_run(*QUICK, "on_divergence=skip", "trainer.max_epochs=50", "callbacks.early_stopping.patience=50")


def test_raise_lets_the_error_through_at_once(train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, {6})
    with pytest.raises(Diverged, match="step 6"):
        train_run(*QUICK, "on_divergence=raise")
    assert not (tmp_path / "run_0" / "result.json").exists()


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", *slow("32-true", "bf16-true")])
def test_it_looks_in_every_precision(train_run: Any, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    plant(monkeypatch, {3}, in_gradient=True)
    with pytest.raises(Diverged, match="step 3"):
        train_run(*QUICK, f"trainer.precision={precision}")


def test_gathered_gradients_are_looked_at_before_their_update(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, {1})  # the first of two batches, whose loss is gone by then
    with pytest.raises(Diverged, match="step 1"):
        train_run(*QUICK, "trainer.accumulate_grad_batches=2")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_looking_changes_no_bit(dtype: torch.dtype) -> None:
    generator = np.random.default_rng(0)
    numbers = np.concatenate([generator.standard_normal(1000), [0.0, -0.0, 1e-45, -1e-40, 3e38, 1e-300]])
    gradients = [torch.from_numpy(numbers).to(dtype), torch.zeros(0, dtype=dtype), torch.ones((), dtype=dtype)]
    before = [gradient.clone() for gradient in gradients]
    divergence = NonFiniteGuard("val/loss")
    whole = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}[dtype]
    assert divergence._are_finite(gradients)
    for gradient, copy in zip(gradients, before, strict=True):
        assert torch.equal(gradient.view(whole), copy.view(whole))
    for bad in (torch.inf, -torch.inf, torch.nan):
        assert not divergence._are_finite([*gradients, torch.tensor([1.0, bad], dtype=dtype)])
        assert divergence._are_finite(gradients)  # it forgets
