"""Tells what a callback has found, and whether it can still draw when an exception ends the run."""

import logging

from mlplab.errors import RunStopped

log = logging.getLogger("mlplab")


def tell(text: str) -> None:
    """Prints a note, and writes it into train.log. To be called by the first of several processes alone."""
    log.info(text)
    print(f"note    {text}", flush=True)


def has_time_to_draw(exception: BaseException) -> bool:
    """Returns whether a run that ends by this exception can draw: not at a second Ctrl-C, nor on a full disk."""
    return not isinstance(exception, RunStopped | KeyboardInterrupt | OSError)
