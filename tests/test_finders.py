"""Lightning's finders: what they find is set before the run begins, recorded, and not found anew."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import difference
from lightning.pytorch.callbacks import LearningRateFinder
from slow_cases import slow

from mlplab import finders, training
from mlplab.cli.resume import resumed_config
from mlplab.errors import UserError
from mlplab.runs.run_reading import found_before

LIGHTNINGS = "lightning.pytorch.callbacks."
RATE = f"+callbacks.rate={{_target_: {LIGHTNINGS}LearningRateFinder, min_lr: 0.0001, num_training_steps: 30}}"
SIZE = f"+callbacks.size={{_target_: {LIGHTNINGS}BatchSizeFinder, max_trials: 3}}"
BACKBONE = "+module._target_=own_parts.WithBackbone"
SMALL = ["data=wine", "trainer.max_epochs=2", "callbacks=minimal"]


class Milestones(LearningRateFinder):
    """Searches again and again, as in Lightning's documentation."""

    def on_fit_start(self, *arguments: Any) -> None:
        return

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.lr_find(trainer, pl_module)


@pytest.mark.parametrize("engine", ["fast", *slow("plain")])
def test_the_run_is_the_one_that_is_given_what_was_found(train_run: Any, capsys: Any, engine: str) -> None:
    found = train_run(*SMALL, f"engine={engine}", RATE)
    rate = found.result["found"]["optimizer.lr"]
    assert 0.0001 < rate < 1
    assert f"found   optimizer.lr={rate}\n" in capsys.readouterr().out
    assert json.loads((found.directory / "manifest.json").read_text())["found"] == {"optimizer.lr": rate}
    assert f"found   optimizer.lr={rate}" in (found.directory / "train.log").read_text()
    assert (found.result["epochs"], found.result["steps"]) == (2, 8)
    given = train_run(*SMALL, f"engine={engine}", f"optimizer.lr={rate}")
    (given.directory / "result.json").write_text(json.dumps({**given.result, "found": {"optimizer.lr": rate}}))
    assert difference(found.directory, given.directory) == ""


def test_a_run_that_goes_on_keeps_what_it_found(
    train_run: Any, go_on: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train_run(*SMALL, RATE)
    assert difference(straight.directory, go_on(*SMALL, RATE, stops=(3, 5))) == ""
    monkeypatch.setattr(finders, "_search", None)  # nothing is searched
    config = resumed_config([f"resume={straight.directory}", "trainer.max_epochs=3"], root / "conf")
    training.train(config, resume=True)
    result = json.loads((straight.directory / "result.json").read_text())
    assert (result["epochs"], result["found"]) == (3, straight.result["found"])


def test_batch_sizes_are_found_first(train_run: Any, capsys: Any) -> None:
    run = train_run(*SMALL, RATE, SIZE)
    assert list(run.result["found"]) == ["data.batch_size", "optimizer.lr"]
    assert run.result["found"]["data.batch_size"] == 8  # 2, doubled in three trials
    assert run.result["steps"] == 2 * 16
    assert capsys.readouterr().out.index("found   data.batch_size=8") < 200
    every = train_run(*SMALL, SIZE.replace("3}", "25}"))
    assert every.result["found"] == {"data.batch_size": 124}  # all rows


def test_a_module_is_given_its_rate_by_its_own_option(train_run: Any) -> None:
    run = train_run(*SMALL, BACKBONE, RATE)
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert run.result["found"] == {"module.learning_rate": state["param_groups"][0]["lr"]}


def test_data_of_ones_own_are_given_their_batch_size(train_run: Any) -> None:
    run = train_run("~data", "+data._target_=own_parts.PictureData", *SMALL[1:], SIZE)
    assert run.result["found"] == {"data.batch_size": 8}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([RATE, "optimizer.lr=0.1"], "optimizer.lr must be found or given, not both"),
        ([RATE, "+optimizer.groups=[{params: output, lr: 0.1}]"], "optimizer.groups gives some their own"),
        ([RATE, "trainer=ddp"], "callbacks.rate must search in one process, but there are 2"),
        ([RATE, BACKBONE, "+module.learning_rate=0.1"], "module.learning_rate must be found or given, not both"),
        ([RATE.replace("30", "5")], "there are too few losses to tell a slope"),
        ([RATE.replace("30", "30, attr_name: speed")], "attr_name must be lr, which is optimizer.lr"),
        ([RATE.replace("num_training_steps", "num_train_steps")], "try callbacks.rate.num_training_steps=30"),
        ([SIZE.replace("3}", "3, batch_arg_name: rows}")], "try batch_arg_name=batch_size"),
        (["+callbacks.rate._target_=test_finding.Milestones"], "must search once, before the run"),
        (["+module._target_=own_parts.TwoOptimizers", RATE], "must have an option for its learning rate"),
    ],
)
def test_what_cannot_be_found_is_refused_before_the_run_begins(
    train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr(finders, "typed_overrides", lambda: words)
    target = f"{__name__}.Milestones"
    with pytest.raises(UserError) as caught:
        train_run(
            *SMALL, *(word.replace("test_finding.Milestones", target) for word in words), directory=tmp_path / "r"
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "r").iterdir())


def test_a_quick_try_finds_nothing_and_says_so(train_run: Any, capsys: Any) -> None:
    run = train_run(*SMALL, RATE, "trainer.fast_dev_run=true")
    assert "found" not in run.result
    assert "note    callbacks.rate finds nothing with trainer.fast_dev_run" in capsys.readouterr().out


def test_a_suggestion_is_only_told_where_that_was_asked_for(train_run: Any, capsys: Any) -> None:
    run = train_run(*SMALL, RATE.replace("30}", "30, update_attr: false}"))
    assert "found" not in run.result
    assert "note    LearningRateFinder suggests optimizer.lr=" in capsys.readouterr().out


def test_numbers_of_its_options_alone_are_taken_from_a_manifest(tmp_path: Path) -> None:
    found = {"optimizer.lr": 0.1, "optimizer._target_": 1, "trainer.max_epochs": 3, "module.lr": "x", "data.a.b": 2}
    (tmp_path / "manifest.json").write_text(json.dumps({"found": found}))
    assert found_before(tmp_path) == {"optimizer.lr": 0.1}
