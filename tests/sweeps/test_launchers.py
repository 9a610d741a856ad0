"""Sweeps with processes of their own for their jobs, and on a terminal: as people start them."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import difference
from launching import ROOT, SMALL, launch

WORDS = [*SMALL, "sweep.name=study", "optimizer=sgd,adam", "seed=0,1"]
NAMES = ["0_optimizer-sgd_seed-0", "1_optimizer-sgd_seed-1", "2_optimizer-adam_seed-0", "3_optimizer-adam_seed-1"]
SUBMITTED = ["hydra/launcher=submitit_local", "hydra.launcher.n_jobs=2"]
AT_ONCE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
LONG = ["trainer.max_epochs=1000", "callbacks.early_stopping=null", "callbacks.checkpoints.every_seconds=0.2"]


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "-m", *words, f"paths.logs={folder}"]


def states(folder: Path) -> dict[str, str]:
    found = {}
    for path in (folder / "sweeps" / "study").glob("*/status.json"):
        text = path.read_text()
        found[path.parent.name] = json.loads(text)["state"] if text else "running"
    return found


def until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def two_train(folder: Path) -> bool:
    return len(list((folder / "sweeps" / "study").glob("*/checkpoints/last.ckpt"))) >= 2


@pytest.mark.slow  # its workers import all that a run needs
def test_several_jobs_at_once_come_to_the_same_and_share_the_cores(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    assert launch(WORDS, alone).status == 0
    folder = tmp_path / "at_once"
    words = [*WORDS, *AT_ONCE]
    done = launch(words, folder)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.count("] finished   ") == 4
    for name in NAMES:
        assert difference(folder / "sweeps" / "study" / name, alone / "sweeps" / "study" / name) == ""
    processes = {json.loads((folder / "sweeps" / "study" / n / "status.json").read_text())["process"] for n in NAMES}
    assert len(processes) == 2
    assert os.getpid() not in processes
    manifest = json.loads((folder / "sweeps" / "study" / NAMES[0] / "manifest.json").read_text())
    assert "train.py -m data=wine" in manifest["command"]  # as it was typed, not what started the worker
    assert not list((folder / "sweeps" / "study").glob("*/.stopping"))
    again = launch(words, folder)  # whatever launches it
    assert again.status == 0, again.stderr
    assert "4 jobs (4 finished), 0 to do" in again.stdout


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of the longer jobs, one after the other."""
    folder = tmp_path_factory.mktemp("never_stopped")
    assert launch([*WORDS, *LONG], folder).status == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_jobs_in_other_processes_save_when_the_sweep_is_stopped_or_killed(
    tmp_path: Path, never_stopped: Path, number: signal.Signals
) -> None:
    words = [*WORDS, *LONG, *AT_ONCE]
    folder = tmp_path / "at_once"
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            command(folder, *words), stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        until(lambda: two_train(folder))
        process.send_signal(number)
        process.wait(300)
    until(lambda: set(states(folder).values()) == {"stopped"})
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert (tmp_path / "errors").read_text().endswith("the same command goes on with the sweep\n")
    else:
        assert process.returncode == -number
    assert sorted(states(folder)) == NAMES[:2]
    done = subprocess.run(command(folder, *words), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert difference(folder / "sweeps" / "study" / name, never_stopped / "sweeps" / "study" / name) == ""


class Terminal:
    """A command on a terminal of 80 columns."""

    def __init__(self, arguments: list[str]) -> None:
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.execv(arguments[0], arguments)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.shown = b""

    def read(self, seconds: float = 0.05) -> bool:
        """Takes in what it has written; whether it goes on."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.descriptor, 65536)
            except OSError:  # it has ended
                return False
        return True

    def end(self) -> int:
        """Its exit status."""
        while self.read(0.5):
            pass
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], AT_ONCE, SUBMITTED], ids=["serial", "at once", "submitted"])
def test_on_a_terminal_the_bar_fits_and_ctrl_c_leaves_a_sweep_that_goes_on(tmp_path: Path, launcher: list[str]) -> None:
    terminal = Terminal(command(tmp_path, *WORDS, *LONG, *launcher))
    n = 2 if launcher else 1
    until(lambda: terminal.read() and len(list((tmp_path / "sweeps").glob("*/*/checkpoints/last.ckpt"))) >= n)
    until(lambda: terminal.read() and f"[0/4] {n} running, 0 failed".encode() in terminal.shown)
    os.write(terminal.descriptor, b"\x03")
    assert terminal.end() == 130
    text = terminal.shown.decode()
    assert text.rstrip().endswith("all of it is saved; the same command goes on with the sweep") or launcher
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\x1b\[[12][AK]", "\n", text))  # up, and erased
    lines = [line for line in re.split(r"[\r\n]+", plain) if "━" in line]
    assert lines
    assert [line for line in lines if len(line.removesuffix("^C")) > 80] == []
    assert "epoch 1/" not in plain  # no job prints a line of its own into it
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is there again
    assert set(states(tmp_path).values()) == {"stopped"}
