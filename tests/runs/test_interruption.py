"""Signals sent to a real process that trains."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from launching import Running, start_program
from slow_cases import slow

FOREVER = ["trainer.max_epochs=-1", "callbacks=minimal", "callbacks.early_stopping.patience=1000000", "logger=none"]


def start(folder: Path, *words: str) -> tuple[Running, Path]:
    """A process that has been training for at least one epoch, and its run directory."""
    words = (*words, *FOREVER, "callbacks.checkpoints.every_seconds=0", f"paths.logs={folder}")
    process = start_program("train.py", words, folder)
    while not (found := list(folder.rglob("best.ckpt"))):
        assert process.said() is None
        time.sleep(0.02)
    return process, found[0].parents[1]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "SIGTERM"),
        pytest.param(signal.SIGHUP, "SIGHUP", marks=pytest.mark.slow),
        *slow((signal.SIGINT, "Ctrl-C")),
    ],
)
def test_a_signal_ends_the_run_with_everything_saved(tmp_path: Path, number: signal.Signals, name: str) -> None:
    process, directory = start(tmp_path)
    process.send_signal(number)
    done = process.end()
    assert done.status == 128 + number, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"stopped by {name}" in done.stderr
    status, result = (json.loads((directory / f"{part}.json").read_text()) for part in ("status", "result"))
    assert status["state"] == "stopped"
    assert result["ended"] == "stopped"
    assert result["validation"]["val/accuracy"] > 0.3
    assert result["test"] == {}
    last = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == result["steps"] == status["step"]


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    process, directory = start(tmp_path, "data.batch_size=1", "trainer.val_check_interval=50")
    process.send_signal(signal.SIGSTOP)  # so that both signals wait for the process together
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    done = process.end()
    assert done.status == 130
    assert "Traceback" not in done.stderr
    assert json.loads((directory / "status.json").read_text())["state"] == "stopped"


def test_ctrl_c_ends_a_whole_sweep(tmp_path: Path) -> None:
    process, directory = start(tmp_path, "-m", "seed=0,1")
    process.send_signal(signal.SIGINT)
    assert process.end().status == 130
    assert [path for path in directory.parent.iterdir() if path.is_dir()] == [directory]
