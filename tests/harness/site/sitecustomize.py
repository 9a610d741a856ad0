"""Counts what a process does to the files of one folder, and lets the disk run full at the moment that is asked for.

Python imports this by its name when it starts, so that workers of a sweep which are not forked have it too. `launching`
runs it in those that are.
"""

import contextlib
import errno
import mmap
import os
import sys
from typing import Any

CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.link", "os.mkdir", "os.truncate"}


def install(settings: str) -> None:
    """Begins to count.

    Args:
        settings: the folder, a file for the count, the kind of fault and its moment, separated by colons; `full` fills
            the disk, `refused` lets every change from then on fail, `none` counts only.
    """
    folder, counter, kind, moment = settings.split(":")
    descriptor = os.open(counter, os.O_RDWR)
    count = mmap.mmap(descriptor, 8)  # shared by all processes of the command
    os.close(descriptor)
    is_filling = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_filling
        if is_filling or not _changes(event, arguments, folder):
            return
        n = int.from_bytes(count[:], "little") + 1
        count[:] = n.to_bytes(8, "little")
        if kind == "refused" and n >= int(moment):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        if kind == "full" and n == int(moment):
            is_filling = True
            fill(folder)
            is_filling = False

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    if event == "open":
        return isinstance(arguments[0], str) and arguments[0].startswith(folder) and bool(arguments[2] & CREATES)
    path = arguments[0] if event in CHANGES else None
    return isinstance(path, str | os.PathLike) and str(path).startswith(folder)


def fill(folder: str) -> None:
    """Leaves no room on a disk."""
    ballast = os.open(os.path.join(folder, "ballast"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 20, 1 << 12):
        with contextlib.suppress(OSError):
            while True:
                os.posix_fallocate(ballast, os.fstat(ballast).st_size, size)
    os.close(ballast)


if os.environ.get("FULL_DISK"):
    install(os.environ["FULL_DISK"])
