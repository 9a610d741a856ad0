"""The names that conf/ may use inside ${…}."""

import functools
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer

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
    if isinstance(overrides, ListConfig):  # as they were typed: a value of the environment is no part of a name
        overrides = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
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
    _parse_once()


def project_root() -> Path:
    """Returns the project folder that `register_resolvers` was given."""
    return Path(OmegaConf.create({"root": "${project_root:}"}).root)


def _parse_once() -> None:
    """Lets OmegaConf keep what a text with `${…}` is made of: to find out again takes longer than to resolve it.

    Every run asks a few dozen times for the same ten texts, and every job of a sweep again.
    """
    for module in (omegaconf.base, omegaconf._utils):
        parse = getattr(module, "parse", None)
        if parse is not None and not hasattr(parse, "cache_info"):
            module.parse = functools.lru_cache(maxsize=1024)(parse)  # type: ignore[attr-defined]


MARK = "\0environment"


def as_told(config: DictConfig, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """The configuration in plain values for people: resolved, but for what comes from the environment.

    A password or a token is given as `${oc.env:…}` so that it is written nowhere: such a value, and all that is made
    of it, stays as it stands in the configuration.

    Args:
        config: whole.
        keys: of its values that are wanted; None is all.
    """
    with _marked_environment():
        told: dict[str, Any] = _told(config, keys)
    return told


def _told(node: Any, keys: Any = None) -> Any:
    if not isinstance(node, Container):
        return node
    if keys is None:
        keys = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))  # type: ignore[arg-type]
    told = {}
    for key in keys:
        raw = node._get_node(key)
        try:
            value = _told(node[key])
        except Exception:  # what cannot be made of a mark, such as a number
            value = MARK
        told[key] = str(raw._value()) if isinstance(value, str) and MARK in value else value  # type: ignore[union-attr]
    return told if isinstance(node, DictConfig) else list(told.values())


@contextmanager
def _marked_environment() -> Iterator[None]:
    """Within it, `${oc.env:…}` gives a mark."""
    resolver = BaseContainer._resolvers["oc.env"]
    OmegaConf.register_new_resolver("oc.env", lambda *arguments: MARK, replace=True)
    try:
        yield
    finally:
        BaseContainer._resolvers["oc.env"] = resolver
