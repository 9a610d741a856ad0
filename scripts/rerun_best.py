"""Runs the best of a sweep once more, on seeds that had no part in choosing it.

    python scripts/rerun_best.py logs/sweeps/NAME seeds=10

    sweep=DIRECTORY    of the sweep; its name may be left out
    seeds=10           on how many new seeds

What stands out among many runs stands out by luck too; on new seeds only what is real is left. Of a comparison the
best of each arm is run. The jobs join the sweep, and its report shows them apart. The sweep's own command is given
again, with its launcher and from the folder in which it was given; what has been run already is not run again.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlplab.config.words import Word, run_script
from mlplab.errors import Refusal
from mlplab.sweeps.ledger import read_ledger

TRAIN = Path(__file__).resolve().parents[1] / "train.py"


WORDS = {
    "sweep": Word("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "seeds": Word("count", 10, example="10"),
}


def main(settings: dict[str, Any]) -> int:
    directory: Path = settings["sweep"].absolute()
    ledger = read_ledger(directory)
    if ledger is None:
        raise Refusal("sweep must be the directory of one", f"{directory} has no sweep.json", "sweep=logs/sweeps/NAME")
    asked = ledger.asked
    words = [word for word in shlex.split(asked["commands"][-1])[2:] if not word.startswith("sweep.rerun=")]
    command = [sys.executable, str(TRAIN), *words, f"hydra.sweep.dir={directory}", f"sweep.rerun={settings['seeds']}"]
    folder = Path(asked.get("folder") or ".")
    done = subprocess.run(command, cwd=folder if folder.is_dir() else None, env=dict(os.environ), check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(run_script(main, WORDS, __doc__))
