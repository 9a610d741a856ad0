"""Tells what a callback has found, on the terminal and in train.log."""

import logging

log = logging.getLogger("mlplab")


def tell(text: str) -> None:
    """Prints a note, and writes it into train.log. To be called by the first of several processes alone."""
    log.info(text)
    print(f"note    {text}", flush=True)
