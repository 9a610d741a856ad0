"""Reads what a machine keeps for itself: the variables of .env, and which file of conf/local is chosen."""

import os
import re
from pathlib import Path

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError

FILE = Path(__file__).resolve().parents[3] / ".env"

LOCAL = "MLPLAB_LOCAL"
"""Variable of the environment that chooses a file of conf/local."""

LINE = re.compile(
    r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*="
    r"\s*(?:'(?P<single>[^'\0]*)'|\"(?P<double>[^\"\0]*)\"|(?P<bare>[^'\"#\s][^\0]*?|))(?:\s+#.*)?",
    re.ASCII,
)
"""KEY=VALUE, perhaps with quotes around the value, and a remark behind it. Nothing is replaced in a value."""


def read_env_file(path: Path) -> dict[str, str]:
    """Parses a file of lines KEY=VALUE; there are none if there is no such file.

    Raises:
        UserError: it is no text, or a line is something else, or gives a variable again.
    """
    # An environment of Python's may have the same name, and is a folder.
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} must be text", str(error), "another file") from None
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        # Neither message shows the line, which may hold a password.
        if match is None:
            raise UserError(f"{path} must hold lines KEY=VALUE", f"line {number} is none", f"# before line {number}")
        name, *values = match.groups()
        if name in found:
            raise UserError(f"{path} must give a variable once", f"line {number} gives {name} again", "one of them")
        found[name] = next(value for value in values if value is not None)
    return found


def load_env_file() -> None:
    """Sets the variables of .env that are not set already.

    Raises:
        UserError: the file cannot be read, or conf/local has no such file as the environment chooses.
    """
    for name, value in read_env_file(FILE).items():
        os.environ.setdefault(name, value)
    chosen = os.environ.get(LOCAL)
    choices = sorted(path.stem for path in (FILE.parent / "conf" / "local").glob("*.yaml"))
    if chosen and chosen not in choices:
        near = nearest_name(chosen, choices) or "none"
        raise UserError(f"{LOCAL} must be one of {', '.join(choices)}", f"{LOCAL}={chosen}", f"{LOCAL}={near}")


def local_choice() -> str:
    """Returns which file of conf/local this machine takes."""
    is_there = (FILE.parent / "conf" / "local" / "default.yaml").is_file()
    return os.environ.get(LOCAL) or ("default" if is_there else "none")


def describe_env_file() -> str:
    """Names the variables of .env in one line, without their values; returns "" if there are none."""
    try:
        values = read_env_file(FILE)
    except UserError:  # somebody has edited it meanwhile
        return ""
    taken = [name for name, value in values.items() if os.environ.get(name) == value]
    kept = [name for name in values if name not in taken]
    told = [", ".join(taken)] if taken else []
    told += [f"{', '.join(kept)} had other values already, which count"] if kept else []
    return f"env     {FILE.name}: {'; '.join(told)}" if told else ""
