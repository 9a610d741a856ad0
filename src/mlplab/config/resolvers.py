"""The names that conf/ may use inside ${…}."""

import secrets
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without characters that are taken for each other when read aloud."""


def new_run_name() -> str:
    """A name that no other run has, in the order of time: 2026-05-01_12-30-59_k3f9qx."""
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(6))
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{suffix}"


def register_resolvers(root: Path) -> None:
    """Makes `${project_root:}` and `${run_name:}` (the same name throughout a process) known to OmegaConf."""
    OmegaConf.register_new_resolver("project_root", lambda: str(root), replace=True)
    OmegaConf.register_new_resolver("run_name", new_run_name, use_cache=True, replace=True)
