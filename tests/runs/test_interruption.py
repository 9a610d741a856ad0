"""Signals sent to a real process that trains."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

FOREVER = ["trainer.max_epochs=-1", "callbacks=minimal", "callbacks.early_stopping.patience=1000000", "logger=none"]


def start(root: Path, logs: Path, *words: str) -> tuple["subprocess.Popen[str]", Path]:
    """A process that has been training for at least one epoch, and its run directory."""
    # A shell that starts a job in the background makes it ignore SIGINT, and its children inherit that.
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
         "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
         str(root / "train.py"), *words, *FOREVER, "callbacks.checkpoints.every_seconds=0", f"paths.logs={logs}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    while not (found := list(logs.rglob("best.ckpt"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process, found[0].parents[1]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_ends_the_run_with_everything_saved(
    root: Path, tmp_path: Path, number: signal.Signals, name: str
) -> None:
    process, directory = start(root, tmp_path)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert errors.count("\n") == 1
    assert f"stopped by {name}" in errors
    status, result = (json.loads((directory / f"{part}.json").read_text()) for part in ("status", "result"))
    assert status["state"] == "stopped"
    assert result["ended"] == "stopped"
    assert result["validation"]["val/accuracy"] > 0.3
    assert result["test"] == {}
    last = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == result["steps"] == status["step"]


def test_a_second_ctrl_c_ends_it_at_once(root: Path, tmp_path: Path) -> None:
    process, directory = start(root, tmp_path, "data.batch_size=1", "trainer.val_check_interval=50")
    process.send_signal(signal.SIGSTOP)  # so that both signals wait for the process together
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert json.loads((directory / "status.json").read_text())["state"] == "stopped"


def test_ctrl_c_ends_a_whole_sweep(root: Path, tmp_path: Path) -> None:
    process, directory = start(root, tmp_path, "-m", "seed=0,1")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert [path for path in directory.parent.iterdir() if path.is_dir()] == [directory]
