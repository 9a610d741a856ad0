"""One process at a time in a run's directory."""

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlplab.errors import Refusal

try:
    import fcntl
except ImportError:  # no such locks on this system: the file says who holds it
    fcntl = None  # type: ignore[assignment]


class Lock:
    """A file that one process holds for as long as it lives.

    The operating system gives the lock back when the process ends, however it ends; what the file says then tells
    of a process that did not end well. Where the file system knows no locks, that process is looked for instead.

    Args:
        path: of the file.
        must: what holds while it is held, for the message to others.
    """

    def __init__(self, path: Path, must: str = "a run's directory must be used by one process at a time") -> None:
        self.path, self.must = path, must
        self._descriptor: int | None = None

    def acquire(self) -> dict[str, Any] | None:
        """Takes the lock, and returns who held it last and died without giving it back.

        Raises:
            Refusal: another process holds it.
            OSError: the file cannot be made.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            holder = _holder(descriptor)
            if not _taken(descriptor, holder):
                raise _refusal(self.path.parent, holder, self.must)
            holder = _holder(descriptor)  # whoever held it until now has had time to give it back
            _write(descriptor, {"process": os.getpid(), "host": socket.gethostname(), "since": _now()})
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return holder

    @property
    def is_held(self) -> bool:
        """Whether this object has it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Gives it back; nothing happens where it is not held."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                _write(self._descriptor, None)
            os.close(self._descriptor)
            self._descriptor = None


def require_free(path: Path) -> None:
    """Refuses a lock that another process holds, without taking it.

    Raises:
        Refusal: with that process and its host.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # there is none, or none that could be taken
        return
    try:
        holder = _holder(descriptor)
        if not _taken(descriptor, holder):
            raise _refusal(path.parent, holder)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, holder: dict[str, Any] | None) -> bool:
    """Whether this process now has the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system knows no locks
            pass
        else:
            return True
    return holder is None or (holder.get("host") == socket.gethostname() and not is_alive(holder.get("process")))


def is_alive(process: Any) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _refusal(
    directory: Path,
    holder: dict[str, Any] | None,
    must: str = "a run's directory must be used by one process at a time",
) -> Refusal:
    who = f"process {holder.get('process')} on {holder.get('host')}" if holder else "another process"
    return Refusal(
        must,
        f"{directory} is in use by {who}",
        "waiting until it has ended, or another directory",
    )


def _holder(descriptor: int) -> dict[str, Any] | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
    except (ValueError, OSError):  # empty: it was given back; or not ours, or a pipe
        return None
    return content if isinstance(content, dict) else None


def _write(descriptor: int, content: dict[str, Any] | None) -> None:
    os.ftruncate(descriptor, 0)
    if content is not None:
        os.pwrite(descriptor, json.dumps(content).encode(), 0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
