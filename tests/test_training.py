"""A whole run: what it learns, what it leaves behind, and that watching it changes nothing."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing import composed
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from slow_cases import slow, slow_but
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mlplab import training
from mlplab.building import build_data
from mlplab.config.paths import shortest
from mlplab.errors import RunFailed, UserError
from mlplab.learner import Learner
from mlplab.runs.checkpoint import load_predictor

QUICK = ["trainer.max_epochs=2", "callbacks=minimal", "logger=none"]


def last_weights(run: Any) -> dict[str, torch.Tensor]:
    return torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]  # type: ignore[no-any-return]


def events(run: Any) -> EventAccumulator:
    return EventAccumulator(str(run.directory / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
def test_the_default_run_reaches_96_percent_on_digits(train_run: Any, seed: int) -> None:
    run = train_run(f"seed={seed}", "callbacks=minimal", "logger=none")
    assert run.result["test"]["test/accuracy"] >= 0.96


@pytest.mark.parametrize("profiler", ["simple", pytest.param("advanced", marks=pytest.mark.slow)])
def test_a_profile_is_shown_and_kept(train_run: Any, capsys: pytest.CaptureFixture[str], profiler: str) -> None:
    run = train_run("debug=profile", "data=iris", f"trainer.profiler={profiler}", "callbacks=minimal", "logger=none")
    said, folder = capsys.readouterr().out, run.directory / "profile"
    assert f"profile {profiler.capitalize()}Profiler, in {shortest(folder)}" in said
    assert ("run_training_batch" in said) is (profiler == "simple")
    assert "run_training_batch" in (folder / "fit-profile.txt").read_text()


@pytest.mark.parametrize(("debug", "steps"), [("one_batch", 1), *slow(("overfit", 4))])
def test_what_helps_to_find_faults_runs(train_run: Any, debug: str, steps: int) -> None:
    limit = ["trainer.max_epochs=2"] if debug == "overfit" else []
    assert train_run(f"debug={debug}", "data=iris", *limit, "logger=none").result["steps"] == steps


def test_a_run_leaves_the_whole_directory(train_run: Any) -> None:
    run = train_run("trainer.max_epochs=3", "seed=2")
    names = {str(path.relative_to(run.directory)) for path in run.directory.rglob("*") if path.is_file()}
    expected = {
        ".hydra/config.yaml",
        "manifest.json",
        "status.json",
        "result.json",
        "train.log",
        "history.jsonl",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        ".lock",
        "figures/confusion_matrix.png",
        "figures/reliability.png",
    }
    assert expected <= names
    told = [line.split("mlplab: ")[1] for line in (run.directory / "train.log").read_text().splitlines()]
    assert told[0].startswith("data    digits: 64 features -> 10 classes of digit")
    assert told[1] == "model   MLP 64-128-64-10, 17,226 parameters"
    assert [line for line in told if line.startswith("epoch 1, step 40: val/loss ")]
    assert told[-3] == "ended   epoch limit, after 3 epochs and 120 steps"
    assert told[-2].startswith("best, in epoch 3: val/loss ")
    assert told[-1].startswith("test: test/loss ")
    assert all("tfevents" in name for name in names - expected)
    manifest = json.loads((run.directory / "manifest.json").read_text())
    assert manifest["seed"] == 2
    assert manifest["parameters"] == 17226
    assert len(manifest["data"]["fingerprint"]) == 64
    assert manifest["data"]["rows"] == {"train": 1257, "val": 270, "test": 270}
    assert manifest["versions"]["torch"].startswith("2.")
    assert manifest["threads"] == 1
    assert manifest["waiting_threads"] == "passive"
    assert OmegaConf.load(run.directory / ".hydra" / "config.yaml").seed == 2


def test_status_and_result_agree_on_how_it_ended(train_run: Any) -> None:
    run = train_run(*QUICK)
    assert run.status["state"] == "finished"
    assert run.status["reason"] == run.result["ended"] == "epoch limit"
    assert (run.status["epoch"], run.status["step"]) == (run.result["epochs"], run.result["steps"]) == (2, 80)
    assert {"fit", "test"} <= run.status["seconds"].keys()
    assert run.objective == run.result["objective"] == run.result["validation"]["val/loss"]


class Ending(Callback):
    """Ends the run, for a reason of its own."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = True


class Telling(Ending):
    """Ends the run, and says why."""

    stop_reason = "the weights are small enough"


EARLY_STOPPING = "lightning.pytorch.callbacks.EarlyStopping"


@pytest.mark.parametrize(
    ("overrides", "ended"),
    [
        (["trainer.max_epochs=1"], "epoch limit"),
        *slow((["trainer.max_steps=7"], "step limit"), (["trainer.max_time=00:00:00:00"], "time limit")),
        (["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=10"], "converged"),
        # A second one beside the project's.
        ([f"+callbacks.mine={{_target_: {EARLY_STOPPING}, monitor: val/f1, min_delta: 9, patience: 1}}"], "converged"),
        ([f"+callbacks.mine._target_={__name__}.Ending"], "stopped by a callback"),
        ([f"+callbacks.mine._target_={__name__}.Telling"], "the weights are small enough"),
    ],
)
def test_the_result_says_why_it_ended(train_run: Any, overrides: list[str], ended: str) -> None:
    run = train_run("callbacks=minimal", "logger=none", *overrides)
    assert run.result["ended"] == ended
    assert run.result["test"]["test/accuracy"] >= 0


def test_convergence_is_patience_epochs_without_improvement(train_run: Any) -> None:
    overrides = ["callbacks.early_stopping.patience=3", "callbacks.early_stopping.min_delta=0.02"]
    run = train_run("logger=csv", "callbacks=minimal", *overrides)
    lines = (run.directory / "csv" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/loss")
    losses = [float(value) for line in lines[1:] if (value := line.split(",")[column])]
    best, waited, stop = math.inf, 0, None
    for epoch, loss in enumerate(losses):
        best, waited = (loss, 0) if loss < best - 0.02 else (best, waited + 1)
        if waited == 3:
            stop = epoch
            break
    assert run.result["ended"] == "converged"
    assert run.result["epochs"] == len(losses) == (stop or -1) + 1
    assert run.result["best_epoch"] == losses.index(min(losses)) + 1
    assert run.result["best_step"] == 40 * run.result["best_epoch"]
    assert run.objective == pytest.approx(min(losses), rel=1e-6)


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of the quick run with nothing besides."""
    directory = tmp_path_factory.mktemp("unwatched")
    training.train(composed(*QUICK, f"paths.run={directory}"))
    return last_weights(SimpleNamespace(directory=directory))


def test_the_same_command_gives_the_same_weights_bit_for_bit(
    train_run: Any, unwatched: dict[str, torch.Tensor]
) -> None:
    again = last_weights(train_run(*QUICK))
    assert all(torch.equal(unwatched[name], again[name]) for name in unwatched)


def test_another_seed_gives_other_weights(train_run: Any, unwatched: dict[str, torch.Tensor]) -> None:
    other = last_weights(train_run(*QUICK, "seed=1"))
    assert not any(torch.equal(unwatched[name], other[name]) for name in other if name.endswith("weight"))


@pytest.mark.parametrize(
    "watched",
    [
        ["logger=many", "callbacks=default", "callbacks.histograms.every_n_epochs=1", "trainer.log_every_n_steps=1"],
        *slow(["trainer.val_check_interval=0.2"], ["trainer.limit_val_batches=0"]),
        *slow(["trainer.num_sanity_val_steps=2"], ["callbacks.checkpoints.every_seconds=0"]),
    ],
)
def test_what_is_watched_does_not_change_what_is_learned(
    train_run: Any, unwatched: dict[str, torch.Tensor], watched: list[str]
) -> None:
    seen = last_weights(train_run(*QUICK, *watched))
    assert all(torch.equal(unwatched[name], seen[name]) for name in unwatched)


def test_random_numbers_drawn_elsewhere_do_not_change_what_is_learned(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, unwatched: dict[str, torch.Tensor]
) -> None:
    build = training.build_loggers
    torch.rand(17)
    monkeypatch.setattr(training, "build_loggers", lambda config: (torch.rand(5), build(config))[1])
    disturbed = last_weights(train_run(*QUICK))
    assert all(torch.equal(unwatched[name], disturbed[name]) for name in unwatched)


@pytest.mark.parametrize(
    "data", ["gaussians", *slow("breast_cancer", "circles", "spirals", "plane")]
)  # others train elsewhere
def test_every_data_set_trains(train_run: Any, data: str) -> None:
    run = train_run(*QUICK, f"data={data}")
    assert math.isfinite(run.objective)
    assert all(math.isfinite(value) for value in run.result["test"].values())


@pytest.mark.parametrize(
    "optimizer",
    slow_but(
        {"sgd", "adadelta", "muon", "lbfgs"},  # Adam and AdamW learn elsewhere
        sorted(path.stem for path in (Path(__file__).parents[1] / "conf" / "optimizer").glob("*.yaml")),
    ),
)
def test_every_optimizer_learns_with_its_defaults(train_run: Any, optimizer: str) -> None:
    # L-BFGS is meant for all rows at once: on mini-batches its curvature is noise, and some machines see it diverge.
    epochs, batches = (10, ["data.batch_size=full"]) if optimizer == "lbfgs" else (30, [])
    run = train_run(f"trainer.max_epochs={epochs}", *QUICK[1:], "data=wine", f"optimizer={optimizer}", *batches)
    assert run.result["validation"]["val/loss"] < 0.7  # guessing: ln 3 = 1.1


@pytest.mark.parametrize("scheduler", ["warmup_cosine", "plateau", *slow("step", "exponential", "cosine", "one_cycle")])
def test_every_schedule_changes_the_learning_rate_in_the_curve(train_run: Any, scheduler: str) -> None:
    extra = {"step": ["scheduler.step_size=1"], "plateau": ["scheduler.patience=0", "scheduler.threshold=10"]}
    run = train_run("trainer.max_epochs=4", "callbacks=minimal", f"scheduler={scheduler}", *extra.get(scheduler, []))
    rates = [event.value for event in events(run).Scalars("lr")]
    assert len(rates) == 20  # at 0, 2, 4, 8, and every ten steps
    assert len(set(rates)) > 1
    assert max(rates) <= 0.001 * (1 + 1e-6)


def test_curves_histograms_image_and_configuration_are_in_tensorboard(train_run: Any) -> None:
    run = train_run("trainer.max_epochs=3")
    log = events(run)
    scalars = set(log.Tags()["scalars"])
    layers = ["hidden.0.linear", "hidden.1.linear", "output"]
    assert {"train/loss", "train/loss_step", "val/loss", "val/accuracy", "val/f1", "val/auroc", "lr"} <= scalars
    assert {f"gradient_norm/{layer}" for layer in [*layers, "all"]} <= scalars
    assert {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")} <= set(log.Tags()["histograms"])
    assert "test/confusion_matrix" in log.Tags()["images"]
    assert "config/text_summary" in log.Tags()["tensors"]
    assert [event.step for event in log.Scalars("train/loss_step")] == [0, 2, 4, 8, *range(10, 121, 10)]
    assert len(log.Scalars("val/loss")) == len(log.Scalars("train/loss")) == 3


def test_regression_is_reported_in_the_targets_own_unit(train_run: Any) -> None:
    run = train_run("trainer.max_epochs=20", "callbacks=default", "logger=none", "data=diabetes")
    assert 40 < run.result["test"]["test/rmse"] < 90  # the target runs from 25 to 346
    assert run.result["test"]["test/mse"] == pytest.approx(run.result["test"]["test/rmse"] ** 2, rel=1e-4)
    assert (run.directory / "figures" / "predicted_against_true.png").stat().st_size > 5000


def test_the_test_part_is_judged_with_the_checkpoint_that_validation_chose(train_run: Any, make_config: Any) -> None:
    overrides = ["data=breast_cancer", "optimizer.lr=0.05", "callbacks.early_stopping.patience=8"]
    run = train_run("callbacks=minimal", "logger=none", *overrides)
    assert run.result["best_epoch"] < run.result["epochs"]
    data = build_data(make_config(*overrides))
    dataset = data.source()
    data.setup()
    features, targets = data.part("test")
    predictor = load_predictor(run.directory / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        probabilities = torch.softmax(predictor.model(features), dim=1)
        from_raw = predictor(torch.as_tensor(dataset.features[:5]))
    accuracy = (probabilities.argmax(1) == targets).double().mean().item()
    assert accuracy == pytest.approx(run.result["test"]["test/accuracy"], abs=1e-6)
    assert predictor.task.class_names == ("malignant", "benign")
    assert from_raw.sum(dim=1) == pytest.approx(torch.ones(5), abs=1e-5)


def test_the_objective_follows_the_monitored_value(train_run: Any) -> None:
    run = train_run(*QUICK, "monitor=val/accuracy", "mode=max")
    assert run.objective == run.result["validation"]["val/accuracy"]


@pytest.mark.parametrize("overrides", [["trainer.max_steps=3"], *slow(["trainer.limit_val_batches=0"], ["~callbacks"])])
def test_a_run_without_validation_in_training_is_still_tested(train_run: Any, overrides: list[str]) -> None:
    run = train_run(*QUICK, *overrides)
    assert run.status["state"] == "finished"
    assert "test/loss" in run.result["test"]


def test_divergence_is_a_failed_run_with_advice(train_run: Any, tmp_path: Path) -> None:
    with pytest.raises(
        RunFailed, match=r"diverged: loss nan and gradient norm nan in epoch 1, step 3; try a smaller opt"
    ):
        train_run(*QUICK, "optimizer=sgd", "optimizer.lr=1e6")
    status, result = (json.loads((tmp_path / "run_0" / f"{name}.json").read_text()) for name in ("status", "result"))
    assert status["state"] == "failed"
    assert status["reason"].startswith("diverged")
    assert result["objective"] is None
    assert result["test"] == {}


def test_an_error_in_training_is_in_the_status_and_the_log(train_run: Any, monkeypatch: Any, tmp_path: Path) -> None:
    def broken(self: Any, batch: Any, batch_idx: int) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Learner, "training_step", broken)
    with pytest.raises(ZeroDivisionError):
        train_run(*QUICK)
    status = json.loads((tmp_path / "run_0" / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", "ZeroDivisionError: planted")
    assert "Traceback" in (tmp_path / "run_0" / "train.log").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+model.width=3"], "model must be given options that mlplab.models.MLP takes"),
        (["+optimizer.momentun=3"], "optimizer must be given options that torch.optim.Adam takes"),
        (["+trainer.max_epoch=3"], r"trainer.max_epoch=3; try trainer.max_epochs"),
        (["+data.path=x"], "data must be given options"),
        (["model._target_=mlplab.models.Nothing"], "model._target_ must be importable"),
        (["loss=binary_cross_entropy"], "must have two classes, but the data have 10"),
        (["loss=cross_entropy", "loss.class_weights=[1,2]"], "one number for each of the 10 classes"),
        (["trainer=gpu"], "must find a GPU"),
        (["+loss.delta=1"], "loss=cross_entropy must be given one of class_weights, label_smoothing"),
        (["data=diabetes", "loss=mse", "+loss.class_weights=balanced"], "loss=mse must be given no options at all"),
        (["scheduler=cosine", "+scheduler.T_max=3"], "scheduler=cosine must be given one of min_lr"),
        (["+scheduler.gamma=0.5"], "scheduler=none must be given no options at all"),
        (["data=iris", "data.test_fraction=0.01"], "each part must have a row of each of the 3 classes"),
    ],
)
def test_refusals_that_need_more_than_the_configuration_claim_no_directory(
    train_run: Any, tmp_path: Path, overrides: list[str], message: str
) -> None:
    if overrides == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=message):
        train_run(*QUICK, *overrides)
    assert list((tmp_path / "run_0").iterdir()) == []


def test_a_second_run_in_the_same_directory_is_refused(train_run: Any) -> None:
    run = train_run(*QUICK)
    before = (run.directory / "status.json").read_bytes()
    with pytest.raises(UserError, match="a run must have a directory of its own"):
        train_run(*QUICK, directory=run.directory)
    assert (run.directory / "status.json").read_bytes() == before


class Wide(nn.Module):
    """A network of another class, as conf/ would name it."""

    def __init__(self, in_features: int, out_features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, width), nn.Tanh(), nn.Linear(width, out_features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)  # type: ignore[no-any-return]


def test_a_network_of_ones_own_is_rebuilt_from_its_own_run_alone(
    train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlplab.models

    monkeypatch.setattr(mlplab.models, "Wide", Wide, raising=False)
    model = "model={_target_:mlplab.models.Wide,width:20}"
    run = train_run(*QUICK, "~model", f"+{model}")
    checkpoint = run.directory / "checkpoints" / "best.ckpt"
    assert load_predictor(checkpoint).task.n_classes == 10
    elsewhere = shutil.copy(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="code that a checkpoint names must be named in conf/model"):
        load_predictor(Path(elsewhere))
    assert load_predictor(Path(elsewhere), model=Wide(64, 10, 20)).task.n_classes == 10
