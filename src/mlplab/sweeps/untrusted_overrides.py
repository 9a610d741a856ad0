"""Checks the overrides of a sweep that somebody else may have sent: choices of conf/ and plain values alone."""

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from yaml import YAMLError

from mlplab.errors import UserError, printable
from mlplab.runs.trust import require_trust
from mlplab.sweeps.ledger import FILE, Ledger
from mlplab.sweeps.overrides import params_as_overrides, plain_value
from mlplab.sweeps.search.space import split_conditions

FLAGS = ("-m", "--multirun")

OF_HYDRA = {
    "hydra/launcher": ("basic", "joblib", "ray", "stacked"),
    "hydra/sweeper": ("grid", "optuna", "comparison"),
}
"""Choices of Hydra's groups that a received sweep may make. Their files lie in plug-ins, and not in conf/ alone."""

OF_LAUNCHERS = ("members", "processes", "n_jobs")
"""Options of launchers that it may set; others name folders and commands of a cluster."""

WRITING = ("callbacks", "logger")
"""Groups whose texts say where files are written, and to which servers they are sent."""

PLACES = ("resume", "trust", "paths", "hydra", "default_root_dir")
"""Options that decide what is executed, or where files are written."""

_KEY = re.compile(r"[A-Za-z]\w*([./][A-Za-z]\w*)*", re.ASCII)


def require_trusted_overrides(ledger: Ledger, overrides: Iterable[str], conf: Path, *, trust: bool) -> None:
    """Refuses overrides of a received sweep.json that are more than choices of conf/ and plain values.

    Args:
        ledger: of the sweep.
        overrides: of its command, or of its jobs.
        conf: the user's own conf/, whose files may be chosen.
        trust: whether the user has given trust=true.

    Raises:
        UserError: with the first of them.
    """
    path = ledger.directory / FILE
    require_trust(path, first_untrusted_override(overrides, path, conf), lambda: ledger.why_not_own, trust=trust)


def first_untrusted_override(overrides: Iterable[str], path: Path, conf: Path) -> UserError | None:
    """Returns a refusal of the first override that is more than a choice of conf/ or a plain value."""
    for override in dict.fromkeys(overrides):
        if override not in FLAGS and not _is_plain(override, conf):
            return UserError(
                "a sweep from elsewhere must give choices of conf/ and plain values alone",
                f"{printable(override)} in {path}", "trust=true, if you know what it does: it would be executed",
            )  # fmt: skip
    return None


def _is_plain(text: str, conf: Path) -> bool:
    # Nothing is resolved: a `$` could read the environment, or put together what is refused as a whole.
    if text.startswith("-") or "$" in text or printable(text) != text:
        return False
    try:
        override: Override = OverridesParser.create().parse_override(text)  # as Hydra itself will read it
        value = _expanded(override.value())
    except (HydraException, ValueError, RecursionError):
        return False
    key = override.key_or_group
    if override.package is not None or _KEY.fullmatch(key) is None:  # a package moves a choice to another name
        return False
    if override.is_delete():
        # Deleting one of Hydra's callbacks could hide what happens.
        return not key.startswith("hydra") and value is None
    if key in OF_HYDRA:
        return _are_choices(value, lambda choice: choice in OF_HYDRA[key])
    if key == "hydra.mode":
        return bool(value == "MULTIRUN")
    if key.startswith("hydra.launcher."):
        return key.split(".")[2:] in [[name] for name in OF_LAUNCHERS] and (value == "auto" or _is_number(value))
    if key.startswith("hydra.sweeper."):
        return _is_sweeper_setting(key.split(".")[2:], value, conf)
    return _is_value(key, value, conf)


def _is_sweeper_setting(names: list[str], value: Any, conf: Path) -> bool:
    if names[0] not in _sweeper_settings(conf):
        return False
    if names[0] not in ("params", "arms"):
        return _is_plain_value(value)
    for name in reversed(names[1:]):  # hydra.sweeper.arms.sgd.optimizer=sgd
        value = {name: value}
    spaces = value.values() if names[0] == "arms" and isinstance(value, dict) else [value]
    try:  # as the sweeper will: each text is an override
        texts = [text for space in spaces for text in params_as_overrides(split_conditions(space, None)[0], "params")]
    except (UserError, YAMLError):
        return False
    return all(_is_plain(text, conf) for text in texts)


def _is_value(key: str, value: Any, conf: Path) -> bool:
    names = re.split(r"[./]", key)
    if _KEY.fullmatch(key) is None or any(name in PLACES for name in names):
        return False
    if (conf / key).is_dir():  # a group, whose choices are names of files
        return _are_choices(value, lambda choice: (conf / key / f"{choice}.yaml").is_file())
    if names[0] in WRITING:  # a sweep over numbers is plain too
        return _is_number(value)
    return _is_plain_value(value)


def _expanded(value: Any) -> Any:
    """Converts a parsed value to plain Python, a sweep to the list of its values."""
    if isinstance(value, ChoiceSweep):
        return [_expanded(one) for one in value.list]
    if isinstance(value, RangeSweep | IntervalSweep):
        return 0  # as good as any of its numbers
    return None if isinstance(value, Glob) else plain_value(value)  # a glob selects from the choices that there are


def _are_choices(value: Any, is_choice: Callable[[str], bool]) -> bool:
    """Returns whether a group is given names of its files, or none of them."""
    return all(
        one is None or (isinstance(one, str) and re.fullmatch(r"\w+", one) is not None and is_choice(one))
        for one in (value if isinstance(value, list) else [value])
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_number, value))
    return value is None or isinstance(value, bool | int | float)


def _is_plain_value(value: Any) -> bool:
    """Returns whether a value holds no name of code, however deep."""
    if isinstance(value, list):
        return all(map(_is_plain_value, value))
    if isinstance(value, dict):
        is_named = all(not name.startswith("_") and name not in PLACES for name in value)  # _target_, _args_ …
        return is_named and all(map(_is_plain_value, value.values()))
    return _is_number(value) or isinstance(value, str)


@functools.cache
def _sweeper_settings(conf: Path) -> frozenset[str]:
    """Reads from conf/ which settings its sweepers have, without those of Hydra itself."""
    names: set[str] = set()
    for path in (conf / "hydra" / "sweeper").glob("*.yaml"):
        names |= set(yaml.safe_load(path.read_text(encoding="utf-8")) or {})  # the user's own files
    return frozenset(name for name in names if not name.startswith("_"))
