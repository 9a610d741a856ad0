"""Formats the project's commands as typed in the current folder. Imports nothing heavy."""

import shlex
import shutil
import sys
from pathlib import Path

from mlplab.config.paths import shortest

ROOT = Path(__file__).resolve().parents[3]


def command(script: str, *words: str) -> str:
    """Formats the command that runs a script of the project: `python train.py optimizer.lr=0.1`."""
    return " ".join([_python(), shortest(ROOT / script), *map(shlex.quote, words)])


def install(extra: str) -> str:
    """Formats the command that installs an extra."""
    project = shlex.quote(f"{shlex.split(shortest(ROOT))[0]}[{extra}]")
    return f"{_python()} -m pip install -c {shortest(ROOT / 'constraints.txt')} -e {project}"


def same_command(directory: Path, is_named: bool) -> str:
    """Describes the command that continues a sweep: the same one, with the sweep's generated name if it needs that.

    Args:
        directory: of the sweep.
        is_named: whether the same command leads to the same directory.
    """
    if is_named:
        return "the same command"
    words = [word for word in sys.argv[1:] if not word.lstrip("+").startswith("sweep.name=")]
    return command("train.py", *words, f"sweep.name={directory.name}")


def _python() -> str:
    # Without an activated environment, python may be missing or lack this project.
    found = shutil.which("python")
    return "python" if found is not None and Path(found) == Path(sys.executable) else shortest(Path(sys.executable))


def typed_overrides() -> list[str]:
    """Returns the typed overrides; empty outside of Hydra."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
