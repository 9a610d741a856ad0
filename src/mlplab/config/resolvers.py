"""Registers the resolvers of conf/, `${…}`, and resolves a configuration without its secrets."""

import functools
import re
import secrets
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer

from mlplab.config.env_file import local_choice
from mlplab.config.paths import in_a_path
from mlplab.objectives.options import mode_of
from mlplab.slurm import is_requeued, name_of_command

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Letters and digits without easily confused ones: 0 and o, 1 and l."""

NOT_DESCRIBING = ("hydra", "logger", "paths", "resume", "sweep", "trust")
"""Groups whose overrides are left out of job names."""

NAME_LENGTH = 100

TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"
"""Matches the time at the beginning of a run's name."""


def new_run_name(logs: str = "", name: Any = None) -> str:
    """Makes a unique name that sorts by time: 2026-05-01_12-30-59_k3f9qx, or …_baseline_k3f9qx with a given name.

    In a SLURM job it ends with the job's number, and stays the same if the job is requeued.

    Args:
        logs: folder whose runs/ and sweeps/ hold what the job began before.
        name: given by the user.
    """
    # Cut, as Hydra makes the directory before the check refuses a longer name.
    of_job, given = name_of_command(sys.argv[1:]), "" if name is None else in_a_path(str(name))[:100]
    if of_job and is_requeued():
        # The name of a sweep may begin with that of an experiment.
        pattern = rf"{TIME}_{given and f'{re.escape(given)}_'}\w{{6}}_{of_job}$"
        known = [re.search(pattern, path.name) for path in Path(logs).glob(f"*/*_{of_job}")]
        if names := sorted(match[0] for match in known if match):
            return names[-1]
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(6))
    return "_".join(filter(None, (f"{datetime.now():%Y-%m-%d_%H-%M-%S}", given, suffix, of_job)))


def _run_name(name: Any = None, *, _root_: Any) -> str:
    """Makes a run's name once for a configuration and all copies that Hydra makes of it."""
    # A cache of our own: OmegaConf has no use_cache=True for resolvers that read the configuration.
    cache = OmegaConf.get_cache(_root_)["run_name"]
    key = (str(name),)
    if key not in cache:
        cache[key] = new_run_name(str(OmegaConf.select(_root_, "paths.logs", default="")), name)
    found: str = cache[key]
    return found


def job_name(number: int, overrides: Sequence[str]) -> str:
    """Makes the directory name of a sweep's job from its overrides: 3_optimizer-sgd_dropout-0.5.

    The name consists of letters, digits, points, dashes and underscores, so that it needs no quotes anywhere.
    """
    if isinstance(overrides, ListConfig):  # unresolved, as names must not contain values from the environment
        overrides = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
    words = [str(number)]
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+")
        if re.split("[./]", key)[0] not in NOT_DESCRIBING:
            value = re.sub(r"(?<=\de)\+", "", value)  # 1e+30 is not 1e-30
            words.append(f"{key.rpartition('.')[2]}-{re.sub(r'[^A-Za-z0-9.]+', '-', value).strip('-')}")
    return "_".join(words)[:NAME_LENGTH]


def register_resolvers(root: Path) -> None:
    """Registers the resolvers of conf/; `${run_name:}` is the same throughout a process."""
    # replace=True, as tests and notebooks register more than once in a process.
    OmegaConf.register_new_resolver("project_root", lambda: str(root), replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("mode_of", mode_of, replace=True)
    OmegaConf.register_new_resolver("local_choice", local_choice, replace=True)
    _parse_once()


def project_root() -> Path:
    """Returns the project folder that `register_resolvers` was given."""
    return Path(OmegaConf.create({"root": "${project_root:}"}).root)


def _parse_once() -> None:
    """Makes OmegaConf cache the syntax tree of a string with `${…}`: parsing it takes longer than resolving it.

    Every run, and every job of a sweep, resolves the same ten strings a few dozen times.
    """
    # Both modules have imported the function, so both names are replaced.
    for module in (omegaconf.base, omegaconf._utils):
        parse = getattr(module, "parse", None)
        if parse is not None and not hasattr(parse, "cache_info"):
            module.parse = functools.lru_cache(maxsize=1024)(parse)  # type: ignore[attr-defined]


# An environment variable cannot contain a zero byte, so no value has this text by chance.
MARK = "\0environment"
"""Placeholder for values from the environment while a configuration is resolved."""


def without_secrets(config: DictConfig, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """Resolves a configuration for people, except values that come from the environment.

    Passwords and tokens are given as `${oc.env:…}` so that they are not written anywhere. Such a value, and any value
    derived from it, stays unresolved.

    Args:
        config: whole.
        keys: of the values to return; None for all.
    """
    # OmegaConf has no public access to registered resolvers.
    resolver = BaseContainer._resolvers["oc.env"]
    # The placeholder passes through nested interpolations, so values derived from a secret are found too.
    OmegaConf.register_new_resolver("oc.env", lambda *arguments: MARK, replace=True)
    try:
        values: dict[str, Any] = _resolved(config, keys)
    finally:
        BaseContainer._resolvers["oc.env"] = resolver
    return values


def _resolved(node: Any, keys: Any = None) -> Any:
    if not isinstance(node, Container):
        return node
    if keys is None:
        keys = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))  # type: ignore[arg-type]
    values = {}
    for key in keys:
        raw = node._get_node(key)
        try:
            value = _resolved(node[key])
        except Exception:  # the placeholder cannot become a number, for example
            value = MARK
        is_secret = isinstance(value, str) and MARK in value
        values[key] = str(raw._value()) if is_secret else value  # type: ignore[union-attr]
    return values if isinstance(node, DictConfig) else list(values.values())
