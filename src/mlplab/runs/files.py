"""Writes files atomically, and reads only ordinary files."""

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from mlplab.errors import UserError, printable

try:
    import fcntl
except ImportError:  # no file locks on this system: the process named in a lock file counts as holder
    fcntl = None  # type: ignore[assignment]

LARGEST = 64_000_000
"""Maximum of bytes to read from a file; sweep.json of ten thousand jobs has a tenth of it."""

FULL = 1_000_000
"""Free bytes below which a failed write counts as a full disk, whatever PyTorch's message says."""

OLD = 3600.0
"""Seconds after which a temporary file counts as left over, on systems without locks."""

FORMULA_STARTS = ("=", "+", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "-")
"""Characters with which spreadsheets begin a formula, in any width (OWASP, "CSV Injection")."""


def timestamp() -> str:
    """Returns the time in UTC, in the format of the files of runs and sweeps."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_ordinary(path: Path, most: int = LARGEST) -> bytes:
    """Reads a file that somebody else may have made.

    Raises:
        OSError: the file is missing, a link, a pipe or a device, or has too many bytes.
    """
    # Not `stat`, which would follow a link to any file.
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would block, a device may have no end
        raise OSError(errno.EINVAL, "it is a link" if path.is_symlink() else "it is no ordinary file", str(path))
    if about.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """Reads an untrusted JSON object; empty if the file is missing, unreadable or not an object."""
    try:
        content = _parsed(read_ordinary(path))
    # Deeply nested JSON exceeds Python's limit of recursion.
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file with a JSON object in each line; skips truncated lines."""
    try:
        rows = read_ordinary(path).splitlines()
    except OSError:
        return []
    lines = []
    with contextlib.suppress(ValueError, RecursionError):
        # Parsing all lines at once takes half the time.
        lines = _parsed(b"[%b]" % b",".join(rows))
        rows = []
    for row in rows:
        # A kill may have cut the last line off.
        with contextlib.suppress(ValueError, RecursionError):
            lines.append(_parsed(row))
    return [line for line in lines if isinstance(line, dict)]


def _parsed(text: bytes) -> Any:
    """Parses JSON, with Python's NaN and Infinity."""
    try:
        return orjson.loads(text)  # three times as fast, which a report of thousands of runs needs
    except orjson.JSONDecodeError:
        return json.loads(text)


def require_ordinary(directory: Path, *, deep: bool = True) -> None:
    """Refuses a directory that contains pipes, devices, or links that lead out of it.

    Writing through such a link would change files elsewhere.

    Args:
        directory: of a run or a sweep; may be missing.
        deep: whether to check subfolders too.

    Raises:
        UserError: names the first such entry.
    """
    whole = directory.resolve()
    waiting = [directory]
    while waiting:
        try:
            entries = sorted(waiting.pop().iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in entries:
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a temporary file of the process that uses the directory
                continue
            if stat.S_ISLNK(mode):
                # A link that stays within the directory reaches nothing else. By os.path, as `Path.resolve` raises an
                # error for a link to itself before Python 3.13.
                if Path(os.path.realpath(path)).is_relative_to(whole):
                    continue
                what = f"a link to {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                continue
            elif stat.S_ISDIR(mode):
                waiting += [path] if deep else []
                continue
            else:
                what = "no ordinary file"
            raise UserError(
                "a run or a sweep must contain only ordinary files and folders", printable(f"{path} is {what}"),
                f"rm {shlex.quote(printable(path))}",
            )  # fmt: skip


@dataclass(frozen=True)
class _Written:
    """A complete file under a temporary name, to be renamed."""

    temporary: Path
    path: Path
    replace: bool
    keep: Path | None

    def rename(self) -> None:
        # The second name first, so that a kill in between leaves a complete file under both names.
        if self.keep is not None and self.path.exists():
            _keep(self.path, self.keep)
        if self.replace:
            self.temporary.replace(self.path)
        else:
            _rename_without_replacing(self.temporary, self.path)


@dataclass(frozen=True)
class _Batch:
    """Files to flush to the disk together."""

    written: list[_Written] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    actions: list[Callable[[], object]] = field(default_factory=list)

    def finish(self) -> None:
        try:
            own = {file.path for file in self.written}  # they do not exist under their final names yet
            # Before the renames, or a renamed file could be empty after a crash of the machine.
            _flush([*(file.temporary for file in self.written), *(path for path in self.others if path not in own)])
            for file in self.written:
                with _ignoring_removed(file.path.parent):
                    file.rename()
        except BaseException:
            for file in self.written:
                file.temporary.unlink(missing_ok=True)
            raise
        # Names are stored in the folders, which must be flushed too.
        folders = list(dict.fromkeys(file.path.parent for file in self.written))
        _flush(folders, folders)
        for action in self.actions:
            action()


_batch: ContextVar[_Batch | None] = ContextVar("_batch", default=None)

AT_ONCE = 32
"""Files to flush in parallel: many take little longer than one."""


@contextmanager
def flushed_together() -> Iterator[None]:
    """Defers the flushes and renames of `write_atomically` to its end, which makes many files faster.

    At its end all files are flushed, then renamed in the order of writing, then their directories are flushed. Do not
    read a deferred file before. Errors of `write_atomically` are raised at its end. If an exception leaves the block,
    the files written so far are kept.
    """
    # Nested blocks are flushed with the outermost one.
    if _batch.get() is not None:
        yield
        return
    batch = _Batch()
    token = _batch.set(batch)
    try:
        yield
    finally:
        # Reset first, so that the final actions write at once.
        _batch.reset(token)
        batch.finish()


def flush(path: Path) -> None:
    """Flushes a file to the disk: now, or at the end of `flushed_together`."""
    batch = _batch.get()
    if batch is None:
        _flush([path])
    else:
        batch.others.append(path)


def once_flushed(action: Callable[[], object]) -> None:
    """Calls a function now, or once `flushed_together` has ended without an error."""
    batch = _batch.get()
    if batch is None:
        action()
    else:
        batch.actions.append(action)


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    *,
    replace: bool = True,
    keep: Path | None = None,
    now: bool = False,
    mode: int = 0o666,
) -> None:
    """Lets `write` fill a temporary file beside `path`, flushes it to the disk, and renames it.

    After a crash the old or the new file exists, never a part. If `write` raises, the old file is unchanged and the
    temporary one is removed.

    Args:
        path: of the file.
        write: fills the file at the path that it is given.
        replace: whether an existing file may be replaced.
        keep: new name of the old file. At any time a complete file exists under `path` or `keep`.
        now: writes at once, even within `flushed_together`, for files that are read or appended to next.
        mode: permissions of the file, less the user's umask.

    Raises:
        FileExistsError: without `replace`, the file exists, or was created meanwhile.
    """
    temporary = _temporary(path)
    try:
        # Not by `tempfile`, which sets mode 0600: files of a run shall have the user's default permissions.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            # The system unlocks it when this process ends, so an unlocked file is left over from a killed process.
            lock_file(descriptor)
            write(temporary)
        finally:
            os.close(descriptor)
        written = _Written(temporary, path, replace, keep)
        batch = None if now else _batch.get()
        if batch is not None:
            batch.written.append(written)
        else:
            _Batch([written]).finish()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush(paths: Sequence[Path], folders: Sequence[Path] | None = None) -> None:
    folders = [path.parent for path in paths] if folders is None else folders
    if len(paths) < 2:  # a pool of threads would take longer to start
        for path, folder in zip(paths, folders, strict=True):
            _flush_one(path, folder)
        return
    with ThreadPoolExecutor(min(len(paths), AT_ONCE)) as pool:
        list(pool.map(_flush_one, paths, folders))


def _flush_one(path: Path, folder: Path) -> None:
    with _ignoring_removed(folder):
        # A folder can be opened for reading only, which suffices for fsync.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _ignoring_removed(folder: Path) -> Iterator[None]:
    """Ignores errors from a folder that was moved or deleted within the block.

    The next write there reports it. Files of other folders in the same flush are kept.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_dir():
            raise


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"


_OWN = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")
"""Matches the names of `_temporary`."""


def remove_temporary_files(directory: Path, name: str | None = None) -> None:
    """Removes temporary files that killed processes have left.

    Files that another process is writing stay. Files that it has deferred by `flushed_together` do not: lock a
    directory in which that is used.

    Args:
        directory: of the files; its folders are not searched.
        name: final name of the files; None for any.
    """
    for leftover in directory.glob(".*.tmp"):
        match = _OWN.fullmatch(leftover.name)
        if match is None or name not in (None, match[1]):
            continue
        with contextlib.suppress(OSError):
            # Links are not followed.
            descriptor = os.open(leftover, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                is_left = lock_file(descriptor)
                if is_left is None:  # without locks, the age decides: a file that is being written is young
                    is_left = time.time() - os.fstat(descriptor).st_mtime > OLD
                if is_left:
                    leftover.unlink()
            finally:
                os.close(descriptor)


def _keep(path: Path, keep: Path) -> None:
    """Links the file under a second name, which remains when the first is replaced."""
    link = _temporary(keep)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        path.replace(keep)
    else:
        link.replace(keep)
        link.unlink(missing_ok=True)  # remains if both names were one file already, after a kill at this point


def _rename_without_replacing(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: create the name first, then replace it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(path)
    else:
        temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file by `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON by `write_atomically`; numbers that are not finite become null."""
    # A file name that is not valid text gives lone surrogates; backslashreplace writes them as JSON escapes.
    text = (as_json(content) + "\n").encode("utf-8", "backslashreplace")
    write_bytes(path, text)


def as_json(content: dict[str, Any]) -> str:
    """Formats JSON with indentation; numbers that are not finite become null."""
    # Raises on any remaining non-finite number, which other programs could not read.
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Replaces numbers that are not finite by None, as JSON has no NaN."""
    if isinstance(value, dict):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lock_file(descriptor: int) -> bool | None:
    """Tries to lock a file until it is closed.

    Returns:
        False if another process has locked it, None if the system or its file system knows no locks.
    """
    if fcntl is None:
        return None
    try:
        # Not `lockf`, whose lock ends when the process closes any descriptor of the file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
