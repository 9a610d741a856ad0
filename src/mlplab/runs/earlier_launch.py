"""Finds a run that an earlier launch of its sweep or SLURM job has begun or finished."""

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlplab.config.differing import MAY_DIFFER, extended, require_same
from mlplab.config.paths import shortest
from mlplab.errors import UserError
from mlplab.runs.directory import never_began
from mlplab.runs.files import require_ordinary
from mlplab.runs.layout import CONFIG, MANIFEST, STATUS
from mlplab.runs.run_reading import found_before, read_result, read_state
from mlplab.runs.untrusted_config import read_yaml

HOW = "MLPLAB_JOB"
"""Environment variable that tells a job's command whether to `begin` or to `resume`."""


def begun_before(directory: Path, config: DictConfig) -> bool:
    """Returns whether the job in a directory began in an earlier launch of its sweep, and is to resume.

    Raises:
        UserError: it began with another configuration, or its directory holds links or lacks files.
    """
    require_ordinary(directory)
    if not (directory / STATUS).exists() or never_began(directory):
        return False
    if not (directory / MANIFEST).is_file() or not (directory / CONFIG).is_file():
        raise UserError(
            "a job that goes on must have its manifest.json and .hydra/config.yaml",
            f"{shortest(directory)} has other files and not both of them",
            f"rm -r {shortest(directory)}, to let it begin again",
        )
    then: Any = OmegaConf.to_container(read_yaml(directory / CONFIG), resolve=False)
    now: Any = OmegaConf.to_container(config, resolve=False)
    # New options of conf/ were reported for the whole sweep, and typed ones compared there.
    may_differ = (*MAY_DIFFER, *found_before(directory))
    require_same(extended(then, now), now, directory.name, may_differ)
    return True


def objective_of_finished(directory: Path) -> float | None:
    """Returns the objective of a finished job; None if the job must run."""
    if read_state(directory).name not in ("finished", "pruned"):
        return None
    objective = read_result(directory).get("objective")
    return float(objective) if isinstance(objective, int | float) else math.nan  # Hydra expects a number
