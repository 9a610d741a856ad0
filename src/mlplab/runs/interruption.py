"""Handles Ctrl-C, SIGTERM, a closed terminal and a time limit: the first signal ends cleanly, a second one at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import lightning.pytorch as pl

from mlplab.engine.resumable_loops import TrainingStopped, loop_of
from mlplab.errors import RunStopped
from mlplab.runs.signals import HANDLED, name_of
from mlplab.slurm import is_repetition

PATIENCE = 2.0
"""Seconds after a signal to wait for training to begin; then the process ends without the others."""


class Interruption:
    """Receives signals, and records which one stopped the run.

    Args:
        leads: whether this process decides for all processes of the run.
        end: writes the state `stopped` and the given reason into the run's directory.
    """

    received: signal.Signals | None = None
    _trainer: pl.Trainer | None = None
    _has_trained = False

    def __init__(self, leads: bool = True, end: Callable[[str], None] = lambda reason: None) -> None:
        self.leads, self.end = leads, end

    @property
    def name(self) -> str:
        """Returns the name of the signal for messages."""
        return name_of(self.received) if self.received else ""

    @property
    def status(self) -> int:
        """Returns the exit status for this signal: 128 plus its number."""
        return 128 + int(self.received or 0)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: the first one during training lets the current step finish; any other ends the run.

        Raises:
            RunStopped: ends the run here.
        """
        if (not self.leads and self._has_trained) or is_repetition(number):
            return
        if self.received is not None:
            raise RunStopped("ended at once by a second signal; the last checkpoint remains", self.status)
        if self.leads or self._trainer is None:
            self.received = signal.Signals(number)
        if self._trainer is None:
            raise RunStopped(f"stopped by {self.name}; the last checkpoint, if any, remains", self.status)
        with contextlib.suppress(OSError):  # not by `print`, which the signal may have interrupted
            os.write(1, b"\nstopping after this step and saving; Ctrl-C again ends at once\n")
        loop_of(self._trainer).stop_requested = True

    def install(self) -> None:
        """Installs the handlers; of several processes on a machine, only the first handles signals."""
        for number in HANDLED:
            # A terminal sends Ctrl-C to all its processes; the others on this machine stop with the first.
            _set_handler(number, self.handle if self.leads or is_first_of_node() else signal.SIG_IGN)

    @contextmanager
    def finishing_the_step(self, trainer: pl.Trainer) -> Iterator[None]:
        """Lets a signal finish the current step, save, and end the training.

        Several processes stop together. A terminal sends Ctrl-C to each of them; if each stopped by itself, the
        others would wait for it.
        """
        self._trainer = trainer
        try:
            with self._heeded_while_waiting(trainer) as begin:

                def before_run() -> None:
                    begin()
                    # Replaces Lightning's handler for SIGTERM, which aborts the step and leaves other processes
                    # waiting.
                    self.install()

                loop_of(trainer).before_run = before_run
                yield
        except TrainingStopped:
            self.received = self.received or signal.SIGTERM  # another process received the signal
        finally:
            self._trainer, self._has_trained = None, True

    @contextmanager
    def _heeded_while_waiting(self, trainer: pl.Trainer) -> Iterator[Callable[[], None]]:
        """Ends the process if a signal arrives before training begins, even while Python cannot run handlers.

        Processes may wait for each other inside PyTorch for half an hour, and no Python handler runs meanwhile. So a
        thread reads signals from a pipe.

        Yields:
            A function to call when training begins.
        """
        begun = threading.Event()
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            yield begun.set
            return
        reader, writer = os.pipe()
        # set_wakeup_fd takes non-blocking descriptors only: a full pipe must not block a signal.
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def watch() -> None:
            while received := os.read(reader, 1):  # a byte with the signal's number, written by Python
                if received[0] in HANDLED and not begun.wait(PATIENCE):
                    self._end_from_thread(trainer, signal.Signals(received[0]))
            os.close(reader)

        # A daemon, as the process must not wait for a signal in order to end.
        threading.Thread(target=watch, daemon=True).start()
        try:
            yield begun.set
        finally:
            begun.set()
            signal.set_wakeup_fd(before)
            # The thread then reads the end of the pipe, and ends.
            os.close(writer)

    def _end_from_thread(self, trainer: pl.Trainer, number: signal.Signals) -> NoReturn:
        """Ends the process from a thread, after writing its status and killing its child processes."""
        message = f"stopped by {name_of(number)} while it waited for other processes"
        try:
            kill = getattr(trainer.strategy.launcher, "kill", None)
            if kill is not None:  # they would wait for this process
                kill(signal.SIGKILL)
            self.end(message)
            print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
        finally:
            # In a thread, sys.exit would end only the thread.
            os._exit(128 + number)


def is_first_of_node() -> bool:
    """Returns whether this process is the first of its machine; Lightning sets LOCAL_RANK for the others."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


@contextmanager
def stop_on_signal(leads: bool = True, end: Callable[[str], None] = lambda reason: None) -> Iterator[Interruption]:
    """Makes signals stop the run with its status written.

    Python allows signal handlers in the main thread only. In other threads signals keep their usual effect.

    Args:
        leads: whether this process decides for all processes of the run.
        end: writes the state `stopped` and the given reason into the run's directory.

    Raises:
        RunStopped: at a signal outside training, and at a second one.
    """
    interruption = Interruption(leads, end)
    previous = {number: signal.getsignal(number) for number in HANDLED}
    interruption.install()
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            _set_handler(number, handler)


def _set_handler(number: int, handler: "signal._HANDLER") -> None:
    with contextlib.suppress(ValueError, TypeError):  # not in the main thread, or a handler that Python did not set
        signal.signal(number, handler)
