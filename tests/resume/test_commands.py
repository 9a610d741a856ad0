"""The commands that people type: train.py, a signal, and its resume."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparing import difference, doubled

WORDS = ["data=wine", "trainer.max_epochs=120", "callbacks.early_stopping.patience=1000", "callbacks.figures=null"]
WORDS += ["callbacks.checkpoints.every_n_epochs=1", "model.dropout=0.5", "trainer.log_every_n_steps=1"]


def start(root: Path, *words: str) -> "subprocess.Popen[str]":
    # A shell that starts a job in the background makes it ignore SIGINT, and its children inherit that.
    code = (
        "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root / "train.py"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), cwd=root,
    )  # fmt: skip


def run_of(logs: Path) -> Path:
    (directory,) = (logs / "runs").iterdir()
    return directory


def state(directory: Path) -> str:
    return str(json.loads((directory / "status.json").read_text())["state"])


@pytest.fixture(scope="module")
def straight(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("straight")
    process = start(root, *WORDS, f"paths.logs={logs}")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return run_of(logs)


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        pytest.param(signal.SIGTERM, 143, "stopped", id="SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, "stopped", id="Ctrl-C", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, "stopped", id="closed terminal", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, "running", id="SIGKILL"),
    ],
)
def test_a_run_that_was_ended_goes_on_to_the_same_result(
    root: Path, tmp_path: Path, straight: Path, number: signal.Signals, status: int, says: str
) -> None:
    process = start(root, *WORDS, f"paths.logs={tmp_path}")
    while not list(tmp_path.rglob("previous.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    directory = run_of(tmp_path)

    second = start(root, f"resume={directory}")  # while the first has it
    _, errors = second.communicate()
    assert second.returncode == 2
    assert f"in use by process {process.pid} on" in errors
    assert "Traceback" not in errors

    process.send_signal(number)
    process.communicate()
    assert process.returncode == status
    assert state(directory) == says

    resumed = start(root, f"resume={os.path.relpath(directory, root)}/")
    output, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert f"warning the directory was in use by process {process.pid}" in output or number != signal.SIGKILL
    assert state(directory) == "finished"
    assert difference(directory, straight) == ""
    assert doubled(directory) == {}

    again = start(root, f"resume={directory}")
    output, _ = again.communicate()
    assert again.returncode == 0
    assert output == "the run has finished (epoch limit): nothing is left to do\n"


def test_a_disk_that_runs_full_is_told_in_one_line_and_the_run_goes_on_later(root: Path, tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        words = [word for word in WORDS if "max_epochs" not in word]
        process = start(root, *words, "trainer.max_epochs=5000", "logger=none", f"paths.logs={tmp_path / 'logs'}")
        while not list(tmp_path.rglob("previous.ckpt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        filler = tmp_path / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))
        _, errors = process.communicate()
        assert process.returncode == 1
        (line,) = errors.splitlines()
        assert "could not be written (the disk is full), with 0.0 MB free; the one before it is as it was" in line
        directory = run_of(tmp_path / "logs")
        assert state(directory) == "failed"
        filler.unlink()
        resumed = start(root, f"resume={directory}", "trainer.max_time=00:00:00:02")
        _, errors = resumed.communicate()
        assert resumed.returncode == 0, errors
        assert state(directory) == "finished"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
