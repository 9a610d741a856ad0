"""Averages of the weights: their numbers, and that all that follows goes by them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from both_engines import ENGINES
from comparing import difference
from lightning.pytorch.callbacks import Callback
from slow_cases import slow, slow_but

from mlplab import training
from mlplab.errors import UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.exporting import export
from mlplab.inference.trained import load_run

SMALL = ["data=wine", "trainer.max_epochs=4", "callbacks.figures=null", "callbacks.histograms=null"]
"""Four steps an epoch."""

AVERAGES = {
    "ema": ["callbacks/averaging=ema", "callbacks.averaging.decay=0.6"],
    "swa": ["callbacks/averaging=swa", "callbacks.averaging.start_epoch=2"],
}


class Record(Callback):
    """Keeps a layer's weights after each step, in float64."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        self.weights.append(pl_module.model.output.weight.detach().double().clone())


@pytest.mark.parametrize("name", AVERAGES)
def test_the_average_is_that_of_its_formula(train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    record, build = Record(), training.build_callbacks
    monkeypatch.setattr(training, "build_callbacks", lambda config: [*build(config), record])
    run = train_run(*SMALL, *AVERAGES[name])
    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(last["current_model_state"]["model.output.weight"].double(), record.weights[-1])
    if name == "swa":  # the ends of the epochs 2, 3 and 4
        expected = (record.weights[7] + record.weights[11] + record.weights[15]) / 3
    else:
        expected = record.weights[0]
        for t, weights in enumerate(record.weights[1:], 1):
            decay = min(0.6, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * weights
    assert last["state_dict"]["model.output.weight"].double().numpy() == pytest.approx(expected.numpy(), abs=1e-7)


@pytest.mark.parametrize("name", slow_but(["swa"], AVERAGES))
def test_an_average_leaves_the_bins_of_an_embedding_as_they_are(train_run: Any, name: str) -> None:
    run = train_run(*SMALL, *AVERAGES[name], "model.numeric_embedding=piecewise")
    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["state_dict"].keys() == last["current_model_state"].keys()
    for key, buffer in last["current_model_state"].items():
        if key.endswith(("left", "width", "lowest", "highest")):
            assert torch.equal(last["state_dict"][key], buffer), key
    assert run.result["validation"]["val/accuracy"] > 0.5


@pytest.mark.parametrize("normalization", ["batch", *slow("none")])
@pytest.mark.parametrize("name", AVERAGES)
def test_validation_test_and_export_agree_and_a_stopped_run_ends_the_same(
    train_run: Any, go_on: Any, tmp_path: Path, name: str, normalization: str
) -> None:
    overrides = [*SMALL, *AVERAGES[name], f"model.normalization={normalization}"]
    run = train_run(*overrides)
    assert difference(run.directory, go_on(*overrides, stops=(5, 14))) == ""
    trained = load_run(run.directory)
    for part, expected in (("val", run.result["validation"]), ("test", run.result["test"])):
        found = {f"{part}/{key}": value for key, value in evaluate(trained, part=part).metrics.items()}
        assert found == pytest.approx(expected, rel=1e-5)
    assert export(trained, "safetensors", tmp_path / "model.safetensors").largest_difference == 0


@pytest.mark.parametrize("name", slow_but(["ema"], AVERAGES))
def test_both_engines_average_alike_and_the_fused_step_goes_on(train_run: Any, name: str) -> None:
    runs = [train_run(*SMALL, *AVERAGES[name], f"engine={engine}").directory for engine in ENGINES]
    assert difference(*runs) == ""
    assert "autograd" not in (runs[0] / "train.log").read_text()


def test_before_the_mean_begins_the_weights_are_those_of_the_step(train_run: Any) -> None:
    plain = train_run(*SMALL, "trainer.val_check_interval=0.5")
    averaged = train_run(
        *SMALL, "trainer.val_check_interval=0.5", "callbacks/averaging=swa", "callbacks.averaging.start_epoch=3"
    )
    curves = [
        [line for line in (run.directory / "history.jsonl").read_text().splitlines() if '"val/loss"' in line]
        for run in (plain, averaged)
    ]
    of_step = [[line.partition('"val/')[2] for line in lines[:6]] for lines in curves]
    assert len(of_step[0]) == 6
    assert of_step[0] == of_step[1]
    assert curves[0][-1] != curves[1][-1]


def test_a_run_that_ends_before_its_mean_begins_says_so(train_run: Any) -> None:
    run = train_run(*SMALL, "callbacks/averaging=swa", "callbacks.averaging.start_epoch=3", "trainer.max_steps=9")
    assert "no weights were averaged: training ended in epoch 3" in (run.directory / "train.log").read_text()
    with pytest.raises(UserError, match=r"below trainer.max_epochs, got 20 .*; try .*start_epoch=3"):
        train_run(*SMALL, "callbacks/averaging=swa")
