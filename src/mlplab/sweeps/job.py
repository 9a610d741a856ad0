"""One job of a sweep, in whichever process a launcher runs it."""

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlplab.config.resolvers import register_resolvers
from mlplab.errors import Refusal, RunStopped
from mlplab.runs.received import read_yaml
from mlplab.sweeps.comparing import require_same
from mlplab.sweeps.states import read_result, read_state

STOPPING = ".stopping"
"""A file in the sweep's directory, while its processes are asked to stop: no job begins then."""


class JobOfSweep:
    """What a launcher calls for each job: the task, without what it says on the terminal.

    It carries to another process what the task needs there and Hydra does not bring.

    Args:
        task: what Hydra was given to run.
        root: the project's folder.
        directory: of the sweep.
    """

    def __init__(self, task: Callable[[Any], Any], root: Path, directory: Path) -> None:
        self.task, self.root, self.directory = task, root, directory
        self.argv = list(sys.argv)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        register_resolvers(self.root)
        sys.argv[:] = self.argv  # a run notes the command that it was started with
        # The terminal sends Ctrl-C to every process: a job in hand notices it, an idle worker has nothing to say.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __call__(self, config: DictConfig) -> Any:
        if (self.directory / STOPPING).exists():
            raise RunStopped("the sweep is being stopped", 128 + signal.SIGINT)
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            return self.task(config)


def begun_before(directory: Path, config: DictConfig) -> bool:
    """Whether the job in a directory has begun in an earlier launch of its sweep, and goes on.

    What is left of a job that was refused before it began is cleared away.

    Raises:
        Refusal: it was begun with another configuration.
    """
    if not (directory / "status.json").exists():
        return False
    if not (directory / "manifest.json").is_file() or not (directory / ".hydra" / "config.yaml").is_file():
        _clear(directory)
        return False
    then = OmegaConf.to_container(read_yaml(directory / ".hydra" / "config.yaml"), resolve=False)
    require_same(then, OmegaConf.to_container(config, resolve=False), directory.name)
    return True


def objective_of_finished(directory: Path) -> float | None:
    """What a job has come to that needs not be run again; None where it must be."""
    if read_state(directory).name not in ("finished", "pruned"):
        return None
    objective = read_result(directory).get("objective")
    return float(objective) if isinstance(objective, int | float) else math.nan


def _clear(directory: Path) -> None:
    """Takes away what a job writes before its manifest, and nothing else."""
    with contextlib.suppress(OSError, ValueError):
        status = json.loads((directory / "status.json").read_text(encoding="utf-8"))
        if status.get("state") == "finished":
            raise Refusal("a finished job must have its manifest.json", f"{directory} has none", "another sweep.name")
    for name in ("status.json", ".lock", "train.log"):
        (directory / name).unlink(missing_ok=True)
    for path in [*directory.glob(".hydra/*.yaml"), *directory.glob(".*.tmp"), *directory.glob("*/.*.tmp")]:
        path.unlink()
    for name in (".hydra", "checkpoints", "figures"):
        with contextlib.suppress(OSError):
            (directory / name).rmdir()
