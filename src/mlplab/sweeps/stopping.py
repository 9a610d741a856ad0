"""Ctrl-C and SIGTERM while jobs run in other processes: they are let finish their step and save."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mlplab.errors import RunStopped
from mlplab.runs.signals import HANDLED
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.states import read_state

PATIENCE = 30.0
"""Seconds that jobs may take to finish a step and save."""

TERMINAL = 1.0
"""Seconds in which a Ctrl-C of the terminal, which reaches every process, shows its effect by itself."""


@contextmanager
def letting_jobs_finish(sweep: Path, names: Sequence[str]) -> Iterator[None]:
    """Within it, a signal waits until the jobs in other processes have saved what they reached.

    A launcher that is interrupted kills its workers. A job in this process has handlers of its own, which stand
    in for these while it trains.

    Raises:
        RunStopped: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise RunStopped("ended at once by a second signal; the last checkpoint remains", 128 + number)

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for signalled in HANDLED:
            signal.signal(signalled, end)
        with contextlib.suppress(OSError):  # not by `print`, which the signal may have found in the middle of a line
            os.write(1, b"\nstopping after this step and saving; Ctrl-C again ends at once\n")
        with contextlib.suppress(OSError):
            (sweep / STOPPING).touch()
        _wait([sweep / name for name in names])
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        raise RunStopped(f"stopped by {name}; all that was reached is saved", 128 + number)

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
    """Until no job runs in another process of this machine; those that have not noticed are told."""
    began = time.monotonic()
    told: set[int] = set()
    while time.monotonic() - began < PATIENCE:
        named = [state.status.get("process") for state in map(read_state, directories) if state.name == "running"]
        # 0, 1 and negative numbers are no job's: a signal to -1 would reach every process of the user.
        running = {number for number in named if type(number) is int and number > 1} - {os.getpid()}
        if not running:
            return
        if time.monotonic() - began > TERMINAL:
            for process in running - told:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGTERM)
            told |= running
        time.sleep(0.1)
