"""The event files: where they are, when they are written, and what is in them after a run."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from composing import composed
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlplab.loggers import tensorboard
from mlplab.loggers.tensorboard import CalmTensorBoardLogger, save_together
from mlplab.objectives.options import SCORES
from mlplab.training import train

LAYERS = ("hidden.0.linear", "hidden.1.linear", "output")


def events(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    accumulator.Reload()
    return accumulator


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tensorboard, "time", clock)
    return clock


def count_flushes(logger: CalmTensorBoardLogger, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    flushes: list[None] = []
    monkeypatch.setattr(logger.experiment, "flush", lambda: flushes.append(None))
    return flushes


# --- when files are written --------------------------------------------------------------------------------


def test_event_files_lie_right_in_the_directory(tmp_path: Path) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path / "tensorboard"))
    logger.log_metrics({"val/loss": 1.0}, step=1)
    logger.finalize("success")
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert file.name.startswith("events.out.tfevents.")


def test_saving_flushes_at_most_once_in_the_given_time(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path), every_seconds=2.0)
    flushes = count_flushes(logger, monkeypatch)
    counted = []
    for seconds in (0.0, 1.9, 0.1, 1.0, 0.9, 0.1):
        clock.now += seconds
        logger.save()
        counted.append(len(flushes))
    assert counted == [0, 0, 1, 1, 1, 2]
    monkeypatch.undo()
    logger.finalize("success")


def test_with_zero_seconds_every_save_flushes(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path), every_seconds=0.0)
    flushes = count_flushes(logger, monkeypatch)
    for _ in range(3):
        logger.save()
    assert len(flushes) == 3
    monkeypatch.undo()
    logger.finalize("success")


def test_a_point_can_be_read_as_soon_as_it_was_flushed(tmp_path: Path, clock: Clock) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path), every_seconds=2.0)
    logger.log_metrics({"val/loss": 0.5}, step=1)
    clock.now += 2.0
    logger.save()
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("val/loss")] == [(1, 0.5)]
    logger.finalize("success")


def test_the_end_writes_everything_however_short_the_run(tmp_path: Path, clock: Clock) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path), every_seconds=1e9)
    for step in range(3):
        logger.log_metrics({"val/loss": step / 2}, step=step)
        logger.save()
    logger.finalize("success")
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("val/loss")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_logging_goes_on_after_the_end_of_training(tmp_path: Path) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path))
    logger.log_metrics({"val/loss": 1.0}, step=1)
    logger.finalize("success")
    logger.log_metrics({"test/loss": 2.0}, step=1)
    logger.finalize("success")
    accumulator = events(tmp_path)
    assert {name: accumulator.Scalars(name)[0].value for name in accumulator.scalars.Keys()} == {
        "val/loss": 1.0,
        "test/loss": 2.0,
    }


def test_a_logger_that_was_never_used_writes_no_file(tmp_path: Path) -> None:
    CalmTensorBoardLogger(str(tmp_path)).finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_no_placeholder_metric_is_logged(tmp_path: Path) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path))
    logger.log_hyperparams({"lr": 0.1})
    logger.finalize("success")
    assert "hp_metric" not in events(tmp_path).scalars.Keys()


# --- what a run leaves -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two epochs on 1257 digits in batches of 32: 40 updates each, of which every tenth is logged."""
    directory = tmp_path_factory.mktemp("run")
    train(composed("trainer.max_epochs=2", "trainer.accelerator=cpu", "optimizer=sgd", f"paths.run={directory}"))
    return SimpleNamespace(directory=directory, result=json.loads((directory / "result.json").read_text()))


def test_a_run_leaves_its_curves_histograms_picture_and_configuration(run: SimpleNamespace) -> None:
    accumulator = events(run.directory / "tensorboard")
    scores = {f"{part}/{name}" for part in ("val", "test") for name in SCORES["classification"]}
    assert set(accumulator.scalars.Keys()) == {
        "lr",
        "train/loss",
        "train/loss_step",
        "train/accuracy",
        *(f"gradient_norm/{layer}" for layer in (*LAYERS, "all")),
        *scores,
        *(name.replace("val/", "val_best/") for name in scores if name.startswith("val/")),
    }
    tags = accumulator.Tags()
    assert set(tags["histograms"]) == {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}
    assert tags["images"] == ["test/confusion_matrix", "test/reliability"]
    assert tags["tensors"] == ["config/text_summary", "custom_scalars__config__"]

    steps = {name: [e.step for e in accumulator.Scalars(name)] for name in accumulator.scalars.Keys()}
    logged = [0, 2, 4, 8, 10, 20, 30, 40, 50, 60, 70, 80]
    assert steps["lr"] == steps["train/loss_step"] == steps["gradient_norm/all"] == logged
    assert len(steps["train/loss"]) == len(steps["val/accuracy"]) == 2
    assert steps["test/accuracy"] == [80]
    assert [e.step for e in accumulator.Histograms("output.weight")] == [0, 80]

    assert [e.value for e in accumulator.Scalars("lr")] == [pytest.approx(0.1, rel=1e-6)] * 12
    assert accumulator.Scalars("test/accuracy")[0].value == pytest.approx(run.result["test"]["test/accuracy"], rel=1e-6)

    (picture,) = accumulator.Images("test/confusion_matrix")
    with Image.open(run.directory / "figures" / "confusion_matrix.png") as file:
        assert (picture.width, picture.height) == file.size


def test_the_best_values_are_in_the_run_itself(run: SimpleNamespace) -> None:
    assert not [path for path in (run.directory / "tensorboard").iterdir() if path.is_dir()]
    accumulator = events(run.directory / "tensorboard")
    for name, value in run.result["validation"].items():
        (point,) = accumulator.Scalars(name.replace("val/", "val_best/"))
        assert point.value == pytest.approx(value, rel=1e-6)
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(accumulator.summary_metadata)


def test_a_regression_leaves_the_picture_of_predicted_against_true_values(train_run: Callable[..., Any]) -> None:
    run = train_run("data=diabetes", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    accumulator = events(run.directory / "tensorboard")
    assert accumulator.Tags()["images"] == ["test/predicted_against_true"]
    assert {"val/rmse", "test/r2"} <= set(accumulator.scalars.Keys())


def test_several_loggers_are_saved_at_once_and_of_them_those_that_are_due(tmp_path: Path) -> None:
    due, early = (CalmTensorBoardLogger(str(tmp_path / name), seconds) for name, seconds in (("a", 0.0), ("b", 1e9)))
    loggers: list[Any] = [due, early]
    for logger in loggers:
        logger.experiment.add_scalar("x", 1.0, 1)
    save_together(loggers)
    assert len(list((tmp_path / "a").iterdir())) == 1
    assert not list((tmp_path / "b").iterdir())
    save_together(loggers, all_of_them=True)
    assert len(list((tmp_path / "b").iterdir())) == 1
