"""Files that are whole or not there."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(
    path: Path, write: Callable[[Path], object], *, replace: bool = True, keep: Path | None = None
) -> None:
    """Lets `write` fill a temporary file beside `path`, and then puts it in its place.

    Flushed to the disk before it is renamed: after a crash there is the old file or the new one, never a part.
    Raises what `write` raises; the old file is then untouched and the temporary one gone. Without `replace` a file
    that is there, or has come in the meantime, stays: FileExistsError. The old file stays under the name `keep`,
    where that is given, and at every moment there is a whole one under `path` or under `keep`.
    """
    temporary = _temporary(path)
    try:
        # Not by `tempfile`, which gives 0600: a run is as readable as any other file that the user makes.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _keep(path, keep)
        if replace:
            temporary.replace(path)
        else:
            _put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"


def remove_temporary_files(directory: Path) -> None:
    """Takes away what a process that was killed has left half-written; only for whoever alone writes there."""
    for leftover in directory.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _keep(path: Path, keep: Path) -> None:
    """Gives the file a second name, which it keeps when the first goes to another."""
    link = _temporary(keep)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        path.replace(keep)
    else:
        link.replace(keep)


def _put_in_place(temporary: Path, path: Path) -> None:
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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON with the atomicity of `write_atomically`; numbers that are not finite become null."""
    text = as_json(content) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
