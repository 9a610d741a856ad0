"""Locks a run's directory, so that one process at a time uses it."""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from mlplab.errors import UserError
from mlplab.runs.files import lock_file, timestamp
from mlplab.slurm import job_number

REQUIREMENT = "a run's directory must be used by one process at a time"


class Lock:
    """A lock file that one process holds during its lifetime.

    The operating system releases the lock however the process ends. If the file still names a holder then, that process
    died. On file systems without locks, the lock counts as held while the named process is alive.

    Args:
        path: of the file.
        requirement: of the message to other processes.
    """

    def __init__(self, path: Path, requirement: str = REQUIREMENT) -> None:
        self.path, self.requirement = path, requirement
        self._descriptor: int | None = None

    def acquire(self) -> dict[str, Any] | None:
        """Acquires the lock; returns the previous holder if it died without releasing it.

        Raises:
            UserError: another process holds the lock.
            OSError: the file cannot be created.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            holder = _take(descriptor, self.path.parent, self.requirement)
            holder_now = {"process": os.getpid(), "host": socket.gethostname(), "since": timestamp()}
            _write(descriptor, {**holder_now, **({"slurm": job_number()} if job_number() else {})})
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return holder

    @property
    def is_held(self) -> bool:
        """Returns whether this object holds the lock."""
        return self._descriptor is not None

    def release(self) -> None:
        """Releases the lock, if this object holds it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                _write(self._descriptor, None)
            os.close(self._descriptor)
            self._descriptor = None


def require_free(path: Path) -> None:
    """Checks that no other process holds a lock, without taking it.

    Raises:
        UserError: names the process that holds it, and its host.
    """
    try:
        # Without O_CREAT, as a check must not create a file.
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # the file is missing or cannot be opened
        return
    try:
        _take(descriptor, path.parent, REQUIREMENT)
    finally:
        os.close(descriptor)  # closing unlocks it


def _take(descriptor: int, directory: Path, requirement: str) -> dict[str, Any] | None:
    """Locks an open lock file; returns the dead holder that it names, if any.

    Raises:
        UserError: another process holds the lock.
    """
    holder, is_locked = _holder(descriptor), lock_file(descriptor)
    if is_locked is None:  # a file system without locks
        is_here = holder is not None and holder.get("host") == socket.gethostname()
        is_locked = holder is None or (is_here and not is_alive(holder.get("process")))
        # A requeued SLURM job, maybe on another machine: SLURM ended its former process before.
        is_locked = is_locked or bool(holder and job_number() and holder.get("slurm") == job_number())
    if not is_locked:
        raise UserError(requirement, f"{directory} is in use by {_described(holder)}", _how_to_free(holder))
    return _holder(descriptor)  # read again, as the holder may have released it in between


def _described(holder: dict[str, Any] | None) -> str:
    """Names the process that holds a lock: `process 4242 on gpu1, since 2026-05-01 12:30 UTC`."""
    if holder is None:
        return "another process"
    since = str(holder.get("since", ""))[:16].replace("T", " ")  # releases before 0.6 did not record it
    return f"process {holder.get('process')} on {holder.get('host')}{f', since {since} UTC' if since else ''}"


def _how_to_free(holder: dict[str, Any] | None) -> str:
    if holder is None or not isinstance(holder.get("process"), int):
        return "waiting until it has ended"
    place = "" if holder.get("host") == socket.gethostname() else f" on {holder.get('host')}"
    return f"waiting until it has ended, or `kill {holder['process']}`{place}: it saves what it has reached, and ends"


def is_alive(process: Any) -> bool:
    """Returns whether a process with this number exists on this machine."""
    try:
        # Signal 0 only checks that the process exists.
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    # The process exists but belongs to another user.
    except PermissionError:
        return True
    return True


def _holder(descriptor: int) -> dict[str, Any] | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
    except (ValueError, OSError):  # empty after a release; or not a lock file
        return None
    return content if isinstance(content, dict) else None


def _write(descriptor: int, content: dict[str, Any] | None) -> None:
    os.ftruncate(descriptor, 0)
    if content is not None:
        os.pwrite(descriptor, json.dumps(content).encode(), 0)
