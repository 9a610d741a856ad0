"""Checks the user's files and directories. Imports nothing heavy."""

import errno
import os
import re
import shlex
import stat
import unicodedata
from pathlib import Path

from mlplab.config.suggestions import ALIKE, nearest_name
from mlplab.errors import UserError, first_of


def require_file(path: Path, key: str) -> None:
    """Refuses a path that is not a file, or an empty file.

    Raises:
        UserError: suggests the nearest name in the folder.
    """
    try:
        if path.is_dir():
            within = sorted(entry.name for entry in path.iterdir() if entry.is_file() and entry.name[0] not in "._")
            hint = f"{key}={path / (within[0] if within else 'table.csv')}"
            raise UserError(f"{key} must be a file", f"{path} is a folder", hint)
        # Reading a pipe would wait for a writer, and a device may have no end.
        if path.exists() and not path.is_file():
            raise UserError(f"{key} must be a file", f"{path} is a device or a pipe", "a copy of it in a file")
        if not path.is_file():
            folder = path.parent
            names = sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
            # Endings are compared separately: houses.csv is nearer to houses.parquet than to mouse.csv.
            near = nearest_name(path.stem, [Path(name).stem for name in names], ALIKE)
            likely = next((name for name in names if Path(name).stem == near), None)
            # Without a similar name, no file is suggested.
            others = f"another file of that folder: {first_of(names, 5)}" if names else "the path of another file"
            hint = f"{key}={folder / likely}" if likely else others
            raise UserError(f"{key} must be a file that exists", f"there is no {path}", hint)
        # Only opening it shows whether it may be read.
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        hint = "a shorter path" if error.errno == errno.ENAMETOOLONG else f"chmod u+r {path}"
        raise UserError(f"{key} must be readable", f"{path}: {error.strerror}", hint) from None
    if not start:
        raise UserError(f"{key} must hold something", f"{path} is empty", "another file")


def is_pipe(path: Path) -> bool:
    """Returns whether a path can be read only once: a named pipe, standard input, a process substitution."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not a file name, such as one with a zero byte
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def require_data_file(path: Path, key: str) -> None:
    """Refuses a path that cannot be a table: no file, an empty one, or a folder without Parquet files.

    Raises:
        UserError: with the nearest name.
    """
    # By os.path, as Path.is_dir raises an error for a path that is too long, or in a folder that cannot be read.
    if is_pipe(path) or (os.path.isdir(path) and parquet_files(path)):
        return
    # Pipes that a shell or a program opens before the command begins.
    if re.match(r"/dev/(stdin|fd/\d+)$|/proc/self/fd/\d+$", str(path)) and not path.is_file():
        raise UserError(
            f"{key} must be a file, or a pipe that is open",
            f"nothing is piped into {path}",
            f"the same rows piped into the command once more, or {key}=… with a file that holds them",
        )
    require_file(path, key)


def parquet_files(folder: Path) -> list[Path]:
    """Lists the Parquet files of a folder and of the folders within, in a fixed order."""
    # Writers leave files such as _SUCCESS and .part.crc beside the data.
    return sorted(
        path
        for path in folder.rglob("*.parquet")
        if path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    )


def find_run(path: Path, key: str = "run") -> tuple[Path, Path]:
    """Finds the directory of a run and its checkpoint: best.ckpt, or last.ckpt if nothing was validated.

    Args:
        path: of a run's directory, or of a checkpoint.
        key: the option it was given for, in messages.

    Raises:
        UserError: there is none; suggests the nearest name.
    """
    if os.path.isfile(path):  # not `Path.is_file`, as in `require_data_file`
        folder = path.absolute().parent
        # A checkpoint that was copied elsewhere has no directory of a run around it.
        return folder.parent if folder.name == "checkpoints" else folder, path
    require_folder_of_run(path, key)
    # A kill between two renames leaves only previous.ckpt.
    for name in ("best", "last", "previous"):
        checkpoint = path / "checkpoints" / f"{name}.ckpt"
        if checkpoint.is_file():
            return path, checkpoint
    raise UserError(
        f"{key} must be the directory of a run with a checkpoint",
        f"{path} has no checkpoints/best.ckpt",
        "another run, such as one of logs/runs/*",
    )


def latest_run(runs: Path, key: str) -> Path:
    """Returns the directory of the latest run, by name.

    Args:
        runs: the folder of all runs.
        key: the option that is `latest`, in messages.

    Raises:
        UserError: there is none.
    """
    begun = sorted(folder for folder in runs.glob("*") if (folder / ".hydra" / "config.yaml").is_file())
    if not begun:
        raise UserError(f"{key}=latest must find a run", f"{runs} has none", f"{key}=logs/runs/NAME")
    return begun[-1]


def require_folder_of_run(path: Path, key: str) -> None:
    """Refuses a path that is not a folder.

    Args:
        path: as the user gave it.
        key: the option it was given for, in messages.

    Raises:
        UserError: suggests the nearest name beside it.
    """
    if os.path.isdir(path):
        return
    folder = path.parent
    # A folder without a run, or folders of them, such as docs/, would be a wrong hint.
    marks = (entry for mark in ("status.json", ".hydra", "checkpoints") for entry in folder.glob(f"*/{mark}"))
    names = sorted({entry.relative_to(folder).parts[0] for entry in marks})
    near = nearest_name(path.name, names)
    found = f"{path} is a file" if os.path.isfile(path) else f"there is no {path}"
    hint = f"{key}={folder / near}" if near else f"{key}=logs/runs/NAME"
    raise UserError(f"{key} must be the directory of a run", found, hint)


def shortest(path: Path) -> str:
    """Formats a path as one would type it in the current folder."""
    relative = os.path.relpath(path)  # a relative path that leads up two folders or more is no shorter
    return shlex.quote(str(path) if relative.startswith(os.pardir + os.sep + os.pardir) else relative)


def in_a_path(name: str) -> str:
    """Reduces a name to letters, digits, points, dashes and underscores; may be empty."""
    # Decomposes ä into a and a mark, which is dropped.
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")
