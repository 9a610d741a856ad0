import os
from pathlib import Path
from typing import Any

import pytest

from mlplab.runs.summary import describe_after, describe_metrics, logs_of, shortest

RESULT = {
    "ended": "converged", "epochs": 1, "steps": 1234, "best_epoch": 1,
    "validation": {"val/loss": 0.5, "val/mse": 12345.678}, "test": {"test/loss": None, "test/r2": -0.25},
}  # fmt: skip


def test_the_table_has_both_columns_and_counts_from_one() -> None:
    text = describe_after(RESULT, Path("logs/runs/x").absolute(), has_curves=True)
    assert "validation (epoch 1)" in text
    for shown in ("0.5000", "12,345.7", "-0.2500"):
        assert shown in text
    assert "ended   converged, after 1 epoch and 1,234 steps" in text
    assert text.splitlines()[-1].endswith("tensorboard --logdir logs")
    assert max(len(line) for line in text.splitlines()) <= 80


def test_without_tensorboard_no_command_for_it_is_shown() -> None:
    assert "curves" not in describe_after(RESULT, Path("logs/runs/x").absolute(), has_curves=False)


@pytest.mark.parametrize("run", ["runs/a", "sweeps/study/0"])
def test_the_logs_folder_of_a_run(run: str) -> None:
    assert logs_of(Path("/some/logs") / run) == Path("/some/logs")
    assert logs_of(Path("/some/place")) == Path("/some/place")


def test_paths_are_shown_as_one_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortest(tmp_path / "logs" / "runs") == os.path.join("logs", "runs")
    assert shortest(tmp_path.parent / "other") == os.path.join("..", "other")
    assert shortest(Path("/usr/bin/env")) == "/usr/bin/env"


def test_the_run_says_where_it_lies(train_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train_run("data=diabetes", "trainer.max_epochs=1", "callbacks=minimal", "logger=none")
    out = capsys.readouterr().out
    assert "data    diabetes: 10 features -> disease progression; 310/66/66 rows to train/validate/test" in out
    assert "model   MLP 10-128-64-1, 9,729 parameters" in out
    assert "rmse" in out


def test_names_of_scores_may_be_those_of_columns() -> None:
    assert "rmse_a [/b] [red]c" in describe_metrics({"test": {"rmse_a [/b] [red]c": 1.0}})
