"""The directory of a run: claimed by one run only, with its current state in status.json."""

import contextlib
import errno
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlplab.errors import NoRoom, UserError, not_writable
from mlplab.runs.files import (
    flush,
    flushed_together,
    once_flushed,
    read_ordinary,
    remove_temporary_files,
    require_ordinary,
    write_json,
)
from mlplab.runs.lock import Lock, require_free

LOCK = ".lock"


class RunDirectory:
    """The directory of a run with its status.json. Claim it before writing into it.

    Attributes:
        path: absolute.
        checkpoints, tensorboard, figures: its folders.
        is_stacked: whether the run is trained in a stack; its manifest says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.is_stacked = False
        self._status: dict[str, Any] = {}
        self._phase: tuple[str, float] | None = None
        self._unflushed: list[Path] = []
        self._lock = Lock(self.path / LOCK)

    def claim(self, room: int = 0) -> None:
        """Claims the directory for a new run.

        Creating status.json is the claim: the operating system lets only one process succeed.

        Args:
            room: bytes that must be free on the disk.

        Raises:
            UserError: the directory is in use, holds links or is not writable, or the disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            require_ordinary(self.path)
            if any(not _is_of_nobody(entry) for entry in self.path.iterdir()) and not never_began(self.path):
                require_free(self._lock.path)
                raise FileExistsError
            require_room(self.path, room)
            self._lock.acquire()
            if never_began(self.path):  # and whoever died there holds the lock no more
                _clear_beginning(self.path)
            os.close(os.open(self.path / "status.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            self.checkpoints.mkdir(exist_ok=True)
            self.figures.mkdir(exist_ok=True)
            self.note(
                state="running", process=os.getpid(), started=_now(), epoch=0, step=0, reason=None, updated=_now()
            )
            self.write("status.json", self._status)
        except FileExistsError:
            self.release()
            has_run = (self.path / "status.json").exists()
            given = "holds another run" if has_run else "holds other files" if self.path.is_dir() else "is a file"
            raise UserError(
                "a run's directory must be its own", f"{self.path} {given}", "another name for it"
            ) from None
        except OSError as error:
            if self._lock.is_held:  # this process has made everything in it
                self.release()
                for name in ("status.json", LOCK):
                    (self.path / name).unlink(missing_ok=True)
                for folder in (self.checkpoints, self.figures):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            raise _not_writable(self.path, error) from None

    def reopen(self, room: int = 0) -> None:
        """Locks the directory of an existing run, to resume it.

        Raises:
            UserError: another process uses it, or it is not writable.
        """
        require_ordinary(self.path)
        try:
            last = self._lock.acquire()
            require_room(self.path, room)
            for folder in (self.checkpoints, self.figures):
                folder.mkdir(exist_ok=True)
            for folder in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
                remove_temporary_files(folder)
            self._status = read_status(self.path)
        except OSError as error:
            self.release()
            raise _not_writable(self.path, error) from None
        except UserError:
            self.release()
            raise
        if last is not None:
            self.taken_over = f"process {last.get('process')} on {last.get('host')}"
        for word in ("ended", "infeasible", "pruned"):
            self._status.pop(word, None)
        resumed = self._status.get("resumed", 0)
        self.update(state="running", process=os.getpid(), reason=None, resumed=resumed + 1)

    taken_over: str | None = None
    """The process that died while it held the directory."""

    def release(self) -> None:
        """Unlocks the directory for other processes."""
        self._lock.release()

    def update(self, **changes: Any) -> None:
        """Changes entries of status.json, and writes it."""
        self.note(**changes, updated=_now())
        write_json(self.path / "status.json", self._status)

    def note(self, **changes: Any) -> None:
        """Changes entries of status.json; the next `update` writes them."""
        self._status.update(changes)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file without flushing it to the disk; the next `flush` does."""
        write_json(self.path / name, content, flushed=False)
        self._unflushed.append(self.path / name)

    def flush(self) -> None:
        """Flushes the files of `write` to the disk; within `flushed_together`, at its end."""
        for path in self._unflushed:
            flush(path)
        self._unflushed = []

    def add_seconds(self, name: str, seconds: float) -> None:
        """Adds to the seconds of a phase of the run; the next `update` writes them."""
        known: dict[str, float] = self._status.setdefault("seconds", {})
        known[name] = round(known.get(name, 0.0) + seconds, 3)

    def begin_phase(self, name: str) -> None:
        """Ends the current phase and begins another; status.json holds the seconds of each."""
        self.end_phase()
        self._phase = (name, time.perf_counter())

    def end_phase(self) -> None:
        if self._phase is not None:
            name, began = self._phase
            self.add_seconds(name, time.perf_counter() - began)
            self._phase = None

    def end(self, state: str, reason: str, **also: Any) -> None:
        """Writes the final state, `finished`, `failed` or `stopped`, and the reason; unlocks the directory."""
        self.end_phase()
        try:
            with flushed_together():
                self.flush()
                self.update(state=state, reason=reason, ended=_now(), **also)
        except OSError:
            # A full disk has no room for a new file, but the old one can be overwritten.
            _write_in_place(self.path / "status.json", json.dumps(self._status, indent=2).encode())
        once_flushed(self.release)


def _write_in_place(path: Path, content: bytes) -> None:
    """Overwrites a JSON file within the disk blocks that it already has.

    Raises:
        OSError: the content needs more; the file is unchanged.
    """
    with path.open("r+b", buffering=0) as file:
        about = os.fstat(file.fileno())
        if len(content) > max(about.st_size, getattr(about, "st_blocks", 0) * 512):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file.write(content.ljust(about.st_size))  # padded by blanks, so that no old text ever follows the JSON
        file.truncate(len(content))


def never_began(directory: Path) -> bool:
    """Returns whether a run was killed there before its manifest and configuration were written.

    Nothing was learned until then, so another run may begin there.
    """
    try:
        if read_status(directory)["state"] != "running":
            return False
    except UserError:
        return False
    has_both = (directory / "manifest.json").exists() and (directory / ".hydra" / "config.yaml").exists()
    known = {"status.json", "data.json", "train.log", "manifest.json", "csv", "tensorboard", "checkpoints", "figures"}
    names = {entry.name for entry in directory.iterdir() if not entry.name.startswith(".")}
    return not has_both and names <= known and not any((directory / "checkpoints").glob("*.ckpt"))


def _clear_beginning(directory: Path) -> None:
    """Takes away what a run writes before its manifest, but for the lock, which is this process's own."""
    for entry in list(directory.iterdir()):
        if entry.name != LOCK and entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK and entry.suffix != ".log":  # Hydra may have opened the log of the next run
            entry.unlink()


def read_status(directory: Path) -> dict[str, Any]:
    """Reads and checks the status.json of a run, as data.

    Raises:
        UserError: the file is missing, or a run has not written it.
    """
    path = directory / "status.json"
    try:
        status = json.loads(read_ordinary(path))
        seconds = status.get("seconds", {})
        if not (
            isinstance(status.get("state"), str)
            and isinstance(status.get("resumed", 0), int)
            and isinstance(seconds, dict)
            and all(isinstance(value, int | float) for value in seconds.values())
        ):
            raise ValueError("its values are not those of a run")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        if path.is_file() and path.stat().st_size == 0:  # the process died between creating and writing it
            return {"state": "running"}
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            "the directory of a run must have its status.json", f"{path}: {reason}", "the directory of another run"
        ) from None
    return status  # type: ignore[no-any-return]


def require_room(directory: Path, room: int) -> None:
    """Refuses a disk that is too full for the files of a run, before it begins.

    Raises:
        NoRoom: says how much is free.
    """
    free = shutil.disk_usage(directory).free
    if free < room:
        raise NoRoom(
            "the disk must have room for the run's checkpoints",
            f"{directory} has {in_megabytes(free)} free, and they need about {in_megabytes(room)}",
            "freeing some, or paths.logs=SOMEWHERE_ELSE",
        )


def in_megabytes(n_bytes: int) -> str:
    """Formats a size: `12.3 MB`."""
    return f"{n_bytes / 1e6:,.1f} MB"


def _is_of_nobody(entry: Path) -> bool:
    """Returns whether a file may exist before a run claims the directory: hidden, or Hydra's empty log."""
    return entry.name.startswith(".") or (entry.suffix == ".log" and entry.is_file() and not entry.stat().st_size)


def _not_writable(path: Path, error: OSError) -> UserError:
    return not_writable("the run's directory", path, error, "paths.logs=SOMEWHERE_ELSE")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
