"""Makes printing safe: a closed output or a full disk never stops a run."""

import os
import sys
from typing import Any, TextIO


def show_every_text() -> None:
    """Makes printing escape characters that the output's encoding lacks, instead of failing.

    Names of classes and files may hold any character, and an output may be ASCII: `LC_ALL=C`, a pipe on Windows.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def tolerate_closed_output() -> None:
    """Keeps printing from failing if the reader (`| head`) or terminal is gone, or the disk is full.

    A run of hours must not fail because its output cannot be printed. After the first failure, all further output is
    dropped. The descriptor of an output that was closed from the start (`>&-`) is occupied, or the next opened file
    would get it and receive the output.
    """
    # The system gives the lowest free number, so this fills 0, 1 and 2 first.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # child processes print there too
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Python sets a stream to None if its descriptor is closed at the start.
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if not isinstance(stream, _TolerantStream):
            setattr(sys, name, _TolerantStream(stream))
    show_every_text()


def why_unwritten() -> str | None:
    """Returns why standard output is incomplete; None if it is complete, or if the reader closed it."""
    # Flushes first, as buffered output cannot have failed yet.
    sys.stdout.flush()
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    return None if failure is None or isinstance(failure, BrokenPipeError) else failure.strerror or str(failure)


class _TolerantStream:
    """A stream that drops all output after its first failure.

    Attributes:
        failure: the first error; None if there was none.
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
        """Redirects the descriptor to os.devnull, for buffered output and for child processes too."""
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # Python flushes its buffer once more on exit, and would fail again.
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
