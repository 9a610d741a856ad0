"""The words of a sweep that somebody else may have sent: choices of conf/ and plain values, or refused."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException
from yaml import YAMLError

from mlplab.errors import UserError, printable
from mlplab.sweeps.overrides import params_of
from mlplab.sweeps.search.conditions import split_conditions

FLAGS = ("-m", "--multirun")

OF_HYDRA = {
    "hydra/launcher": ("basic", "joblib", "stacked"),
    "hydra/sweeper": ("grid", "optuna", "comparison"),
}
"""Groups of Hydra of which a received sweep may choose. Their files lie in plug-ins, and not in conf/ alone."""

OF_LAUNCHERS = ("members", "processes", "n_jobs")
"""Settings of launchers that it may give; others name folders and commands of a cluster."""

WRITING = ("callbacks", "logger")
"""Groups whose texts say where files go, and to which servers."""

PLACES = ("resume", "trust", "paths", "hydra", "default_root_dir")
"""Names that decide what is executed, or where files are written."""

_KEY = re.compile(r"[A-Za-z]\w*([./][A-Za-z]\w*)*", re.ASCII)


def first_unknown_word(words: Iterable[str], path: Path, conf: Path) -> UserError | None:
    """Returns a refusal of the first word that gives more than a choice of conf/ or a plain value.

    Args:
        words: that a file of a sweep holds, of its command or its jobs.
        path: of that file, for messages.
        conf: one's own conf/, whose files may be chosen.
    """
    for word in dict.fromkeys(words):
        if word not in FLAGS and not _is_plain(word, conf):
            return UserError(
                "a sweep from elsewhere must give choices of conf/ and plain values alone",
                f"{printable(word)} in {path}", "trust=true, if you know what it does: it would be executed",
            )  # fmt: skip
    return None


def _is_plain(word: str, conf: Path) -> bool:
    # Nothing is resolved: a `$` could read the environment, or put together what is refused as a whole.
    if word.startswith("-") or "$" in word or printable(word) != word:
        return False
    try:
        override: Override = OverridesParser.create().parse_override(word)  # as Hydra itself will read it
        value = override.value()
    except (HydraException, ValueError, RecursionError):
        return False
    key = override.key_or_group
    if override.package is not None or _KEY.fullmatch(key) is None:
        return False
    if override.is_delete():
        return not key.startswith("hydra") and value is None
    if key in OF_HYDRA:
        return _are_choices(value, lambda choice: choice in OF_HYDRA[key])
    if key == "hydra.mode":
        return bool(value == "MULTIRUN")
    if key.startswith("hydra.launcher."):
        return key.split(".")[2:] in [[name] for name in OF_LAUNCHERS] and (value == "auto" or _is_number(value))
    if key.startswith("hydra.sweeper."):
        return _is_setting_of_a_sweeper(key.split(".")[2:], value, conf)
    return _is_value(key, value, conf)


def _is_setting_of_a_sweeper(names: list[str], value: Any, conf: Path) -> bool:
    if names[0] not in _settings_of_sweepers(conf):
        return False
    if names[0] not in ("params", "arms"):
        return _is_plain_value(value)
    for name in reversed(names[1:]):  # hydra.sweeper.arms.sgd.optimizer=sgd
        value = {name: value}
    spaces = value.values() if names[0] == "arms" and isinstance(value, dict) else [value]
    try:  # as the sweeper will: the texts are words of their own
        words = [word for space in spaces for word in params_of(split_conditions(space, None)[0], "params")]
    except (UserError, YAMLError):
        return False
    return all(_is_plain(word, conf) for word in words)


def _is_value(key: str, value: Any, conf: Path) -> bool:
    names = re.split(r"[./]", key)
    if _KEY.fullmatch(key) is None or any(name in PLACES for name in names):
        return False
    if (conf / key).is_dir():
        return _are_choices(value, lambda choice: (conf / key / f"{choice}.yaml").is_file())
    if names[0] in WRITING:  # a sweep over numbers is plain too
        return _is_number(value)
    return _is_plain_value(value)


def _are_choices(value: Any, is_choice: Any) -> bool:
    """Returns whether a group is given names of its files, or none of them."""
    if isinstance(value, Glob):  # of the names that there are
        return True
    values = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    return all(
        one is None
        or (isinstance(one, str | QuotedString) and re.fullmatch(r"\w+", _text(one)) is not None
            and is_choice(_text(one)))
        for one in values
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    if isinstance(value, ChoiceSweep | list):
        return all(_is_number(one) for one in (value if isinstance(value, list) else value.list))
    return value is None or isinstance(value, bool | int | float | RangeSweep | IntervalSweep)


def _is_plain_value(value: Any) -> bool:
    """Returns whether a value holds no name of code, however deep."""
    if isinstance(value, ChoiceSweep):
        return all(map(_is_plain_value, value.list))
    if isinstance(value, list):
        return all(map(_is_plain_value, value))
    if isinstance(value, dict):
        names = [_text(name) for name in value]
        is_named = all(not name.startswith("_") and name not in PLACES for name in names)
        return is_named and all(map(_is_plain_value, value.values()))
    return _is_number(value) or isinstance(value, str | QuotedString | Glob)


def _text(value: Any) -> str:
    return value.text if isinstance(value, QuotedString) else str(value)


@functools.cache
def _settings_of_sweepers(conf: Path) -> frozenset[str]:
    """The names that conf/ has for settings of its sweepers, without those of Hydra's own."""
    names: set[str] = set()
    for path in (conf / "hydra" / "sweeper").glob("*.yaml"):
        names |= set(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    return frozenset(name for name in names if not name.startswith("_"))
