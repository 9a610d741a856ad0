"""Ctrl-C: the first ends the run cleanly, the second ends it now."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning.pytorch as pl


class Interruption:
    """Whether the run has been asked to stop."""

    requested = False


@contextmanager
def stop_on_interrupt(trainer: pl.Trainer) -> Iterator[Interruption]:
    """Within it, SIGINT lets the step in hand finish, and then ends training as if an epoch limit had been met.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C keeps its usual meaning.
    """
    interruption = Interruption()

    def stop(number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True
        trainer.should_stop = True
        # A minimum of epochs or steps is for early stopping, not for the person at the keyboard.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None
        print("\nstopping after this step and saving; Ctrl-C again ends at once", flush=True)

    try:
        previous = signal.signal(signal.SIGINT, stop)
    except ValueError:
        yield interruption
        return
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)
