"""Files that are written whole or not at all, and read only where they are ordinary ones."""

import contextlib
import errno
import json
import os
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplab.errors import Refusal, printable

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

LARGEST = 64_000_000
"""Bytes of a file that is read whole; sweep.json of ten thousand jobs has a tenth of it."""


def read_ordinary(path: Path, most: int = LARGEST) -> bytes:
    """Reads a file that somebody else may have made.

    Raises:
        OSError: it is none, a link, a pipe or a device, or it has too many bytes.
    """
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for, a device has no end
        raise OSError(errno.EINVAL, "it is a link" if path.is_symlink() else "it is no ordinary file", str(path))
    if about.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return path.read_bytes()


def require_ordinary(directory: Path, *, deep: bool = True) -> None:
    """Refuses a directory that holds pipes or devices, or links that lead out of it.

    What is written into it would go where such a link leads.

    Args:
        directory: of a run or a sweep; nothing needs be there.
        deep: whether the folders in it are looked through, too.

    Raises:
        Refusal: with the first such entry.
    """
    whole = directory.resolve()
    waiting = [directory]
    while waiting:
        try:
            entries = sorted(waiting.pop().iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in entries:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                if path.resolve().is_relative_to(whole):
                    continue
                what = f"a link to {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                continue
            elif stat.S_ISDIR(mode):
                waiting += [path] if deep else []
                continue
            else:
                what = "no ordinary file"
            raise Refusal(
                "a run or a sweep must hold files and folders of its own alone", printable(f"{path} is {what}"),
                f"rm {shlex.quote(printable(path))}",
            )  # fmt: skip


@dataclass(frozen=True)
class _Written:
    """A whole file under a temporary name, which waits for its own."""

    temporary: Path
    path: Path
    replace: bool
    keep: Path | None

    def take_its_place(self) -> None:
        if self.keep is not None and self.path.exists():
            _keep(self.path, self.keep)
        if self.replace:
            self.temporary.replace(self.path)
        else:
            put_in_place(self.temporary, self.path)


@dataclass(frozen=True)
class _Batch:
    """What is flushed to the disk together."""

    written: list[_Written] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    actions: list[Callable[[], object]] = field(default_factory=list)

    def finish(self) -> None:
        try:
            own = {file.path for file in self.written}  # not there yet under their own names
            others = [path for path in self.others if path not in own]
            _flush([*(file.temporary for file in self.written), *others])
            for file in self.written:
                file.take_its_place()
        except BaseException:
            for file in self.written:
                file.temporary.unlink(missing_ok=True)
            raise
        _flush(list(dict.fromkeys(file.path.parent for file in self.written)))
        for action in self.actions:
            action()


_batch: ContextVar[_Batch | None] = ContextVar("_batch", default=None)

AT_ONCE = 32
"""Files that wait for the disk at the same time: it writes many in little more time than one."""


@contextmanager
def flushed_together() -> Iterator[None]:
    """Within it, `write_atomically` leaves files under their temporary names; they get their own at its end.

    All are flushed before the first is renamed, in the order in which they were written, and their directories after
    the last. What is written twice is there twice until then, and is not to be read. Raises, at its end, what
    `write_atomically` would have raised; where something is raised within it, what has been written is kept.
    """
    if _batch.get() is not None:
        yield
        return
    batch = _Batch()
    token = _batch.set(batch)
    try:
        yield
    finally:
        _batch.reset(token)
        batch.finish()


def flush(path: Path) -> None:
    """Flushes a file to the disk: now, or with the others of `flushed_together`."""
    batch = _batch.get()
    if batch is None:
        _flush([path])
    else:
        batch.others.append(path)


def once_flushed(action: Callable[[], object]) -> None:
    """Does something now, or when `flushed_together` has ended well."""
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
    flushed: bool = True,
    now: bool = False,
) -> None:
    """Lets `write` fill a temporary file beside `path`, and then puts it in its place.

    Flushed to the disk before it is renamed: after a crash there is the old file or the new one, never a part.
    Raises what `write` raises; the old file is then untouched and the temporary one gone. Without `replace` a file
    that is there, or has come in the meantime, stays: FileExistsError. The old file stays under the name `keep`,
    where that is given, and at every moment there is a whole one under `path` or under `keep`. What is not `flushed`
    outlives the process, but not a crash of the machine that comes at once. What is read or appended to next is
    written `now`, also within `flushed_together`.
    """
    temporary = _temporary(path)
    try:
        # Not by `tempfile`, which gives 0600: a run is as readable as any other file that the user makes.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            _lock(descriptor)  # it ends with this process: a file without one is what a killed process has left
            write(temporary)
        finally:
            os.close(descriptor)
        written = _Written(temporary, path, replace, keep)
        batch = None if now else _batch.get()
        if batch is not None:
            batch.written.append(written)
        elif flushed:
            _Batch([written]).finish()
        else:
            written.take_its_place()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        for path in paths:
            _flush_one(path)
        return
    with ThreadPoolExecutor(min(len(paths), AT_ONCE)) as pool:
        list(pool.map(_flush_one, paths))


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"


_OWN = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")
"""Names that `_temporary` gives."""


def remove_temporary_files(directory: Path, name: str | None = None) -> None:
    """Takes away what processes that were killed have left half-written.

    What another process has in hand stays, but for what waits in its `flushed_together`: a directory in which that is
    used must be locked.

    Args:
        directory: whose files they are; those of its folders stay.
        name: of the file that they were to become; None for any.
    """
    for leftover in directory.glob(".*.tmp"):
        match = _OWN.fullmatch(leftover.name)
        if match is not None and name in (None, match[1]):
            with contextlib.suppress(OSError):
                _remove_if_left(leftover)


def _remove_if_left(temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        if _lock(descriptor):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Takes a lock on a file for as long as it is open; False where another process has it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system knows no locks
            pass
    return True


def _keep(path: Path, keep: Path) -> None:
    """Gives the file a second name, which it keeps when the first goes to another."""
    link = _temporary(keep)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        path.replace(keep)
    else:
        link.replace(keep)
        link.unlink(missing_ok=True)  # where both are one file already, as after a kill at this place, it stays


def put_in_place(temporary: Path, path: Path) -> None:
    """Renames, but unlike `rename` never over another file."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is taken first, and filled at once
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(path)
    else:
        temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file with the atomicity of `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, content: dict[str, Any], *, flushed: bool = True) -> None:
    """Writes JSON with the atomicity of `write_atomically`; numbers that are not finite become null."""
    # Half of a surrogate pair, as a file name that is no text leads to, is written as JSON writes it.
    text = (as_json(content) + "\n").encode("utf-8", "backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(text), flushed=flushed)


def as_json(content: dict[str, Any]) -> str:
    """JSON for people and programs; numbers that are not finite become null."""
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not a number is null, as every reader of JSON expects."""
    if isinstance(value, dict):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
