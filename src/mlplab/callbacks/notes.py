"""Reports findings of callbacks, and tells whether they can still draw when an exception ends the run."""

import logging

from mlplab.errors import RunStopped

log = logging.getLogger("mlplab")


def print_note(text: str) -> None:
    """Prints a note, and writes it to train.log. Call it in the first of several processes only."""
    log.info(text)
    print(f"note    {text}", flush=True)


def has_time_to_draw(exception: BaseException) -> bool:
    """Returns whether a run can still draw after this exception: not after a second Ctrl-C, nor on a full disk."""
    return not isinstance(exception, RunStopped | KeyboardInterrupt | OSError)
