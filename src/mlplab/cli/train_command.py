"""Runs train.py in a separate process, for scripts that start sweeps."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

from mlplab.runs.signals import on_termination


def run_train(script: Path, words: Sequence[str], *, folder: Path | None, environment: Mapping[str, str]) -> int:
    """Runs `python train.py WORDS` and returns its exit status.

    That process handles signals itself: it finishes its step and saves. This process waits for it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # A terminal sends Ctrl-C to both. Not SIG_IGN, which the sweep would inherit.
        signal.signal(signal.SIGINT, lambda number, frame: None)
    with subprocess.Popen([sys.executable, str(script), *words], cwd=folder, env=environment) as process:
        on_termination(lambda number, frame: process.send_signal(number))
        return process.wait()


def quoted(path: Path) -> str:
    """Quotes a path as a value in Hydra's grammar."""
    return QuotedString(str(path), Quote.single).with_quotes()
