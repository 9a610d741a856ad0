"""Ctrl-C, SIGTERM and a closed terminal: the first signal ends the run cleanly, a second one now."""

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
from mlplab.runs.signals import HANDLED

PATIENCE = 2.0
"""Seconds in which training must begin after a signal that comes before; no longer are other processes waited for."""


class Interruption:
    """Which signal has asked the run to stop, if any.

    Args:
        leads: whether this is the process that decides for all of a run.
        end: writes into the run's directory that it was stopped, and why.
    """

    received: signal.Signals | None = None
    _trainer: pl.Trainer | None = None
    _has_trained = False

    def __init__(self, leads: bool = True, end: Callable[[str], None] = lambda reason: None) -> None:
        self.leads, self.end = leads, end

    @property
    def name(self) -> str:
        return _name(self.received) if self.received else ""

    @property
    def status(self) -> int:
        """The exit status that tells a shell of this signal."""
        return 128 + int(self.received or 0)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What a signal does: while training it lets the step finish; otherwise, or a second time, it ends the run.

        Raises:
            RunStopped: the run ends here.
        """
        if not self.leads and self._has_trained:
            return
        if self.received is not None:
            raise RunStopped("ended at once by a second signal; what had been saved is there", self.status)
        if self.leads or self._trainer is None:
            self.received = signal.Signals(number)
        if self._trainer is None:
            raise RunStopped(f"stopped by {self.name}; what had been saved is there", self.status)
        with contextlib.suppress(OSError):  # not by `print`, which the signal may have found in the middle of a line
            os.write(1, b"\nstopping after this step and saving; Ctrl-C again ends at once\n")
        loop_of(self._trainer).stop_requested = True

    @contextmanager
    def finishing_the_step(self, trainer: pl.Trainer) -> Iterator[None]:
        """While training: a signal lets the step in hand finish, saves, and ends the training.

        Of several processes, the first of a machine asks, and all stop together: a terminal sends Ctrl-C to each of
        them, and if each stopped by itself, they would wait for each other.
        """
        answer = self.handle if self.leads or is_first_of_node() else signal.SIG_IGN
        self._trainer = trainer
        try:
            with self._heeded_while_waiting(trainer) as begin:

                def before_run() -> None:
                    begin()
                    # Lightning's own handler for SIGTERM would leave the step half done, and several processes waiting.
                    _install(answer)

                loop_of(trainer).before_run = before_run
                yield
        except TrainingStopped:
            self.received = self.received or signal.SIGTERM  # it was another process that was asked
        finally:
            self._trainer, self._has_trained = None, True

    @contextmanager
    def _heeded_while_waiting(self, trainer: pl.Trainer) -> Iterator[Callable[[], None]]:
        """Ends the process by a signal that comes before training begins, also where Python cannot answer it.

        Several processes wait for each other within PyTorch, for half an hour if need be, and no handler runs
        meanwhile. A thread learns of the signal by a pipe.

        Yields:
            What is to be called when training begins.
        """
        begun = threading.Event()
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            yield begun.set
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def watch() -> None:
            while received := os.read(reader, 1):
                if received[0] in HANDLED and not begun.wait(PATIENCE):
                    self._end_from_aside(trainer, signal.Signals(received[0]))
            os.close(reader)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield begun.set
        finally:
            begun.set()
            signal.set_wakeup_fd(before)
            os.close(writer)

    def _end_from_aside(self, trainer: pl.Trainer, number: signal.Signals) -> NoReturn:
        """Ends the process from a thread, with its status written and without those that it has started."""
        message = f"stopped by {_name(number)} while it waited for other processes"
        try:
            kill = getattr(trainer.strategy.launcher, "kill", None)
            if kill is not None:  # they would wait on, for this one
                kill(signal.SIGKILL)
            self.end(message)
            print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
        finally:
            os._exit(128 + number)


def is_first_of_node() -> bool:
    """Whether this process is the first of its machine; Lightning sets LOCAL_RANK in the others that it starts."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


@contextmanager
def stop_on_signal(leads: bool = True, end: Callable[[str], None] = lambda reason: None) -> Iterator[Interruption]:
    """Within it, a signal ends the run with its status written.

    Outside the main thread, where Python allows no signal handlers, signals keep their usual meaning.

    Args:
        leads: whether this is the process that decides for all of a run.
        end: writes into the run's directory that it was stopped, and why.

    Raises:
        RunStopped: at a signal outside training, and at a second one.
    """
    interruption = Interruption(leads, end)
    previous = {number: signal.getsignal(number) for number in HANDLED}
    _install(interruption.handle if leads or is_first_of_node() else signal.SIG_IGN)
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            _set(number, handler)


def _name(number: signal.Signals) -> str:
    return "Ctrl-C" if number is signal.SIGINT else number.name


def _install(handler: "signal._HANDLER") -> None:
    for number in HANDLED:
        _set(number, handler)


def _set(number: int, handler: "signal._HANDLER") -> None:
    with contextlib.suppress(ValueError, TypeError):  # not the main thread; or a handler that Python did not set
        signal.signal(number, handler)
