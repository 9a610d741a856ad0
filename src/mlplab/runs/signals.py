"""Lists and names the signals that ask a process to end. Imports nothing heavy."""

import signal
from collections.abc import Callable
from typing import Any

from mlplab.slurm import REQUEUES

# Windows has no SIGHUP.
TERMINATIONS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []), *REQUEUES]
"""SIGTERM, SIGHUP of a closed terminal, and the signals before a cluster job's time limit."""

HANDLED = [signal.SIGINT, *TERMINATIONS]
"""Signals that a run handles: `TERMINATIONS`, and SIGINT from Ctrl-C."""


def on_termination(handler: Callable[[int, Any], None]) -> None:
    """Installs a handler for `TERMINATIONS`, except for ignored signals, as under nohup."""
    for number in TERMINATIONS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def name_of(number: int) -> str:
    """Names a signal for messages."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
