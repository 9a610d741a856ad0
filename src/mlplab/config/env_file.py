"""Reads machine-specific settings: the variables of .env, and the chosen file of conf/local."""

import os
import re
from pathlib import Path

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError

FILE = Path(__file__).resolve().parents[3] / ".env"

LOCAL = "MLPLAB_LOCAL"
"""Environment variable that chooses a file of conf/local."""

LINE = re.compile(
    r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*="
    r"\s*(?:'(?P<single>[^'\0]*)'|\"(?P<double>[^\"\0]*)\"|(?P<bare>[^'\"#\s][^\0]*?|))(?:\s+#.*)?",
    re.ASCII,
)
"""Matches KEY=VALUE, with optional quotes and a comment. Values are taken literally."""


def read_env_file(path: Path) -> dict[str, str]:
    """Parses a file of lines KEY=VALUE; empty if the file is missing.

    Raises:
        UserError: it is not text, or a line has another form or repeats a variable.
    """
    # A Python environment, which is a folder, may have the same name.
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
        # No message shows the line, which may hold a password.
        if match is None:
            raise UserError(f"{path} must hold lines KEY=VALUE", f"line {number} is none", f"# before line {number}")
        name, *values = match.groups()
        if name in found:
            raise UserError(f"{path} must give a variable once", f"line {number} gives {name} again", "one of them")
        found[name] = next(value for value in values if value is not None)
    return found


def load_env_file() -> None:
    """Sets those variables of .env that are not set yet.

    Raises:
        UserError: the file cannot be read, or conf/local lacks the chosen file.
    """
    for name, value in read_env_file(FILE).items():
        os.environ.setdefault(name, value)
    chosen = os.environ.get(LOCAL)
    choices = sorted(path.stem for path in (FILE.parent / "conf" / "local").glob("*.yaml"))
    if chosen and chosen not in choices:
        near = nearest_name(chosen, choices) or "none"
        raise UserError(f"{LOCAL} must be one of {', '.join(choices)}", f"{LOCAL}={chosen}", f"{LOCAL}={near}")


def local_choice() -> str:
    """Returns this machine's choice of a file in conf/local."""
    is_there = (FILE.parent / "conf" / "local" / "default.yaml").is_file()
    return os.environ.get(LOCAL) or ("default" if is_there else "none")


def describe_env_file() -> str:
    """Lists the variables of .env in one line, without values; empty if there are none."""
    try:
        values = read_env_file(FILE)
    except UserError:  # edited meanwhile
        return ""
    taken = [name for name, value in values.items() if os.environ.get(name) == value]
    kept = [name for name in values if name not in taken]
    told = [", ".join(taken)] if taken else []
    told += [f"{', '.join(kept)} had other values already, which count"] if kept else []
    return f"env     {FILE.name}: {'; '.join(told)}" if told else ""
