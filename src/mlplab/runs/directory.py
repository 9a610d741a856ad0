"""Claims a run's directory for one process, and records its state in status.json."""

import contextlib
import copy
import errno
import json
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from mlplab.errors import NoRoom, RunFailed, UserError, in_megabytes, not_writable
from mlplab.runs.files import (
    once_flushed,
    remove_temporary_files,
    require_ordinary,
    timestamp,
    write_json,
)
from mlplab.runs.layout import (
    BEFORE_TRAINING,
    CHECKPOINTS,
    CONFIG,
    FIGURES,
    LOCK,
    LOG,
    MANIFEST,
    RESULT,
    STATUS,
    TENSORBOARD,
)
from mlplab.runs.lock import Lock, require_free
from mlplab.runs.run_reading import read_state, read_status


class RunDirectory:
    """The directory of a run with its status.json. Claim it before writing into it.

    Attributes:
        path: absolute.
        checkpoints, tensorboard, figures: its folders.
        is_stacked: whether the run is trained in a stack; its manifest says so.
        taken_over: the process that died while it held the directory.
    """

    def __init__(self, path: Path) -> None:
        # The current folder may change during the run.
        self.path = path.absolute()
        self.checkpoints = self.path / CHECKPOINTS
        self.tensorboard = self.path / TENSORBOARD
        self.figures = self.path / FIGURES
        self.is_stacked = False
        self.taken_over: str | None = None
        self._status: dict[str, Any] = {}
        self._former: tuple[dict[str, Any], list[int]] | None = None
        self._phase: tuple[str, float] | None = None
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
            if any(_is_of_a_run(entry) for entry in self.path.iterdir()) and not never_began(self.path):
                # This message is more precise if a process is still at work there.
                require_free(self._lock.path)
                raise FileExistsError
            require_room(self.path, room, "freeing some space, or paths.logs=SOMEWHERE_ELSE")
            self._lock.acquire()
            if never_began(self.path):  # checked again, as only now no other process can begin there
                _clear_beginning(self.path)
            os.close(os.open(self.path / STATUS, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            self.checkpoints.mkdir(exist_ok=True)
            self.figures.mkdir(exist_ok=True)
            began = timestamp()
            self.note(state="running", process=os.getpid(), started=began, epoch=0, step=0, reason=None, updated=began)
            write_json(self.path / STATUS, self._status)
        except FileExistsError:
            self.release()
            has_run = (self.path / STATUS).exists()
            found = "holds another run" if has_run else "holds other files" if self.path.is_dir() else "is a file"
            raise UserError("a run must have a directory of its own", f"{self.path} {found}", "another name") from None
        except OSError as error:
            if self._lock.is_held:  # this process made everything in it
                self.release()
                for name in (STATUS, LOCK):
                    (self.path / name).unlink(missing_ok=True)
                for folder in (self.checkpoints, self.figures):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            raise not_writable("the run's directory", self.path, error, "paths.logs=SOMEWHERE_ELSE") from None

    def reopen(self, room: int = 0) -> None:
        """Locks the directory of an existing run, to resume it.

        Raises:
            UserError: another process uses it, or it is not writable.
        """
        require_ordinary(self.path)
        try:
            # First, as leftovers and status may belong to a process at work.
            last = self._lock.acquire()
            require_room(self.path, room, "freeing some space, then the same command")
            for folder in (self.checkpoints, self.figures):
                folder.mkdir(exist_ok=True)
            for folder in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
                remove_temporary_files(folder)
            self._status = read_status(self.path)
        except (OSError, UserError) as error:
            self.release()
            if isinstance(error, UserError):
                raise
            # The run is there, so another folder is no remedy.
            raise not_writable(
                "the run's directory", self.path, error, f"chmod -R u+w {shlex.quote(str(self.path))}"
            ) from None
        if last is not None:
            self.taken_over = f"process {last.get('process')} on {last.get('host')}"
        self._former = copy.deepcopy(self._status), self._stamps()
        # They describe an end that no longer applies.
        for name in ("ended", "infeasible", "pruned"):
            self._status.pop(name, None)
        resumed = self._status.get("resumed", 0) + 1
        self.update(state="running", process=os.getpid(), reason=None, resumed=resumed)

    @property
    def why_gone(self) -> str | None:
        """Returns a message if the directory that this process holds was moved or deleted; else None."""
        if not self._lock.is_held or self._lock.path.exists():
            return None
        return (
            f"the directory of a run must stay where it is until the run ends, but {self.path} was moved or deleted; "
            "try the same command again"
        )

    @property
    def has_finished(self) -> bool:
        """Returns whether the run had finished before it was resumed."""
        return self._former is not None and self._former[0].get("state") == "finished"

    def release(self) -> None:
        """Unlocks the directory for other processes."""
        self._lock.release()

    def update(self, **changes: Any) -> None:
        """Changes entries of status.json, and writes it."""
        self.note(**changes, updated=timestamp())
        write_json(self.path / STATUS, self._status)

    def note(self, **changes: Any) -> None:
        """Changes entries of status.json; the next `update` writes them."""
        self._status.update(changes)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Adds to the seconds of a phase of the run; the next `update` writes them."""
        known: dict[str, float] = self._status.setdefault("seconds", {})
        # To a millisecond.
        known[name] = round(known.get(name, 0.0) + seconds, 3)

    def begin_phase(self, name: str) -> None:
        """Ends the current phase and begins another; status.json holds the seconds of each."""
        self.end_phase()
        # The wall clock may be changed meanwhile.
        self._phase = (name, time.perf_counter())

    def end_phase(self) -> None:
        """Ends the current phase, if there is one."""
        if self._phase is not None:
            name, began = self._phase
            self.add_seconds(name, time.perf_counter() - began)
            self._phase = None

    def _stamps(self) -> list[int]:
        """Returns when results and checkpoints to resume from were last written."""
        paths = (self.path / RESULT, self.checkpoints / "last.ckpt")
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in paths]

    def end(self, state: str, reason: str, *, is_refused: bool = False, **also: Any) -> None:
        """Writes the final state (`finished`, `failed` or `stopped`) and the reason; unlocks the directory.

        A finished run that was resumed stays finished if it failed before it saved anything new.

        Args:
            state: of the three.
            reason: in one line.
            is_refused: whether a user's mistake ended it; a resumed run then keeps its former state.
            **also: other entries of status.json.

        Raises:
            RunFailed: a finished run has lost its directory.
        """
        if state == "finished" and (gone := self.why_gone):  # a short run may not have noticed before
            raise RunFailed(gone)
        self.end_phase()
        former, stamps = self._former or ({}, None)
        if stamps == self._stamps() and state != "finished" and (is_refused or self.has_finished):
            self._status = former
        else:
            now = timestamp()
            self.note(state=state, reason=reason, ended=now, updated=now, **also)
        try:
            write_json(self.path / STATUS, self._status)
        except OSError:
            # On a full disk, the old file can still be overwritten in place.
            _write_in_place(self.path / STATUS, json.dumps(self._status, indent=2).encode())
        # Locked until the state is on the disk, so that the next holder reads how the run ended.
        once_flushed(self.release)


def _write_in_place(path: Path, content: bytes) -> None:
    """Overwrites a JSON file within its allocated disk blocks.

    Raises:
        OSError: the content needs more; the file is unchanged.
    """
    with path.open("r+b", buffering=0) as file:
        about = os.fstat(file.fileno())
        # st_blocks counts 512 bytes each, whatever the file system's block size.
        if len(content) > max(about.st_size, getattr(about, "st_blocks", 0) * 512):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file.write(content.ljust(about.st_size))  # padded by blanks, so that no old text follows the JSON
        file.truncate(len(content))


def never_began(directory: Path) -> bool:
    """Returns whether a run ended there, by a kill or an error, before it wrote manifest and configuration.

    Nothing was learned until then, so another run may begin there.
    """
    if read_state(directory).name not in ("cut off", "running", "stopped", "failed"):
        return False
    has_both = (directory / MANIFEST).exists() and (directory / CONFIG).exists()
    names = {entry.name for entry in directory.iterdir() if not entry.name.startswith(".")}
    # A checkpoint means that something was learned.
    return not has_both and names <= BEFORE_TRAINING and not any((directory / CHECKPOINTS).glob("*.ckpt"))


def _clear_beginning(directory: Path) -> None:
    """Removes only the files that a run writes before its manifest."""
    remove_temporary_files(directory)
    for entry in (directory / name for name in (*BEFORE_TRAINING, CONFIG.parts[0])):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in (STATUS, LOG):  # Hydra may have opened the next run's log
            entry.unlink(missing_ok=True)
    # Last, so that a kill before it leaves a recognisable beginning.
    (directory / STATUS).unlink()


def require_room(directory: Path, room: int, hint: str) -> None:
    """Refuses a disk that is too full for a run's files, before the run begins or resumes.

    Raises:
        NoRoom: says how much is free.
    """
    free = shutil.disk_usage(directory).free
    if free < room:
        raise NoRoom(
            "the disk must have room for the run's checkpoints",
            f"{directory} has {in_megabytes(free)} free, and they need about {in_megabytes(room)}",
            hint,
        )


def _is_of_a_run(entry: Path) -> bool:
    """Returns whether a file belongs to a run: it is neither hidden nor Hydra's empty log."""
    is_empty_log = entry.suffix == ".log" and entry.is_file() and not entry.stat().st_size
    return not entry.name.startswith(".") and not is_empty_log
