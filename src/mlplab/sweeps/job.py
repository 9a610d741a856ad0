"""One job of a sweep, in whichever process a launcher runs it."""

import contextlib
import gc
import math
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig, OmegaConf

from mlplab.cli.output import show_every_text
from mlplab.config.paths import shortest
from mlplab.config.resolvers import register_resolvers
from mlplab.errors import RunStopped, UserError
from mlplab.runs.files import require_ordinary
from mlplab.runs.lock import is_alive
from mlplab.runs.signals import HANDLED
from mlplab.runs.untrusted_config import read_yaml
from mlplab.sweeps.comparing import require_same
from mlplab.sweeps.states import read_result, read_state

STOPPING = ".stopping"
"""A file in the sweep's directory, while its processes are asked to stop: no job begins then."""


class JobOfSweep:
    """What a launcher calls for each job: the task, without what it says on the terminal.

    It carries to another process what the task needs there and Hydra does not bring.

    Args:
        task: what Hydra was given to run.
        root: the project's folder.
        directory: of the sweep.
    """

    def __init__(self, task: Callable[[Any], Any], root: Path, directory: Path) -> None:
        self.task, self.root, self.directory = task, root, directory
        self.argv, self.process, self.host = list(sys.argv), os.getpid(), socket.gethostname()
        # joblib's tracker of semaphores clears up after a launcher that was killed; nobody need hear of it.
        filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
        os.environ["PYTHONWARNINGS"] = ",".join(dict.fromkeys(filter(None, filters)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if os.getpid() == self.process:
            return
        register_resolvers(self.root)
        sys.argv[:] = self.argv  # a run notes the command that it was started with
        become_worker(self.process if self.host == socket.gethostname() else None)

    def __call__(self, config: DictConfig) -> Any:
        if (self.directory / STOPPING).exists():
            raise RunStopped("the sweep is being stopped", 128 + signal.SIGINT)
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            with_a_job(),
        ):
            try:
                return self.task(config)
            finally:
                gc.collect()  # figures and Trainers are cycles of few objects and many megabytes


class Worker:
    """What this process is as one that a launcher has started: it outlives the launcher by no more than a step."""

    def __init__(self) -> None:
        self.has_job = False
        self.launcher: int | None = None

    @property
    def is_orphan(self) -> bool:
        """Returns whether the process that started this one has died."""
        return self.launcher is not None and os.getppid() != self.launcher

    def end_with_launcher(self, launcher: int | None) -> None:
        """From now on, the process ends when the one that started it has died, and has nothing to say then.

        Args:
            launcher: that process, where it is known; it may have died while this one imported.
        """
        if self.launcher is None:
            self.launcher = os.getppid()
            if launcher is not None and not is_alive(launcher):
                self.launcher = launcher
            sys.stderr = _Heard(sys.stderr, self)
            threading.Thread(target=self._watch, name="launcher", daemon=True).start()

    def _watch(self) -> None:
        while not self.is_orphan:
            time.sleep(1.0)
        if not self.has_job:
            os._exit(128 + signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # which a job answers by finishing its step and saving

    @contextlib.contextmanager
    def with_a_job(self) -> Iterator[None]:
        """While a job is in hand; none begins for a launcher that has died."""
        self.has_job = True
        if self.is_orphan:
            os._exit(128 + signal.SIGTERM)
        try:
            yield
        finally:
            self.has_job = False
            if self.is_orphan:  # else it would take the next job from the launcher's queue
                os._exit(128 + signal.SIGTERM)


class _Heard:
    """Standard error of a worker, while there is a launcher: the queues between them break where that has died."""

    def __init__(self, stream: TextIO, worker: Worker) -> None:
        self._stream, self._worker = stream, worker

    def write(self, text: str) -> int:
        return len(text) if self._worker.is_orphan else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_WORKER = Worker()
with_a_job = _WORKER.with_a_job


def become_worker(launcher: int | None = None) -> None:
    """From now on, this process runs jobs for the one that started it, says nothing, and ends with it."""
    show_every_text()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    # The terminal sends Ctrl-C to every process: a job in hand notices it, an idle worker has nothing to say.
    for number in HANDLED:
        with contextlib.suppress(ValueError):
            if number == signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)
            elif callable(signal.getsignal(number)):  # the launcher's own, in a process forked from it
                signal.signal(number, signal.SIG_DFL)
    _WORKER.end_with_launcher(launcher)


OF_LOGGERS = ("csv", "tensorboard")
"""Folders of a job that loggers make."""


def begun_before(directory: Path, config: DictConfig) -> bool:
    """Whether the job in a directory has begun in an earlier launch of its sweep, and goes on.

    What is left of a job that was refused before it began is cleared away.

    Raises:
        UserError: it was begun with another configuration, or its directory holds links.
    """
    has_status = (directory / "status.json").exists()
    if not has_status and not any((directory / name).exists() for name in OF_LOGGERS):
        return False
    require_ordinary(directory)  # what is cleared away would lie where a link leads
    if not (directory / "manifest.json").is_file() or not (directory / ".hydra" / "config.yaml").is_file():
        _clear(directory)
        return False
    then = OmegaConf.to_container(read_yaml(directory / ".hydra" / "config.yaml"), resolve=False)
    require_same(then, OmegaConf.to_container(config, resolve=False), directory.name)
    return True


def objective_of_finished(directory: Path) -> float | None:
    """What a job has come to that needs not be run again; None where it must be."""
    if read_state(directory).name not in ("finished", "pruned"):
        return None
    objective = read_result(directory).get("objective")
    return float(objective) if isinstance(objective, int | float) else math.nan


def _clear(directory: Path) -> None:
    """Takes away what a job writes before its manifest.

    Raises:
        UserError: there is more, of a job that had one.
    """
    status = directory / "status.json"
    # Loggers are there before the directory is claimed, and while its status is empty nothing has been learned.
    has_begun = status.exists() and status.stat().st_size > 0
    later = [directory / name for name in ("result.json", "history.jsonl", *(OF_LOGGERS if has_begun else ()))]
    more = [path for path in [*later, *directory.glob("checkpoints/*.ckpt")] if path.exists()]
    if more:
        raise UserError(
            "a job that goes on must have its manifest.json and .hydra/config.yaml",
            f"{shortest(directory)} has {more[0].name} and not both of them",
            f"rm -r {shortest(directory)}, to let it begin again",
        )
    for name in ("status.json", ".lock", "train.log", "data.json"):
        (directory / name).unlink(missing_ok=True)
    for name in OF_LOGGERS:
        shutil.rmtree(directory / name, ignore_errors=True)
    for pattern in (".hydra/*.yaml", ".*.tmp", "*/.*.tmp"):
        for path in directory.glob(pattern):
            path.unlink()
    for name in (".hydra", "checkpoints", "figures"):
        with contextlib.suppress(OSError):
            (directory / name).rmdir()
