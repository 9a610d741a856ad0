"""Runs the best of a sweep once more, on seeds that had no part in choosing it.

    python scripts/rerun_best.py logs/sweeps/NAME seeds=10 top=5

    sweep=DIRECTORY    of the sweep; its name may be left out
    seeds=10           on how many new seeds
    top=1              how many of the first settings, all on the same seeds, so that they can be compared
    trust=true         if the command or the jobs of somebody else's sweep name code: it is executed

What stands out among many runs stands out by luck too; on new seeds only what is real is left. Of a comparison the
best of each arm is run. The jobs join the sweep, and its report shows them apart. The sweep's own command is given
again, with its launcher and from the folder in which it was given; somebody else's sweep from the folder that you are
in. What has been run already is not run again.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from mlplab.cli.script import Option, run_script
from mlplab.cli.train_command import quoted, run_train
from mlplab.errors import UserError
from mlplab.sweeps.ledger import read_ledger
from mlplab.sweeps.untrusted_overrides import require_trusted_overrides

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / "train.py"

OF_A_RERUN = ("sweep.rerun=", "sweep.rerun_top=", "trust=")
"""Words of an earlier rerun, which this one gives itself."""

PLACES = ("paths.logs=", "hydra.sweep.dir=")
"""Words that say where somebody else's sweep was: it is where it was received."""

OPTIONS = {
    "sweep": Option("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "seeds": Option("count", 10, example="10"),
    "top": Option("count", 1, example="5"),
    "trust": Option("switch", False),
}


def main(settings: dict[str, Any]) -> int:
    directory: Path = settings["sweep"].absolute()
    ledger = read_ledger(directory)
    if ledger is None:
        raise UserError(
            "sweep must be the directory of one", f"{directory} has no sweep.json", "sweep=logs/sweeps/NAME"
        )
    if "$" in str(directory):
        raise UserError(
            "sweep must be a directory whose name Hydra takes as it is", str(directory), "another name for it"
        )
    words = [word for word in _words(directory, ledger.metadata.get("commands")) if not word.startswith(OF_A_RERUN)]
    trust = settings["trust"]
    folder, environment = Path(ledger.metadata.get("folder") or "."), dict(os.environ)
    is_received = ledger.why_not_own is not None and not trust
    if is_received:
        words = [word for word in words if not word.startswith(PLACES)]
        folder = Path()
        # Workers are started by `python -m …`, which would find modules in the folder that one is in.
        environment["PYTHONSAFEPATH"] = "1"
    require_trusted_overrides(ledger, words, ROOT / "conf", trust=trust)
    if is_received:
        words.append(f"paths.logs={quoted(directory.parents[1])}")
    words += [f"hydra.sweep.dir={quoted(directory)}", f"sweep.rerun={settings['seeds']}"]
    words += [f"sweep.rerun_top={settings['top']}"] if settings["top"] > 1 else []
    if trust:  # the words of the jobs come from the same file
        words.append("trust=true")
    return run_train(TRAIN, words, folder=folder if folder.is_dir() else None, environment=environment)


def _words(directory: Path, commands: Any) -> list[str]:
    """Returns the words of the last `python train.py …` of the sweep."""
    try:
        words = shlex.split(commands[-1])
    except (TypeError, IndexError, ValueError):
        words = []
    if len(words) < 3 or words[1] != TRAIN.name:
        raise UserError(
            "sweep.json must say by which command the sweep was run", f"{directory}/sweep.json has no such command",
            "the sweep's own command with sweep.rerun=10",
        )  # fmt: skip
    return words[2:]


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
