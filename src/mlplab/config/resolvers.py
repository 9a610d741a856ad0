"""Registers the names that conf/ may use inside ${…}, and resolves a configuration without its secrets."""

import functools
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer

from mlplab.objectives.options import SCORES

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Lacks characters that are easily confused: 0 and o, 1 and l."""

DESCRIBING = (
    "data", "loss", "metrics", "model", "module", "optimizer", "regularization", "scheduler", "seed", "trainer",
)  # fmt: skip
"""Groups whose overrides are part of the name of a job."""

NAME_LENGTH = 100


def new_run_name() -> str:
    """Makes a unique name that sorts by time: 2026-05-01_12-30-59_k3f9qx."""
    suffix = "".join(secrets.choice(ALPHABET) for _ in range(6))
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{suffix}"


def job_name(number: int, overrides: Sequence[str]) -> str:
    """Names the directory of a sweep's job by its overrides: 3_optimizer-sgd_dropout-0.5.

    The name consists of letters, digits, points, dashes and underscores, so that it needs no quotes anywhere.
    """
    if isinstance(overrides, ListConfig):  # unresolved: a value of the environment is no part of a name
        overrides = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
    words = [str(number)]
    for override in overrides:
        key, _, value = override.partition("=")
        if key.partition(".")[0] in DESCRIBING:
            value = re.sub(r"(?<=\de)\+", "", value)  # 1e+30 is not 1e-30
            words.append(f"{key.rpartition('.')[2]}-{re.sub(r'[^A-Za-z0-9.]+', '-', value).strip('-')}")
    return "_".join(words)[:NAME_LENGTH]


def register_resolvers(root: Path) -> None:
    """Registers the resolvers of conf/; `${run_name:}` is the same throughout a process."""
    # replace=True, as tests and notebooks register more than once in a process.
    OmegaConf.register_new_resolver("project_root", lambda: str(root), replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    # Cached: each use of ${run_name:} would otherwise give another name.
    OmegaConf.register_new_resolver("run_name", new_run_name, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("mode_of", mode_of, replace=True)
    _parse_once()


def mode_of(monitor: Any) -> str | None:
    """Returns whether small (`min`) or large values (`max`) of a score are good, by its last word; None if unknown."""
    known = {name: mode for scores in SCORES.values() for name, mode in scores.items()}
    return known.get(re.split("[/_]", str(monitor))[-1])


def project_root() -> Path:
    """Returns the project folder that `register_resolvers` was given."""
    return Path(OmegaConf.create({"root": "${project_root:}"}).root)


def _parse_once() -> None:
    """Makes OmegaConf cache the syntax tree of a string with `${…}`: parsing it takes longer than resolving it.

    Every run resolves the same ten strings a few dozen times, and so does every job of a sweep.
    """
    # Each of the two has imported the function under a name of its own.
    for module in (omegaconf.base, omegaconf._utils):
        parse = getattr(module, "parse", None)
        if parse is not None and not hasattr(parse, "cache_info"):
            module.parse = functools.lru_cache(maxsize=1024)(parse)  # type: ignore[attr-defined]


# A variable of the environment cannot contain a zero byte, so no value holds this text by chance.
MARK = "\0environment"
"""Stands for a value of the environment while a configuration is resolved."""


def without_secrets(config: DictConfig, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """Resolves a configuration for people, except values that come from the environment.

    A password or a token is given as `${oc.env:…}` so that it is written nowhere. Such a value, and every value that is
    made of it, stays as it stands in the configuration.

    Args:
        config: whole.
        keys: of the values to return; None for all.
    """
    # OmegaConf has no public way to read a resolver that is registered.
    resolver = BaseContainer._resolvers["oc.env"]
    # The mark passes through interpolations of interpolations, so values made of a secret are found as well.
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
        except Exception:  # a number, for example, cannot be made of the mark
            value = MARK
        is_secret = isinstance(value, str) and MARK in value
        values[key] = str(raw._value()) if is_secret else value  # type: ignore[union-attr]
    return values if isinstance(node, DictConfig) else list(values.values())
