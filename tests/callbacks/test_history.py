"""history.jsonl: each validation and epoch once, however often the run was cut off."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlplab.callbacks import History
from mlplab.runs.layout import HISTORY
from mlplab.runs.run_reading import read_history

QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=3"]


def test_a_line_for_each_epoch_and_each_validation(train_run: Callable[..., Any]) -> None:
    run = train_run(*QUICK, "trainer.val_check_interval=2")
    lines = read_history(run.directory)
    assert [(line["epoch"], line["step"], "train/loss" in line) for line in lines] == [
        (1, 2, False), (1, 4, False), (1, 4, True),
        (2, 6, False), (2, 8, False), (2, 8, True),
        (3, 10, False), (3, 12, False), (3, 12, True),
    ]  # fmt: skip
    validations = [line for line in lines if "train/loss" not in line]
    assert all({"val/loss", "val/accuracy"} < set(line) for line in validations)
    best = min(validations, key=lambda line: line["val/loss"])
    assert best["val/loss"] == pytest.approx(run.result["validation"]["val/loss"])
    assert best["step"] == run.result["best_step"]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= run.status["seconds"]["fit"]


def test_looking_into_validation_takes_no_time_of_training(
    train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0

    def tick() -> float:
        return clock

    monkeypatch.setattr("mlplab.callbacks.history.time.monotonic", tick)
    from mlplab.learner import Learner

    step, validation = Learner.training_step, Learner.validation_step

    def train(*arguments: Any, **options: Any) -> Any:
        nonlocal clock
        clock += 1.0
        return step(*arguments, **options)

    def validate(*arguments: Any, **options: Any) -> Any:
        nonlocal clock
        clock += 100.0
        return validation(*arguments, **options)

    monkeypatch.setattr(Learner, "training_step", train)
    monkeypatch.setattr(Learner, "validation_step", validate)
    run = train_run(*QUICK)
    assert [line["seconds"] for line in read_history(run.directory)] == [4.0, 4.0, 8.0, 8.0, 12.0, 12.0]


class Measured:
    """What History asks of a Trainer."""

    def __init__(self, metrics: dict[str, float], *, epoch: int = 0) -> None:
        self.callback_metrics = {name: torch.tensor(value) for name, value in metrics.items()}
        self.current_epoch, self.global_step = epoch, 4 * (epoch + 1)
        self.sanity_checking, self.is_global_zero = False, True


def validated(history: History, metrics: dict[str, float], epoch: int = 0) -> None:
    trainer: Any = Measured(metrics, epoch=epoch)
    module: Any = None
    history.on_validation_start(trainer, module)
    history.on_validation_end(trainer, module)


@contextmanager
def training(directory: Path, lines: int = 0) -> Iterator[History]:
    """A run that goes on from a state that knows of so many lines."""
    history = History(directory)
    history.load_state_dict({"lines": lines})
    trainer: Any = Measured({})
    module: Any = None
    history.on_train_start(trainer, module)
    yield history
    history.on_train_end(trainer, module)


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    with training(tmp_path) as history:
        validated(history, {"val/loss": math.nan, "val/rmse": math.inf, "val/r2": -1.5, "train/loss": 2.0})
    (line,) = (tmp_path / HISTORY).read_text().splitlines()
    content = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (content["val/loss"], content["val/rmse"], content["val/r2"]) == (None, None, -1.5)
    assert "train/loss" not in content


def test_what_came_after_the_state_that_a_run_goes_on_from_is_dropped(tmp_path: Path) -> None:
    with training(tmp_path) as history:
        for epoch in range(4):
            validated(history, {"val/loss": 1.0}, epoch)
            if epoch == 1:
                saved = history.state_dict()
    with training(tmp_path, saved["lines"]) as again:
        validated(again, {"val/loss": 2.0}, 2)
    assert [(line["epoch"], line["val/loss"]) for line in read_history(tmp_path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert again.state_dict() == {"lines": 3}


def test_a_line_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    with training(tmp_path) as history:
        validated(history, {"val/loss": 1.0})
    lines = history.state_dict()["lines"]
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"epoch": 2, "st')
    assert len(read_history(tmp_path)) == 1
    with training(tmp_path, lines) as again:
        validated(again, {"val/loss": 2.0}, 1)
    assert [line["epoch"] for line in read_history(tmp_path)] == [1, 2]


def test_lines_that_a_crash_has_lost_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text('{"epoch": 1, "seconds": 2.5}\n')
    with training(tmp_path, 5) as history:
        validated(history, {"val/loss": 1.0}, 5)
    assert history.state_dict() == {"lines": 2}
    assert read_history(tmp_path)[-1]["seconds"] >= 2.5


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(100))
def test_no_content_makes_a_run_or_its_reader_fail(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HISTORY).write_bytes(content)
    assert all(isinstance(line, dict) for line in read_history(tmp_path))
    with training(tmp_path, 3) as history:
        validated(history, {"val/loss": 1.0})
    assert b'"val/loss": 1.0' in (tmp_path / HISTORY).read_bytes()


def test_reading_where_there_is_none(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    history = History(tmp_path)
    trainer: Any = Measured({"train/loss": 1.0})
    trainer.is_global_zero = False
    module: Any = None
    history.on_train_start(trainer, module)
    validated(history, {"val/loss": 1.0})
    history.on_train_epoch_end(trainer, module)
    assert not (tmp_path / HISTORY).exists()


def test_a_checkpoint_finds_in_the_file_all_lines_that_it_counts(
    train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlplab.callbacks.history.EVERY_SECONDS", 1e9)
    counted: list[tuple[int, int]] = []
    state_dict = History.state_dict

    def count(self: History) -> dict[str, Any]:
        counted.append((state_dict(self)["lines"], len(read_history(self.path.parent))))
        return state_dict(self)

    monkeypatch.setattr(History, "state_dict", count)
    run = train_run(*QUICK, "callbacks.checkpoints.every_n_epochs=1")
    assert {lines for lines, _ in counted} == {2, 4, 6}
    assert all(lines == written for lines, written in counted)
    assert len(read_history(run.directory)) == 6
