"""What a command prints, wherever that goes: nobody need read it for a run to go on."""

import os
import sys
from typing import Any, TextIO


def show_every_text() -> None:
    """Lets printing never fail for a character that the output's encoding lacks: its code is shown in its place.

    Names of classes and files may hold any, and an output may be ASCII: `LC_ALL=C`, a pipe on Windows.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def tolerate_closed_output() -> None:
    """Lets printing never fail: not where the reader has gone (`| head`), the terminal, or the room on the disk.

    A run that trains for hours is worth more than the lines that tell of it. What cannot be written is left out, and
    so is all after it. Where an output was closed from the start (`>&-`) its place is taken, or the first file that
    is opened would take it, and get what is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # by the processes that are started from here
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if not isinstance(stream, _Patient):
            setattr(sys, name, _Patient(stream))
    show_every_text()


def why_unwritten() -> str | None:
    """Returns why not all of standard output was written; None where it was, or where nobody wants to read on."""
    sys.stdout.flush()
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    return None if failure is None or isinstance(failure, BrokenPipeError) else failure.strerror or str(failure)


class _Patient:
    """A stream that writes as long as that can be done.

    Attributes:
        failure: why it no longer does; None while it does.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """What waits to be written goes nowhere, as does what processes that were started from here print."""
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
