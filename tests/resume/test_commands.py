"""The commands that people type: train.py, a signal, and its resume."""

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from comparing import difference, doubled
from launching import run_program, start_program

WORDS = ["data=wine", "trainer.max_epochs=40", "callbacks.early_stopping.patience=1000", "callbacks.figures=null"]
WORDS += ["callbacks.checkpoints.every_n_epochs=1", "model.dropout=0.5", "trainer.log_every_n_steps=1"]


def run_of(logs: Path) -> Path:
    (directory,) = (logs / "runs").iterdir()
    return directory


def state(directory: Path) -> str:
    return str(json.loads((directory / "status.json").read_text())["state"])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("straight")
    done = run_program("train.py", [*WORDS, f"paths.logs={logs}"], logs)
    assert done.status == 0, done.stderr
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
    tmp_path: Path, straight: Path, number: signal.Signals, status: int, says: str
) -> None:
    process = start_program("train.py", [*WORDS, f"paths.logs={tmp_path}"], tmp_path)
    while not list(tmp_path.rglob("previous.ckpt")):
        assert process.said() is None
        time.sleep(0.01)
    directory = run_of(tmp_path)

    second = run_program("train.py", [f"resume={directory}"], tmp_path)  # while the first has it
    assert second.status == 2
    assert f"in use by process {process.pid} on" in second.stderr
    assert "Traceback" not in second.stderr

    process.send_signal(number)
    assert process.end().status == status
    assert state(directory) == says

    resumed = run_program("train.py", [f"resume={directory.relative_to(tmp_path)}/"], tmp_path)
    assert resumed.status == 0, resumed.stderr
    assert f"warning process {process.pid} on" in resumed.stdout or number != signal.SIGKILL
    assert state(directory) == "finished"
    assert difference(directory, straight) == ""
    assert doubled(directory) == {}

    again = run_program("train.py", [f"resume={directory}"], tmp_path)
    assert again.status == 0
    assert again.stdout == "the run has already finished (epoch limit): nothing to do\n"


def test_a_disk_that_runs_full_is_told_in_one_line_and_the_run_goes_on_later(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        words = [word for word in WORDS if "max_epochs" not in word]
        words += ["trainer.max_epochs=5000", "logger=none", f"paths.logs={disk / 'logs'}"]
        process = start_program("train.py", words, tmp_path)
        while not list(disk.rglob("previous.ckpt")):
            assert process.said() is None
            time.sleep(0.01)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))
        done = process.end()
        assert done.status == 1
        (line,) = done.stderr.splitlines()
        assert "could not be written (the disk is full), with 0.0 MB free; the one before it is unchanged" in line
        directory = run_of(disk / "logs")
        assert state(directory) == "stopped"
        filler.unlink()
        resumed = run_program("train.py", [f"resume={directory}", "trainer.max_time=00:00:00:01"], tmp_path)
        assert resumed.status == 0, resumed.stderr
        assert state(directory) == "finished"
    finally:
        subprocess.run(["umount", disk], check=True)
