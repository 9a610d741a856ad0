"""Runs a finished run again, and says whether the result is the same to the last bit.

    python scripts/reproduce.py run=logs/runs/…

    run=DIRECTORY      of a run that has finished
    out=DIRECTORY      of the second run; a new one beside the first's by itself
    trust=true         if the first's configuration names code that conf/ does not: it is executed
    --json             the comparison as one JSON document on standard output, and nothing else

Compared are the weights, buffers and optimizer state at the end, the best weights, every metric, the losses by step
and by epoch. What differs between then and now (versions, threads, processor, commit, data) is told. The exit status
is 0 where both are identical.
"""

import sys
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir

from mlplab.cli.resume import config_of_run
from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.config.commands import command
from mlplab.config.resolvers import register_resolvers
from mlplab.engine.startup import quick_imports
from mlplab.errors import UserError
from mlplab.runs.run_reading import read_status
from mlplab.runs.untrusted_config import require_run

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "out": Option("path", example="again"),
    "trust": Option("switch", False),
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    register_resolvers(ROOT)
    directory = require_run(settings["run"], "run")
    state = read_status(directory)["state"]
    if state != "finished":
        raise UserError(
            "run must have finished", f"its status is {state}", command("train.py", f"resume={settings['run']}")
        )
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = config_of_run(directory, ROOT / "conf", trust=settings["trust"])
    with quick_imports():
        from mlplab.cli.reproduction import reproduce

    return reproduce(directory, config, settings["out"])


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
