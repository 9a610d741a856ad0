"""`python train.py …` in processes forked from one that has imported everything.

Each is a command of its own, with its command line, output and exit status; only the imports are spared.
"""

import contextlib
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import skip_unless_possible
from resume.killing import fork

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data=wine", "trainer.max_epochs=4", "callbacks=minimal", "trainer.log_every_n_steps=1"]
AFTER_EVERY_EPOCH = "callbacks.checkpoints.every_n_epochs=1"


@dataclass(frozen=True)
class Signal:
    """A signal that a process gives itself after so many updates, of whichever jobs.

    Or, where `to_command` says so, that the command is given once, by the first of its processes that comes so far.
    """

    number: int
    updates: int
    to_command: bool = False


@dataclass(frozen=True)
class Done:
    """What a command said: its exit status (negative where a signal ended it), and its output."""

    status: int
    stdout: str
    stderr: str


def launch(words: Sequence[str], folder: Path, at: Signal | None = None) -> Done:
    """Runs `python train.py -m …` with its logs in a folder, to its end."""
    return run_program("train.py", ["-m", *words, f"paths.logs={folder}"], folder, at)


class Running:
    """A program that runs in a folder."""

    def __init__(self, script: str, words: Sequence[str], folder: Path, at: Signal | None, **environment: str) -> None:
        skip_unless_possible(words)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.process = fork(_run, script, list(words), folder, at, environment)
        self.pid: int = self.process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def said(self) -> Done | None:
        """Its end, where it has ended."""
        return self.end() if self.process.exitcode is not None else None

    def end(self) -> Done:
        """Waits until it has ended."""
        self.process.join()
        streams = [self.folder / f"{self.pid}.{stream}" for stream in ("out", "err")]
        for stream in streams:
            stream.touch()  # it may have been killed before it had any
        done = Done(self.process.exitcode, *(stream.read_text() for stream in streams))
        for stream in streams:
            stream.unlink()
        return done


def start_program(script: str, words: Sequence[str], folder: Path, **environment: str) -> Running:
    """Starts a program of the project in a folder."""
    return Running(script, words, folder, None, **environment)


def run_program(script: str, words: Sequence[str], folder: Path, at: Signal | None = None, **environment: str) -> Done:
    """Runs a program of the project in a folder, to its end."""
    return Running(script, words, folder, at, **environment).end()


def _run(script: str, words: list[str], folder: Path, at: Signal | None, environment: dict[str, str]) -> None:
    for name in ("HYDRA_FULL_ERROR", "MLPLAB_TRACEBACK"):
        os.environ.pop(name, None)
    os.environ.update(environment)
    paths = [str((ROOT / script).parent), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:0] = [path for path in paths if path]  # as Python does with the folder of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.setsid()  # so that its workers can be found, and killed with it
    if "FULL_DISK" in environment:  # a process that is not forked from this one imports it by itself
        runpy.run_path(str(ROOT / "tests" / "harness" / "site" / "sitecustomize.py"))
    for descriptor, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{os.getpid()}.{stream}", os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    if at is not None:
        _after_updates(at)
    sys.argv = [str(ROOT / script), *words]
    status: Any = 3
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def _after_updates(at: Signal) -> None:
    from mlplab.engine.resumable_loops import ResumableFitLoop

    left, command = at.updates, os.getpid()

    def give() -> None:
        if not at.to_command:
            os.kill(os.getpid(), at.number)
            return
        with contextlib.suppress(FileExistsError):
            os.close(os.open("signalled", os.O_CREAT | os.O_EXCL))
            os.kill(command, at.number)

    original = ResumableFitLoop.safe_point

    def counted(loop: ResumableFitLoop) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            give()
        original(loop)

    # Each update is followed by a safe point. A counter in the learner would be an edit, and no job would be stacked.
    ResumableFitLoop.safe_point = counted  # type: ignore[method-assign]
