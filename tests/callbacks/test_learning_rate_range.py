"""experiment=learning_rate_range_test: what it does to the rate, when it ends, and what it leaves."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from mlplab.callbacks.learning_rate_range import smoothed, suggestions
from mlplab.config.checks import check
from mlplab.errors import RunFailed, UserError
from mlplab.learner import Learner

TEST = ["experiment=learning_rate_range_test", "data=wine"]
OF = "callbacks.learning_rate_range"


@pytest.fixture
def rates_used(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each update, as the optimizer had it."""
    used: list[float] = []
    original = Learner.optimizer_step

    def step(module: Learner, epoch: int, batch_idx: int, optimizer: Any, *rest: Any) -> None:
        used.extend({float(group["lr"]) for group in optimizer.param_groups})
        original(module, epoch, batch_idx, optimizer, *rest)

    monkeypatch.setattr(Learner, "optimizer_step", step)
    return used


def test_the_rate_grows_by_one_factor_per_step_and_the_test_part_is_not_looked_at(
    train_run: Callable[..., Any], rates_used: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_run(*TEST, f"{OF}.n_steps=60", f"{OF}.low=1e-5", f"{OF}.high=0.01", "optimizer.weight_decay=0.1",
                    "logger=tensorboard")  # fmt: skip
    assert rates_used == pytest.approx(np.geomspace(1e-5, 0.01, 60).tolist())
    assert run.result["ended"] == "step limit"
    assert run.result["test"] == {}
    assert run.status["state"] == "finished"
    found = json.loads((run.directory / "learning_rate_range.json").read_text())
    assert found["rates"] == pytest.approx(rates_used)
    assert len(found["losses"]) == len(found["smoothed"]) == 60
    assert found["exploded_at"] is None
    assert set(found["suggestions"]) == {"valley", "steepest", "minimum/10"}
    out = capsys.readouterr().out
    assert f"rates   {found['suggestions']['valley']:.2g} (valley)" in out
    assert f"train.py optimizer.lr={found['suggestions']['valley']:.2g}\n" in out
    png = (run.directory / "figures" / "learning_rate_range.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert width > height > 600
    assert "<svg" in (run.directory / "figures" / "learning_rate_range.svg").read_text()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.directory / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("lr")] == pytest.approx(rates_used)
    assert [e.value for e in events.Scalars("train/loss_step")] == pytest.approx(found["losses"], rel=1e-5)
    assert events.Tags()["images"] == ["learning_rate_range"]


def test_a_run_that_is_shorter_goes_through_the_whole_range(
    train_run: Callable[..., Any], rates_used: list[float]
) -> None:
    train_run(*TEST, f"{OF}.low=1e-4", f"{OF}.high=0.1", "trainer.max_epochs=6", "logger=none")
    assert rates_used == pytest.approx(np.geomspace(1e-4, 0.1, 24).tolist())


@pytest.mark.parametrize(
    "optimizer", ["sgd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adam", "muon", "rmsprop"))]
)
def test_it_ends_when_the_loss_explodes_and_suggests_a_rate_that_learns(
    train_run: Callable[..., Any], optimizer: str
) -> None:
    run = train_run(*TEST, f"optimizer={optimizer}", "logger=none", f"{OF}.high=1e8")
    found = json.loads((run.directory / "learning_rate_range.json").read_text())
    assert run.result["steps"] < 300
    assert run.result["ended"] == f"the loss exploded at a learning rate of {found['exploded_at']:.2g}"
    assert run.status["state"] == "finished"
    assert all(1e-5 < rate < found["exploded_at"] for rate in found["suggestions"].values())
    assert all(np.isfinite(found["losses"]))
    rate = f"optimizer.lr={found['suggestions']['valley']}"
    run = train_run("data=wine", f"optimizer={optimizer}", rate, "logger=none", "callbacks=minimal",
                    "trainer.max_epochs=20")  # fmt: skip
    assert run.result["validation"]["val/accuracy"] > 0.9


def test_a_loss_that_is_no_number_ends_it(train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original, count = Learner.training_step, 0

    def step(module: Learner, batch: Any, batch_idx: int) -> Any:
        nonlocal count
        count += 1
        outputs = original(module, batch, batch_idx)
        return {"loss": outputs["loss"] * torch.nan} if count > 150 else outputs

    monkeypatch.setattr(Learner, "training_step", step)
    run = train_run(*TEST, "logger=none", f"{OF}.high=1")
    found = json.loads((run.directory / "learning_rate_range.json").read_text())
    assert run.result["steps"] == 151
    assert len(found["losses"]) == 150


def test_where_nothing_can_be_suggested_it_says_what_to_change(train_run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"no learning rate from 1e-12 to 1e-11 made the loss fall; try another"):
        train_run(
            *TEST, "data.batch_size=full", "logger=none", f"{OF}.low=1e-12", f"{OF}.high=1e-11", f"{OF}.n_steps=40"
        )
    (kept,) = tmp_path.rglob("learning_rate_range.json")
    assert json.loads(kept.read_text())["suggestions"] == {}
    with pytest.raises(RunFailed, match=r"the loss exploded after \d steps, at .*; try a smaller"):
        train_run(*TEST, "logger=none", "optimizer=sgd", f"{OF}.low=1e20", f"{OF}.high=1e30")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([f"{OF}.low=0"], f"{OF}.low must be a positive number"),
        ([f"{OF}.high=.inf"], f"{OF}.high must be a positive number"),
        ([f"{OF}.low=1", f"{OF}.high=0.1"], f"{OF}.low must be below {OF}.high"),
        ([f"{OF}.low=1", f"{OF}.high=1"], f"{OF}.low must be below {OF}.high"),
        ([f"{OF}.n_steps=19"], f"{OF}.n_steps must be an integer from 20"),
        ([f"{OF}.n_steps=1e9"], f"{OF}.n_steps must be an integer from 20"),
        (["scheduler=cosine"], "scheduler=cosine; try scheduler=none"),
        (["trainer.accumulate_grad_batches=2"], "try trainer.accumulate_grad_batches=1"),
        (["trainer.devices=2", "trainer.accelerator=cpu"], "try trainer.devices=1"),
    ],
)
def test_what_cannot_be_tested_is_refused(make_config: Callable[..., DictConfig], words: list[str], says: str) -> None:
    with pytest.raises(UserError) as told:
        check(make_config(*TEST, *words))
    assert says in str(told.value)


RATES = np.geomspace(1e-6, 1e2, 801)


def curve(begins: float, lowest: float) -> np.ndarray:
    """2 until `begins`, then down in a straight line over log(rate) to 1 at `lowest`, then steeply up."""
    x, a, b = np.log10(RATES), np.log10(begins), np.log10(lowest)
    down = np.clip((x - a) / (b - a), 0, 1)
    return 2 - down + 10 * np.clip(x - b, 0, None)


def test_the_middle_of_the_descent_and_a_tenth_of_the_minimum() -> None:
    found = suggestions(RATES, curve(1e-3, 1e-1), before=2.0)
    assert found["valley"] == pytest.approx(10 ** ((np.log10(1e-3) + 0.05 * 2 - 1) / 2), rel=0.03)
    assert found["minimum/10"] == pytest.approx(0.01, rel=0.03)
    assert 1e-3 < found["steepest"] < 1e-1


def test_the_steepest_place() -> None:
    losses = 2 - 1 / (1 + np.exp(-8 * (np.log10(RATES) + 2)))  # steepest at 0.01
    losses[-50:] += 5
    assert suggestions(RATES, losses, before=2.0)["steepest"] == pytest.approx(0.01, rel=0.05)


def test_a_long_flat_beginning_changes_nothing() -> None:
    short = suggestions(RATES[300:], curve(1e-2, 1.0)[300:], before=2.0)
    falling = curve(1e-2, 1.0) - np.linspace(0, 1e-3, len(RATES))
    long = suggestions(RATES, falling, before=2.0)
    assert long == pytest.approx(short, rel=0.05)


@pytest.mark.parametrize(
    "losses",
    [np.full(801, 2.0), np.linspace(2, 3, 801), np.linspace(2, 1.99, 801), curve(1e-3, 1e-1) + 40],
    ids=["flat", "rising", "hardly falling", "falling from an explosion to what it was before"],
)
def test_where_nothing_fell_nothing_is_suggested(losses: np.ndarray) -> None:
    assert suggestions(RATES, losses, before=2.0) == {}


@given(st.floats(0.5, 2), st.floats(-5, -1), st.floats(0.5, 3), st.integers(0, 2**32 - 1))
def test_suggestions_lie_within_the_range_and_do_not_depend_on_the_unit_of_the_loss(
    scale: float, begins: float, decades: float, seed: int
) -> None:
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(RATES))
    losses = smoothed(curve(10**begins, 10 ** (begins + decades)) + noise)
    found = suggestions(RATES, losses, before=2.0)
    assert found == pytest.approx(suggestions(RATES, scale * losses, before=scale * 2.0))
    assert RATES[0] <= found["valley"] <= 10 * found["minimum/10"] <= RATES[-1] * (1 + 1e-9)
    assert RATES[0] <= found["steepest"] <= RATES[-1]


def test_smoothing_keeps_a_constant_a_line_and_the_place_of_a_dip() -> None:
    assert smoothed(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    line = np.arange(200.0)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    dip = np.ones(201)
    dip[100] = 0.0
    assert int(smoothed(dip).argmin()) == 100


def test_groups_of_parameters_keep_their_multiples_of_the_rate(
    train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates: list[list[float]] = []
    original = Learner.optimizer_step

    def step(module: Learner, epoch: int, batch_idx: int, optimizer: Any, *rest: Any) -> None:
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        original(module, epoch, batch_idx, optimizer, *rest)

    monkeypatch.setattr(Learner, "optimizer_step", step)
    words = (f"{OF}.n_steps=30", f"{OF}.low=1e-5", f"{OF}.high=0.01", "logger=none", "verbose=false")
    train_run(*TEST, *words, "optimizer.lr=0.001", "+optimizer.groups=[{params: 'hidden.0.*', lr: 0.0001}]")
    planned = np.geomspace(1e-5, 0.01, 30)
    assert np.array(rates) == pytest.approx(np.stack([0.1 * planned, planned], axis=1))
    assert capsys.readouterr().out == ""
