"""Launches the jobs of a sweep, again those whose process was killed, and stops them when a signal comes."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mlplab.errors import ProcessKilled, RunFailed, RunStopped, counted
from mlplab.runs.files import read_json
from mlplab.runs.layout import LOCK
from mlplab.runs.run_reading import State, read_state
from mlplab.runs.signals import HANDLED, name_of
from mlplab.slurm import is_repetition
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.sweep import Sweep, require_folder
from mlplab.sweeps.sweep_progress import SweepProgress

MOST_DEATHS = 2
"""Times that the process of a job may die in one launch before the job is given up."""

PATIENCE = 30.0
"""Seconds that jobs may take to finish a step and save."""

TERMINAL = 1.0
"""Seconds until jobs that have not noticed a Ctrl-C are sent a signal; a terminal sends it to every process itself."""


def select_to_do(sweep: Sweep, entries: Sequence[Entry], states: Mapping[int, State] | None = None) -> list[Entry]:
    """Selects the jobs that have not ended; with `sweep.retry_failed`, those that failed too.

    Args:
        sweep: to which the jobs belong.
        entries: the jobs.
        states: number of a job → its state, where they have been read.
    """
    again = ("failed", "infeasible") if sweep.config.sweep.retry_failed else ()
    # Those that a cluster still has from an earlier launch are waited for.
    queued: dict[str, str] = getattr(sweep.launcher, "queued", dict)()
    selected, elsewhere = [], []
    for entry in entries:
        if states is None:
            require_folder(sweep.directory / entry.directory)
        state = sweep.state(entry) if states is None else states[entry.number]
        if state.name == "running" and entry.directory not in queued:
            elsewhere.append(entry.directory)  # by resume=, as this process has the lock of the sweep
        elif not state.has_ended or state.name in again:
            selected.append(entry)
    if elsewhere:
        print(f"running elsewhere, and left to it: {', '.join(elsewhere)}")
    return selected


def progress_of(sweep: Sweep, entries: Sequence[Entry], states: Mapping[int, State] | None = None) -> SweepProgress:
    """Makes the progress display of the jobs of a sweep, those included that earlier launches have ended."""
    known = [sweep.state(entry) for entry in entries] if states is None else states.values()
    n_ended = sum(state.has_ended for state in known)
    epochs = sweep.config.trainer.max_epochs
    return SweepProgress(
        sweep.directory, monitor=str(sweep.config.monitor), mode=str(sweep.config.mode), n_ended=n_ended,
        max_epochs=epochs if isinstance(epochs, int) and epochs > 0 else None,
        # Whether a job keeps them is decided over all seeds of its trial.
        knows_best=not (sweep.ledger.metadata.get("search") or {}).get("constraints"),
    )  # fmt: skip


def run_jobs(sweep: Sweep, entries: Sequence[Entry], progress: SweepProgress) -> None:
    """Runs jobs, and fails if the process of some of them dies again and again.

    Raises:
        RunFailed: as above.
        RunStopped: by a signal; the sweep goes on with the same command.
    """
    died = launch_jobs(sweep, entries, progress)
    if died:
        names = ", ".join(entry.directory for entry in died[:3])
        raise RunFailed(
            f"the process of {counted(len(died), 'job')} was killed {MOST_DEATHS} times ({names}); all is saved "
            f"that was reached; try {sweep.same_command}, which goes on, with more memory or fewer jobs at once"
        )


def launch_jobs(sweep: Sweep, entries: Sequence[Entry], progress: SweepProgress) -> list[Entry]:
    """Runs jobs, and resumes those that were cut off; returns those whose process died again and again.

    Raises:
        RunStopped: by a signal; the sweep goes on with the same command.
    """
    left = list(entries)
    progress.extend(left)
    for n_deaths in range(1, MOST_DEATHS + 1):
        if not left:
            break
        directories = [entry.directory for entry in left]
        jobs = [[*sweep.ledger.shared, *entry.overrides, f"hydra.sweep.subdir={entry.directory}"] for entry in left]
        try:
            # Jobs of a cluster outlive this process, and have numbers of other machines.
            outlive = getattr(sweep.launcher, "outlived_by_jobs", False)
            with progress, contextlib.nullcontext() if outlive else letting_jobs_finish(sweep.directory, directories):
                sweep.launcher.launch(jobs, initial_job_idx=left[0].number)
            return []  # without a death all have ended, or failed by themselves
        except (BrokenProcessPool, ProcessKilled):  # a worker was killed, and took the others with it
            left = [entry for entry in left if not sweep.state(entry).has_ended]
        except (RunStopped, KeyboardInterrupt) as stopped:
            # A job of a sweep goes on with the sweep.
            message = str(stopped).partition("; resume=")[0] or "stopped by Ctrl-C"
            status = stopped.status if isinstance(stopped, RunStopped) else 128 + signal.SIGINT
            raise RunStopped(f"{message}; {sweep.same_command} goes on with the sweep", status) from None
        if left and n_deaths < MOST_DEATHS:
            print(f"killed  a process of {counted(len(left), 'job')}: launched once more, from where they were")
    return left


@contextmanager
def letting_jobs_finish(sweep: Path, names: Sequence[str]) -> Iterator[None]:
    """Delays a signal until the jobs in other processes have saved what they reached.

    A launcher that is interrupted kills its workers. A job in this process has handlers of its own, which replace
    these while it trains.

    Raises:
        RunStopped: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():  # only there Python handles signals
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        if not is_repetition(number):
            raise RunStopped("ended at once by a second signal; the last checkpoint remains", 128 + number)

    def stop(number: int, frame: FrameType | None) -> None:
        if is_repetition(number):
            return
        for handled in HANDLED:
            signal.signal(handled, end)
        with contextlib.suppress(OSError):  # not by `print`, which the signal may have found in the middle of a line
            os.write(1, b"\nstopping after this step and saving; Ctrl-C again ends at once\n")
        with contextlib.suppress(OSError):
            (sweep / STOPPING).write_text(
                str(number), encoding="utf-8"
            )  # idle workers look for it before they begin a job
        _wait([sweep / name for name in names])
        raise RunStopped(f"stopped by {name_of(number)}; all that was reached is saved", 128 + number)

    previous = {number: signal.getsignal(number) for number in HANDLED}
    for number in HANDLED:
        if previous[number] != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):
            (sweep / STOPPING).unlink(missing_ok=True)


def _wait(directories: Sequence[Path]) -> None:
    """Waits until no job runs in another process; passes the signal to those of this machine that missed it.

    Those of other machines find the file that asks them to stop, as do the others.
    """
    began = time.monotonic()
    signalled: set[int] = set()
    while time.monotonic() - began < PATIENCE:
        running = [path for path in directories if read_state(path).name == "running"]
        holders = [
            (holder.get("process"), holder.get("host")) for holder in (read_json(path / LOCK) for path in running)
        ]
        others = set(holders) - {(os.getpid(), socket.gethostname())}
        if not others:
            return
        # 0, 1 and negative numbers are no job's: a signal to -1 would reach every process of the user.
        processes = {n for n, host in others if host == socket.gethostname() and type(n) is int and n > 1}
        if time.monotonic() - began > TERMINAL:
            for process in processes - signalled:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGTERM)
            signalled |= processes
        time.sleep(0.1)
