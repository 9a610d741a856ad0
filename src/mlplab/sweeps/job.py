"""One job of a sweep, in whichever process a launcher runs it."""

import contextlib
import gc
import math
import os
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
from mlplab.config.differing import extended
from mlplab.config.paths import shortest
from mlplab.config.resolvers import register_resolvers
from mlplab.errors import RunStopped, UserError
from mlplab.runs.directory import never_began
from mlplab.runs.files import require_ordinary
from mlplab.runs.layout import CONFIG, MANIFEST, STATUS
from mlplab.runs.lock import is_alive
from mlplab.runs.run_reading import found_before, read_result, read_state
from mlplab.runs.signals import HANDLED, name_of
from mlplab.runs.untrusted_config import read_yaml
from mlplab.slurm import REQUEUES
from mlplab.sweeps.gpus import VISIBLE, n_gpus_wanted, own_gpus
from mlplab.sweeps.ledger import MAY_DIFFER, require_same

STOPPING = ".stopping"
"""File in the sweep's directory while its processes are asked to stop: no job begins then."""


HOW = "MLPLAB_JOB"
"""Variable of the environment that tells the command of a job whether to `begin` or to `resume`."""


class JobOfSweep:
    """The task that a launcher calls for each job, without its output on the terminal.

    It is pickled to other processes, with what the task needs there and Hydra does not bring.

    Args:
        task: the function that Hydra runs.
        root: the project's folder.
        directory: of the sweep.

    Attributes:
        is_submitted: whether jobs run in processes that outlive the launcher, each with a log of its own.
    """

    def __init__(self, task: Callable[[Any], Any], root: Path, directory: Path) -> None:
        self.is_submitted = False
        self.task, self.root, self.directory = task, root, directory
        self.argv, self.process, self.host = list(sys.argv), os.getpid(), socket.gethostname()
        # joblib's tracker of semaphores warns while it cleans up after a launcher that was killed.
        filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
        os.environ["PYTHONWARNINGS"] = ",".join(dict.fromkeys(filter(None, filters)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if os.getpid() == self.process:  # pickled within one process, as some launchers do
            return
        register_resolvers(self.root)
        sys.argv[:] = self.argv  # a run notes the command that it was started with
        if self.is_submitted:
            show_every_text()
        else:
            become_worker(self.process if self.host == socket.gethostname() else None)

    def __call__(self, config: DictConfig) -> Any:
        require_not_stopping(self.directory)
        # Where several jobs run at once, each has a process that is not the sweep's.
        n_gpus = 0 if os.getpid() == self.process else n_gpus_wanted(config)
        gpus = own_gpus(n_gpus, os.environ.get(VISIBLE))
        if self.is_submitted:
            with gpus:
                return self.task(config)
        # Signals reach the jobs of one machine only.
        stopping = None if self.host == socket.gethostname() else self.directory / STOPPING
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),  # the sweep has its own progress
            with_a_job(stopping),
            gpus,
        ):
            try:
                return self.task(config)
            finally:
                gc.collect()  # figures and Trainers are cycles of few objects and many megabytes


def require_not_stopping(sweep: Path) -> None:
    """Begins no further job once a signal has asked the sweep to stop.

    Raises:
        RunStopped: with the signal, which the launcher has written into the file.
    """
    try:
        text = (sweep / STOPPING).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    number = int(text) if text.isdecimal() else int(signal.SIGINT)
    raise RunStopped(f"stopped by {name_of(number)} before this job began", 128 + number)


class Worker:
    """A process that a launcher has started: it outlives the launcher by no more than a step."""

    def __init__(self) -> None:
        self.has_job = False
        self.launcher: int | None = None
        self.stopping: Path | None = None

    @property
    def is_orphan(self) -> bool:
        """Returns whether the process that started this one has died."""
        return self.launcher is not None and os.getppid() != self.launcher

    def end_with_launcher(self, launcher: int | None) -> None:
        """Makes the process end, without a word, when the one that started it has died.

        Args:
            launcher: number of that process, where it is known; it may have died while this one imported.
        """
        if self.launcher is None:
            self.launcher = os.getppid()
            if launcher is not None and not is_alive(launcher):
                self.launcher = launcher
            sys.stderr = _ErrorsForLauncher(sys.stderr, self)  # broken queues would print tracebacks
            threading.Thread(target=self._watch, name="launcher", daemon=True).start()

    def _watch(self) -> None:
        while not self.is_orphan:
            time.sleep(1.0)  # only Linux could signal the death of a parent
            if self.has_job and self.stopping is not None and self.stopping.exists():
                self.stopping = None  # a second signal would end the job at once
                os.kill(os.getpid(), signal.SIGTERM)
        if not self.has_job:
            os._exit(128 + signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # which a job answers by finishing its step and saving

    @contextlib.contextmanager
    def with_a_job(self, stopping: Path | None = None) -> Iterator[None]:
        """Marks that a job is running; none begins for a launcher that has died.

        Args:
            stopping: a file that asks the job to stop, where no signal can.
        """
        self.has_job, self.stopping = True, stopping
        if self.is_orphan:
            os._exit(128 + signal.SIGTERM)
        try:
            yield
        finally:
            self.has_job = False
            if self.is_orphan:  # else it would take the next job from the launcher's queue
                os._exit(128 + signal.SIGTERM)


class _ErrorsForLauncher:
    """Standard error of a worker, silent once the launcher has died: the queues between them break then."""

    def __init__(self, stream: TextIO, worker: Worker) -> None:
        self._stream, self._worker = stream, worker

    def write(self, text: str) -> int:
        return len(text) if self._worker.is_orphan else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_WORKER = Worker()
with_a_job = _WORKER.with_a_job


def become_worker(launcher: int | None = None) -> None:
    """Makes this process one that runs jobs for the one that started it, prints nothing, and ends with it."""
    show_every_text()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # the descriptor, as libraries in C print too
    # The terminal sends Ctrl-C to every process: a job in hand notices it, an idle worker has nothing to say.
    for number in HANDLED:
        with contextlib.suppress(ValueError):  # not in the main thread
            if number == signal.SIGINT or number in REQUEUES:  # by default the latter would end it
                signal.signal(number, signal.SIG_IGN)
            elif callable(signal.getsignal(number)):  # the launcher's own, in a process forked from it
                signal.signal(number, signal.SIG_DFL)
    _WORKER.end_with_launcher(launcher)


def begun_before(directory: Path, config: DictConfig) -> bool:
    """Returns whether the job in a directory has begun in an earlier launch of its sweep, and goes on.

    Raises:
        UserError: it was begun with another configuration, or its directory holds links or lacks files.
    """
    require_ordinary(directory)
    if not (directory / STATUS).exists() or never_began(directory):
        return False
    if not (directory / MANIFEST).is_file() or not (directory / CONFIG).is_file():
        raise UserError(
            "a job that goes on must have its manifest.json and .hydra/config.yaml",
            f"{shortest(directory)} has other files and not both of them",
            f"rm -r {shortest(directory)}, to let it begin again",
        )
    then: Any = OmegaConf.to_container(read_yaml(directory / CONFIG), resolve=False)
    now: Any = OmegaConf.to_container(config, resolve=False)
    # What conf/ has gained since was told for the whole sweep; what is typed was compared there.
    may_differ = (*MAY_DIFFER, *found_before(directory))
    require_same(extended(then, now), now, directory.name, may_differ)
    return True


def objective_of_finished(directory: Path) -> float | None:
    """Reads the objective of a job that has finished; returns None where the job must run."""
    if read_state(directory).name not in ("finished", "pruned"):
        return None
    objective = read_result(directory).get("objective")
    return float(objective) if isinstance(objective, int | float) else math.nan  # Hydra expects a number
