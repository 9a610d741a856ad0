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
        return "Ctrl-C" if self.received is signal.SIGINT else self.received.name if self.received else ""

    @property
    def status(self) -> int:
        """The exit status that tells a shell of this signal."""
        return 128 + int(self.received or 0)


HANDLED = [signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""A closed terminal sends SIGHUP. SIGTERM is handled by Lightning, which lets the step finish as well."""


@contextmanager
def stop_on_signal(trainer: pl.Trainer) -> Iterator[Interruption]:
    """Within it, SIGINT, SIGHUP and SIGTERM let the step in hand finish, and then end the training.

    Of several processes, the first decides for all: a terminal sends Ctrl-C to each of them, and if each stopped
    by itself, they would wait for each other. Outside the main thread, where Python allows no signal handlers,
    Ctrl-C keeps its usual meaning.

    Raises:
        RunStopped: at a second signal.
    """
    interruption = Interruption()

    def stop(number: int, frame: FrameType | None) -> None:
        if interruption.received is not None:
            raise RunStopped("ended at once by a second signal; what had been saved is there", interruption.status)
        interruption.received = signal.Signals(number)
        print("\nstopping after this step and saving; Ctrl-C again ends at once", flush=True)
        if trainer.world_size > 1:
            trainer.fit_loop.epoch_loop.stop_requested = True  # see LeanEpochLoop
            return
        trainer.should_stop = True
        # A minimum of epochs or steps is for early stopping, not for the person at the keyboard.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None

    previous = {}
    try:
        for number in HANDLED:
            previous[number] = signal.signal(number, stop if trainer.is_global_zero else signal.SIG_IGN)
    except ValueError:  # not the main thread
        pass
    try:
        yield interruption
    except SIGTERMException:
        interruption.received = interruption.received or signal.SIGTERM
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
