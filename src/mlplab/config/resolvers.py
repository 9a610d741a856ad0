"""The names that conf/ may use inside ${…}."""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without characters that are taken for each other when read aloud."""

DESCRIBING = ("data", "loss", "model", "optimizer", "regularization", "scheduler", "seed", "trainer")
"""The groups whose overrides say what a job of a sweep is about."""

NAME_LENGTH = 100


def new_run_name() -> str:
    """A name that no other run has, in the order of time: 2026-05-01_12-30-59_k3f9qx."""
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(6))
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{suffix}"


def job_name(number: int, overrides: Sequence[str]) -> str:
    """A directory name that tells the jobs of a sweep apart, such as 3_optimizer-sgd_dropout-0.5.

    Only letters, digits, points, dashes and underscores, so that it needs no quotes anywhere.
    """
    words = [str(number)]
    for override in overrides:
        key, _, value = override.partition("=")
        if key.partition(".")[0] in DESCRIBING:
            value = re.sub(r"(?<=\de)\+", "", value)  # 1e+30 is not 1e-30
            words.append(f"{key.rpartition('.')[2]}-{re.sub(r'[^A-Za-z0-9.]+', '-', value).strip('-')}")
    return "_".join(words)[:NAME_LENGTH]


def register_resolvers(root: Path) -> None:
    """Makes `${project_root:}` and `${run_name:}` (the same name throughout a process) known to OmegaConf."""
    OmegaConf.register_new_resolver("project_root", lambda: str(root), replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("run_name", new_run_name, use_cache=True, replace=True)
