"""Ctrl-C and SIGTERM: the first ends the run cleanly, a second Ctrl-C ends it now."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mlplab.errors import RunStopped


class Interruption:
    """Which signal has asked the run to stop, if any."""

    received: signal.Signals | None = None

    @property
    def name(self) -> str:
        return "Ctrl-C" if self.received is signal.SIGINT else "SIGTERM"

    @property
    def status(self) -> int:
        """The exit status that tells a shell of this signal."""
        return 128 + int(self.received or 0)


@contextmanager
def stop_on_signal(trainer: pl.Trainer) -> Iterator[Interruption]:
    """Within it, SIGINT and SIGTERM let the step in hand finish, and then end the training.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C keeps its usual meaning.

    Raises:
        RunStopped: at a second Ctrl-C.
    """
    interruption = Interruption()

    def stop(number: int, frame: FrameType | None) -> None:
        if interruption.received is not None:
            raise RunStopped("ended at once by a second Ctrl-C; what had been saved is there", interruption.status)
        interruption.received = signal.SIGINT
        trainer.should_stop = True
        # A minimum of epochs or steps is for early stopping, not for the person at the keyboard.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None
        print("\nstopping after this step and saving; Ctrl-C again ends at once", flush=True)

    try:
        previous = signal.signal(signal.SIGINT, stop)
    except ValueError:
        previous = None
    try:
        yield interruption
    except SIGTERMException:  # Lightning's own handler lets the step finish and raises this
        interruption.received = signal.SIGTERM
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
