"""The commands that run a setting again."""

import math
import re
import shlex
from collections.abc import Sequence

from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.reading.ranked_settings import Setting

ELSEWHERE = "PATH/TO/"
"""Replaces folders of the machine that ran a sweep."""

_BEGINNING = re.compile(r"(?:~[^/]*|[A-Za-z]:)?[/\\].*[/\\]")
_WITHIN = re.compile(r"(?<=[\[,{:'\"])(?:~|[A-Za-z]:)?[/\\](?:[^'\",\[\]{}/\\]+[/\\])+")

OF_THE_SWEEP = re.compile(r"[+~]*(sweep|paths|hydra|resume|trust|name|tags|notes|callbacks\.search_pruning)([./@=]|$)")
"""Overrides about where and how a sweep was run."""


def portable(word: str) -> str:
    """Removes the folders of one machine from an override: `data.path=PATH/TO/table.csv`."""
    name, equals, value = word.partition("=")
    if not equals:
        name, value = "", word
    return f"{name}{equals}{_WITHIN.sub(ELSEWHERE, _absolute(value))}"


def _absolute(value: str) -> str:
    # Greedy up to the last separator, so that only the name of the file stays.
    found = _BEGINNING.match(value)
    return value if found is None else ELSEWHERE + value[found.end() :]


def portable_command(command: str) -> str:
    """Removes the folders of one machine from a command."""
    try:
        words = shlex.split(command)
    except ValueError:  # quotes that do not match
        return portable(command)
    return shlex.join(portable(word) for word in words)


def shared_words(constants: Sequence[str]) -> list[str]:
    """Returns the overrides that all jobs share, but for those about the sweep itself."""
    return [portable(word) for word in constants if not OF_THE_SWEEP.match(word)]


def commands(setting: Setting, constants: Sequence[str]) -> list[str]:
    """Returns the commands that run a setting again with all its seeds: one if Hydra's grid can express them.

    Args:
        setting: with its runs.
        constants: overrides that all jobs of its sweep share.
    """
    shared = shared_words(constants)
    is_recipe = any(word.lstrip("+").startswith("experiment=") for word in shared)
    overrides = [[portable(word) for word in run.entry.overrides] for run in setting.runs]
    if len(overrides) == 1:
        # An experiment can be a sweep by itself.
        return [_command([*shared, *overrides[0], *(["hydra.mode=RUN"] if is_recipe else [])])]
    seeds: dict[str, list[str]] = {}
    rest = []
    for word in dict.fromkeys(word for words in overrides for word in words):
        name, _, value = word.lstrip("+").partition("=")
        if name in SEEDS:
            seeds.setdefault(name, []).append(value)
        elif word in overrides[0]:
            rest.append(word)
    # Hydra's grid runs every combination, so pairs of seeds that are no product need a command each.
    if not seeds or math.prod(map(len, seeds.values())) != len(overrides):
        return [_command([*shared, *words]) for words in overrides]
    # An experiment can bring its own sweeper and name, which these replace.
    alone = ["hydra/sweeper=grid", "sweep.name=again"] if is_recipe else []
    return [_command(["-m", *shared, *rest, *(f"{name}={','.join(v)}" for name, v in seeds.items()), *alone])]


def _command(words: Sequence[str]) -> str:
    return f"python train.py {shlex.join(words)}".strip()
