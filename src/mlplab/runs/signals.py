"""The signals that ask a process to end, and that a run answers by saving. Imports nothing heavy."""

import signal
from collections.abc import Callable
from typing import Any

TERMINATIONS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""A termination and a closed terminal."""

HANDLED = [signal.SIGINT, *TERMINATIONS]
"""The same, and Ctrl-C."""


def on_termination(handler: Callable[[int, Any], None]) -> None:
    """Lets a handler answer terminations, but for those that the process ignores, as nohup has it."""
    for number in TERMINATIONS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
