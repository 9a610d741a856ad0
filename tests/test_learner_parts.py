"""Losses, metrics, schedules, modules and data by `_target_`: learned, saved, resumed, evaluated, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import table
from composing import composed
from own_parts import Autoencoder
from slow_cases import slow

from mlplab import learner_parts
from mlplab.errors import UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.trained import load_run
from mlplab.runs.checkpoint import read_checkpoint
from mlplab.training import train

QUICK = [
    "data=iris", "model.hidden_dims=[8]", "callbacks=minimal", "callbacks.progress=null", "logger=none",
    "trainer.max_epochs=2", "trainer.threads=1", "+trainer.enable_progress_bar=false",
]  # fmt: skip
WITHOUT_DATA = [word for word in QUICK if word != "data=iris" and not word.startswith("model.")]
OWN_LOSS = "+loss._target_=own_parts.Focal"
PLAIN = [word for word in QUICK if not word.startswith("model.")]
OWN_NETWORK = ["~model", "+model._target_=own_networks.Stackable"]
MIN = ["mode=min"]
MODULE = "+module._target_=own_parts"
STEPS = "+scheduler._target_=torch.optim.lr_scheduler.StepLR"
PICTURES = ["~data", "+data._target_=own_parts.PictureData"]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A conf/ in which the user has named some code."""
    for group, target in (
        ("model", "own_networks.Stackable"), ("loss", "own_parts.Focal"), ("metrics", "own_parts.hits"),
    ):  # fmt: skip
        (tmp_path / "conf" / group).mkdir(parents=True)
        node = {"name": {"_target_": target}} if group == "metrics" else {"_target_": target}
        (tmp_path / "conf" / group / "own.yaml").write_text(json.dumps(node))
    monkeypatch.setattr(learner_parts, "CONF", tmp_path / "conf")
    return tmp_path / "conf"


def test_own_network_loss_and_metric_are_learned_and_evaluated_again(train_run: Any, conf: Path) -> None:
    run = train_run(
        *PLAIN, *OWN_NETWORK, OWN_LOSS, "+metrics.hits._target_=own_parts.hits", "monitor=val/hits_share", "mode=max"
    )
    assert run.objective == run.result["validation"]["val/accuracy"] == run.result["validation"]["val/hits_share"]
    state = read_checkpoint(run.directory / "checkpoints" / "best.ckpt")["state_dict"]
    assert state["objective.function.temperature"] != 1
    evaluation = evaluate(load_run(run.directory))
    assert evaluation.metrics == {name.removeprefix("test/"): value for name, value in run.result["test"].items()}


@pytest.mark.parametrize("group", ["model", "metrics", *slow("loss")])
def test_code_of_a_checkpoint_is_followed_only_where_conf_names_it(train_run: Any, conf: Path, group: str) -> None:
    run = train_run(*PLAIN, *OWN_NETWORK, OWN_LOSS, "+metrics.hits._target_=own_parts.hits", "trainer.max_epochs=1")
    (conf / group / "own.yaml").unlink()
    (run.directory / ".hydra" / "config.yaml").unlink()  # which is the user's own, too
    if group == "metrics":  # the others are computed
        evaluation = evaluate(load_run(run.directory))
        assert "metric hits is left out" in "".join(evaluation.notes)
        return
    with pytest.raises(UserError, match=rf"a file conf/{group}/NAME\.yaml with the line _target_"):
        evaluate(load_run(run.directory))


def test_the_runs_own_signed_configuration_names_code_as_well(
    train_run: Any, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_run(*PLAIN, *OWN_NETWORK)
    monkeypatch.setattr(learner_parts, "CONF", conf.parent / "nowhere")
    assert load_run(run.directory).task.n_classes == 3
    config = run.directory / ".hydra" / "config.yaml"
    config.write_text(config.read_text() + "# changed\n")
    with pytest.raises(UserError, match="a checkpoint is data"):
        load_run(run.directory)


@pytest.mark.parametrize(
    "words",
    [
        ["data=diabetes", "+loss._target_=torch.nn.SmoothL1Loss"],
        ["+metrics.ece={_target_: torchmetrics.CalibrationError, task: multiclass, num_classes: 3}"],
        ["+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+scheduler.monitor=val/accuracy"],
        *slow(
            ["data=diabetes", "+loss._target_=own_parts.cubic", "+loss.power=2.5"],
            ["+loss._target_=torch.nn.CrossEntropyLoss", "+loss.weight=[1,2,1]"],
            ["model.activation={_target_: torch.nn.PReLU}"],
            ["data=breast_cancer", "+metrics.mcc={_target_: torchmetrics.MatthewsCorrCoef, task: binary}"],
            ["+scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", "+scheduler.T_0=5"],
            ["+scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "+scheduler.max_lr=0.01"],
            [
                "+scheduler._target_=torch.optim.lr_scheduler.SequentialLR",
                "+scheduler.schedulers=[{_target_: torch.optim.lr_scheduler.LinearLR, _partial_: true}, "
                "{_target_: torch.optim.lr_scheduler.ExponentialLR, _partial_: true, gamma: 0.9}]",
                "+scheduler.milestones=[1]",
            ],
            ["optimizer._partial_=false"],
        ),
    ],
)
def test_parts_of_pytorch_and_others_are_choices(train_run: Any, words: list[str]) -> None:
    run = train_run(*QUICK, *words)
    assert run.status["state"] == "finished"
    for word in words:
        if word.startswith("+metrics."):
            name = word.partition("=")[0].removeprefix("+metrics.")
            assert {f"val/{name}", f"test/{name}"} <= run.result["validation"].keys() | run.result["test"].keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+loss._target_=own_parts.Focl"], r"try loss\._target_=own_parts\.Focal"),
        (["data=diabetes", OWN_LOSS], r"loss must be computed from outputs \(1,\) and targets \(1,\)"),
        (["+metrics.accuracy._target_=own_parts.hits"], "must not have the names of scores"),
        (["+scheduler._target_=torch.optim.lr_scheduler.PolynomialLR", "+scheduler.powr=2"], r"try scheduler\.power=2"),
        (
            ["+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+scheduler.monitor=val/acuracy"],
            r"try scheduler\.monitor=val/accuracy",
        ),
        (
            ["+metrics.kappa={_target_: torchmetrics.CohenKappa, num_clases: 3, task: multiclass}"],
            r"try metrics\.kappa\.num_classes=3",
        ),
        (
            ["~data", "+data._target_=own_parts.SequenceData", "+data.n_sequences=few"],
            r"data must be set up by own_parts\.SequenceData without an error, but .*own_parts\.py, line",
        ),
        (["model.freeze=[hiden.0]"], r"got hiden\.0; try hidden\.0"),
        (["train=false"], "train=false must be given with the weights to test"),
        *slow(
            ([OWN_LOSS, "+loss.gama=1"], r"takes: gamma, got loss\.gama=1; try loss\.gamma=1"),
            ([OWN_LOSS, "+loss.gamma=high"], r"loss\.gamma must be a number, as own_parts\.Focal says, got high"),
            (["data=diabetes", "+loss._target_=own_parts.per_row"], "loss must be one number for a batch"),
            (["+loss._target_=torch.nn.MSELoss"], "loss must be computed"),
            (["+metrics.hits._target_=own_parts.hits", "monitor=val/hits_share"], "mode must be given"),
            (["+metrics.hits._target_=own_parts.hits", "monitor=val/hit"], "try monitor=val/hits"),
            (
                ["+metrics.r={_target_: torchmetrics.Recall, task: multiclass, num_classes: 3}", "monitor=val/r", *MIN],
                "mode must be max",
            ),
            ([STEPS], r"1 required .*try scheduler\.step_size="),
            (["+scheduler._target_=own_parts.cubic"], "scheduler must be"),
            ([STEPS, "+scheduler.step_size=1", "+scheduler.intervall=step"], r"try scheduler\.interval=step"),
            (
                ["+callbacks.x={_target_: lightning.pytorch.callbacks.Timer, durations: 1}"],
                r"try callbacks\.x\.duration=1",
            ),
            (["~model", "+model._target_=own_parts.Autoencoder"], "module=NAME, with its file in conf/module"),
            ([f"{MODULE}.Mixed", "on_divergence=skip"], "on_divergence must be stop or raise"),
            ([f"{MODULE}.Focal"], "module must be a LightningModule with a training_step"),
            (["+optimizer.groups=[{params: output, l: 1}]"], "try lr"),
            (["start_from=nowhere"], "start_from must be the directory of a run"),
        ),
    ],
)
def test_mistakes_are_refused_before_the_run(train_run: Any, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_run(*(PLAIN if "~model" in words else QUICK), *words)
    assert list((tmp_path / "run_0").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "monitor"),
    [
        ([*PICTURES, f"{MODULE}.Autoencoder"], "val_loss"),
        (["data=iris", f"{MODULE}.TwoOptimizers", "mode=min"], "pull"),
        (["~data", "+data._target_=own_parts.SequenceData", f"{MODULE}.OfSequences", "logger=tensorboard"], "val/loss"),
        *slow(
            (["data=iris", f"{MODULE}.Autoencoder", "+module.width=2"], "val_loss"),
            (["data=iris", f"{MODULE}.Mixed"], "val/loss"),
            ([*PICTURES, "~model", "+model._target_=own_parts.Convolution"], "val/loss"),
        ),
    ],
)
def test_modules_and_data_of_ones_own_train_and_resume_to_the_same_bits(
    train_run: Any, tmp_path: Path, words: list[str], monitor: str
) -> None:
    words = [*WITHOUT_DATA, *words, f"monitor={monitor}"]
    whole = train_run(*words, "trainer.max_epochs=3")
    assert whole.status["state"] == "finished"
    assert whole.result["objective"] == whole.objective < 10
    if monitor == "val_loss":
        assert whole.result["test"].keys() == {"test_loss"}
        assert whole.result["validation"].keys() == {"val_loss"}  # without train/error, and train/loss
    train_run(*words, directory=tmp_path / "cut")
    train(composed(*words, "trainer.max_epochs=3", f"paths.run={tmp_path / 'cut'}"), resume=True)
    first, second = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        for folder in (whole.directory, tmp_path / "cut")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_module_must_log_what_is_monitored(train_run: Any) -> None:
    with pytest.raises(UserError, match=r"it logs .*val_loss; try monitor=val_loss"):
        train_run(*QUICK, f"{MODULE}.Autoencoder")
    with pytest.raises(UserError, match=r"it logs nothing; try self\.log\('val/loss', …\) in its validation_step"):
        train_run(*QUICK, f"{MODULE}.Silent", "callbacks.training_curves=null")


def test_a_checkpoint_of_a_module_is_not_applied_to_rows(train_run: Any) -> None:
    run = train_run(*QUICK, f"{MODULE}.Autoencoder", "monitor=val_loss")
    with pytest.raises(
        UserError, match=r"that of own_parts\.Autoencoder; try the options of that run with train=false start_from="
    ):
        load_run(run.directory)


def test_weights_start_from_another_run_as_far_as_they_fit(train_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = train_run(*QUICK)
    other = train_run(*QUICK, "data=wine", f"start_from={first.directory}", "model.freeze=[hidden.0]", "test=false")
    out = capsys.readouterr().out
    assert "1 of 4 tensors match; as they were drawn: hidden.0.linear.weight (8, 13) instead of (8, 4)" not in out
    assert "2 of 4 tensors match" in out or "3 of 4 tensors match" in out
    assert other.result["test"] == {}
    tested = train_run(*QUICK, f"start_from={first.directory / 'checkpoints' / 'best.ckpt'}", "train=false")
    assert tested.result["test"] == first.result["test"]
    assert tested.result["validation"] == pytest.approx(first.result["validation"])
    assert (tested.result["steps"], tested.result["ended"]) == (0, "not trained")
    with pytest.raises(UserError, match="must have all weights"):
        train_run(*QUICK, "data=wine", f"start_from={first.directory}", "train=false")


def test_frozen_parameters_stay_and_groups_have_rates_of_their_own(train_run: Any) -> None:
    words = ["model.freeze=['*.bias']", "+optimizer.groups=[{params: output, lr: 0.0}]", "optimizer=sgd"]
    run = train_run(*QUICK, *words)
    before = read_checkpoint(train_run(*QUICK, *words, "optimizer.lr=1e-12").directory / "checkpoints" / "last.ckpt")
    after = read_checkpoint(run.directory / "checkpoints" / "last.ckpt")
    same = [n for n, v in after["state_dict"].items() if torch.allclose(v, before["state_dict"][n], atol=1e-9)]
    assert same == ["model.hidden.0.linear.bias", "model.output.weight", "model.output.bias"]


@pytest.mark.parametrize("engine", ["fast", *slow("plain")])
def test_a_run_that_was_cut_off_within_an_epoch_of_own_loaders_goes_on_to_the_same_bits(
    train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    step = Autoencoder.training_step

    def broken(self: Autoencoder, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 9:  # the fifth of five batches
            raise ZeroDivisionError("planted")
        return step(self, batch, batch_idx)

    words = [*(word for word in WITHOUT_DATA if word != "logger=none"), "logger=csv"]
    words += [*PICTURES, f"{MODULE}.Autoencoder", "monitor=val_loss", f"engine={engine}"]
    words.append("data.batch_size=8")
    whole = train_run(*words, "trainer.max_epochs=3")
    monkeypatch.setattr(Autoencoder, "training_step", broken)
    words += ["trainer.max_epochs=3", "callbacks.checkpoints.every_seconds=0"]
    with pytest.raises(ZeroDivisionError):
        train_run(*words, directory=tmp_path / "cut")
    monkeypatch.setattr(Autoencoder, "training_step", step)
    assert read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"] == 9
    train(composed(*words, f"paths.run={tmp_path / 'cut'}"), resume=True)
    first, second = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole.directory, tmp_path / "cut")
    )
    assert first["global_step"] == second["global_step"] == 15
    # With the means of train/error over the epoch that was cut.
    assert "train/error" in str(table(whole.directory)[0])
    assert sorted(table(whole.directory)) == sorted(table(tmp_path / "cut"))
    assert all(torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in first["state_dict"])


@pytest.mark.parametrize(
    ("data", "embedding", "message"),
    [
        ("PictureData", "periodic", r"must be for rows of numbers, but each is of shape \(1, 4, 4\)"),
        ("NumberData", "piecewise", "must see all training rows, for its bins"),
        ("NumberData", "periodic", None),
    ],
)
def test_numbers_of_own_data_are_embedded_where_that_can_be(
    train_run: Any, data: str, embedding: str, message: str | None
) -> None:
    words = [*WITHOUT_DATA, "~data", f"+data._target_=own_parts.{data}", f"model.numeric_embedding={embedding}"]
    if message is None:
        assert train_run(*words).status["state"] == "finished"
        return
    with pytest.raises(UserError, match=message):
        train_run(*words)
