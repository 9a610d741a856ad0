"""Gets the project's commit from git, without running programs that a repository or the environment names.

The manual lists the settings by which git runs programs: https://git-scm.com/docs/git-config.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDERS = (
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/run/current-system/sw/bin",
    r"C:\Program Files\Git\cmd",
    str(Path(sys.prefix) / "bin"),
)
"""Folders to search for git. PATH is not trusted, as a configuration can set it by `hydra.job.env_set`."""

SETTINGS = {
    "core.fsmonitor": "false",  # a program that reports changed files
    "core.hooksPath": os.devnull,
    "protocol.allow": "never",  # any program could fetch the missing objects of a partial clone
    "core.sshCommand": "false",
    "core.gitProxy": "",
    "credential.helper": "",
    "core.pager": "",
    "diff.external": "",
    "log.showSignature": "false",  # by gpg.program
    "submodule.recurse": "false",
}
"""Settings by which a repository could make git run a program; given by -c, they override its own."""

OF_A_FILTER = {"clean": "", "smudge": "", "process": "", "required": "false"}

# In a submodule, git would follow the submodule's own configuration.
STATUS = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--ignore-submodules=all")
COMMIT = "# branch.oid "

SECONDS = 10


@functools.cache
def describe_commit(root: Path) -> dict[str, Any] | None:
    """Returns the commit and whether files differ from it; None outside a repository or without git.

    The result is cached, as a process runs the code that it has imported, whatever is committed later.

    Args:
        root: the project.
    """
    git = find_git()
    if git is None:
        return None
    try:
        settings = SETTINGS | dict(_without_filters(git, root))
        lines = _ask(git, root, settings, *STATUS).splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.removeprefix(COMMIT) for line in lines if line.startswith(COMMIT)), "(initial)")
    if commit == "(initial)":  # nothing has been committed yet
        return None
    return {"commit": commit, "dirty": any(not line.startswith("# ") for line in lines)}


def find_git() -> Path | None:
    """Returns git's absolute path; None if it is in none of `FOLDERS`."""
    paths = [Path(folder) / name for folder in FOLDERS for name in ("git", "git.exe")]
    return next((path for path in paths if path.is_absolute() and path.is_file() and os.access(path, os.X_OK)), None)


def _without_filters(git: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yields settings that turn off a repository's filters, which git runs to compare files.

    Filters of the user's own configuration stay.
    """
    asked = ("config", "--null", "--includes", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    try:
        parts = _ask(git, root, SETTINGS, *asked).split("\0")
    except subprocess.CalledProcessError as error:
        if error.returncode != 1:  # status 1: there are no filters
            raise
        return
    for scope, name in zip(parts[::2], parts[1::2], strict=False):
        if scope not in ("system", "global"):
            if "=" in name:  # -c would take "=" for the end of the name
                raise subprocess.SubprocessError(f"{name} cannot be turned off")
            for option, value in OF_A_FILTER.items():
                yield f"{name.rpartition('.')[0]}.{option}", value


def _ask(git: Path, root: Path, settings: Mapping[str, str], *arguments: str) -> str:
    environment = {
        "PATH": os.pathsep.join(FOLDERS),
        "HOME": _home(),
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",  # a run killed meanwhile would leave the index locked
        "GIT_NO_LAZY_FETCH": "1",
    }
    if "SYSTEMROOT" in os.environ:  # Windows cannot start a process without it
        environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [str(git), "--no-pager", *options, "-C", str(root), *arguments]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=SECONDS
    )
    return done.stdout.decode(errors="replace")


def _home() -> str:
    """Returns the user's home folder by the password database, as HOME may have been changed."""
    try:
        import pwd
    except ImportError:
        return str(Path.home())
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without an entry, in a container
        return os.devnull
