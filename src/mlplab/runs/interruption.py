"""Ctrl-C, SIGTERM and a closed terminal: the first signal ends the run cleanly, a second one now."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning.pytorch as pl

from mlplab.engine.resumable_loops import TrainingStopped, loop_of
from mlplab.errors import RunStopped
from mlplab.runs.signals import HANDLED


class Interruption:
    """Which signal has asked the run to stop, if any."""

    received: signal.Signals | None = None
    _trainer: pl.Trainer | None = None

    @property
    def name(self) -> str:
        return "Ctrl-C" if self.received is signal.SIGINT else self.received.name if self.received else ""

    @property
    def status(self) -> int:
        """The exit status that tells a shell of this signal."""
        return 128 + int(self.received or 0)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What a signal does: while training it lets the step finish; otherwise, or a second time, it ends the run.

        Raises:
            RunStopped: the run ends here.
        """
        if self.received is not None:
            raise RunStopped("ended at once by a second signal; what had been saved is there", self.status)
        self.received = signal.Signals(number)
        if self._trainer is None:
            raise RunStopped(f"stopped by {self.name}; what had been saved is there", self.status)
        with contextlib.suppress(OSError):  # not by `print`, which the signal may have found in the middle of a line
            os.write(1, b"\nstopping after this step and saving; Ctrl-C again ends at once\n")
        loop_of(self._trainer).stop_requested = True

    @contextmanager
    def finishing_the_step(self, trainer: pl.Trainer) -> Iterator[None]:
        """While training: a signal lets the step in hand finish, saves, and ends the training.

        Of several processes, the first decides for all: a terminal sends Ctrl-C to each of them, and if each
        stopped by itself, they would wait for each other.
        """
        # Lightning's own handler for SIGTERM would leave the step half done, and several processes waiting.
        loop_of(trainer).before_run = lambda: _install(self.handle if trainer.is_global_zero else signal.SIG_IGN)
        self._trainer = trainer
        try:
            yield
        except TrainingStopped:
            self.received = self.received or signal.SIGTERM  # it was another process that was asked
        finally:
            self._trainer = None


@contextmanager
def stop_on_signal(is_first_process: bool = True) -> Iterator[Interruption]:
    """Within it, a signal ends the run with its status written.

    Outside the main thread, where Python allows no signal handlers, signals keep their usual meaning.

    Raises:
        RunStopped: at a signal outside training, and at a second one.
    """
    interruption = Interruption()
    previous = {number: signal.getsignal(number) for number in HANDLED}
    _install(interruption.handle if is_first_process else signal.SIG_IGN)
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            _set(number, handler)


def _install(handler: "signal._HANDLER") -> None:
    for number in HANDLED:
        _set(number, handler)


def _set(number: int, handler: "signal._HANDLER") -> None:
    with contextlib.suppress(ValueError, TypeError):  # not the main thread; or a handler that Python did not set
        signal.signal(number, handler)
