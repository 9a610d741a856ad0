"""How many jobs a launcher runs at the same time: as many trials a search asks for at once."""

from typing import Any

from mlplab.errors import UserError


def jobs_at_once(launcher: Any) -> int:
    """Returns how many jobs a launcher runs at the same time; 1 where it does not say."""
    launcher = launcher or {}
    n_jobs = launcher.get("members") or launcher.get("array_parallelism") or launcher.get("n_jobs", 1)
    if not isinstance(n_jobs, int):
        return 1
    if n_jobs == 0:
        raise UserError(
            "hydra.launcher.n_jobs must be a number of jobs, or -1 for one on each core", "hydra.launcher.n_jobs=0",
            "hydra.launcher.n_jobs=2",
        )  # fmt: skip
    if n_jobs > 0:
        return n_jobs
    from joblib import cpu_count  # its launcher counts the cores with this

    return max(1, int(cpu_count()) + 1 + n_jobs)  # -1 is all cores, -2 all but one
