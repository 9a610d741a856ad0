"""The commands that run settings of a sweep again, without folders of the machine that ran it."""

import math
import re
import shlex
from collections.abc import Sequence

from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.reading.ranked_settings import Setting

ELSEWHERE = "PATH/TO/"  # replaces folders of the machine that ran a sweep

_BEGINNING = re.compile(r"(?:~[^/]*|[A-Za-z]:)?[/\\].*[/\\]")
_WITHIN = re.compile(r"(?<=[\[,{:'\"])(?:~|[A-Za-z]:)?[/\\](?:[^'\",\[\]{}/\\]+[/\\])+")

# Overrides about where and how a sweep was run.
OF_THE_SWEEP = re.compile(r"[+~]*(sweep|paths|hydra|resume|trust|name|tags|notes|callbacks\.search_pruning)([./@=]|$)")


def portable(word: str) -> str:
    """Removes the folders of one machine from an override: `data.path=PATH/TO/table.csv`."""
    name, equals, value = word.partition("=") if "=" in word else ("", "", word)
    # Greedy up to the last separator, so that only the name of the file stays.
    if found := _BEGINNING.match(value):
        value = ELSEWHERE + value[found.end() :]
    return f"{name}{equals}{_WITHIN.sub(ELSEWHERE, value)}"


def portable_command(command: str) -> str:
    """Removes the folders of one machine from a command."""
    try:
        return shlex.join(map(portable, shlex.split(command)))
    except ValueError:  # quotes that do not match
        return portable(command)


def shared_words(constants: Sequence[str]) -> list[str]:
    """Returns the overrides that all jobs share, but for those about the sweep itself."""
    return [portable(word) for word in constants if not OF_THE_SWEEP.match(word)]


def commands(setting: Setting, constants: Sequence[str]) -> list[str]:
    """Returns the commands that run a setting again with all its seeds: one if Hydra's grid can express them.

    `constants` are the overrides that all jobs of its sweep share.
    """
    shared = shared_words(constants)
    is_recipe = any(word.lstrip("+").startswith("experiment=") for word in shared)
    overrides = [[portable(word) for word in run.entry.overrides] for run in setting.runs]
    words = dict.fromkeys(word for words in overrides for word in words)
    seeds = {name: [w.partition("=")[2] for w in words if w.lstrip("+").partition("=")[0] == name] for name in SEEDS}
    seeds = {name: values for name, values in seeds.items() if values}
    rest = [w for w in overrides[0] if w.lstrip("+").partition("=")[0] not in SEEDS]
    if len(overrides) == 1:
        # An experiment can be a sweep by itself.
        lines = [[*overrides[0], *(["hydra.mode=RUN"] if is_recipe else [])]]
    # Hydra's grid runs every combination, so pairs of seeds that are no product need a command each.
    elif not seeds or math.prod(map(len, seeds.values())) != len(overrides):
        lines = overrides
    else:
        # An experiment can bring its own sweeper and name, which these replace.
        alone = ["hydra/sweeper=grid", "sweep.name=again"] if is_recipe else []
        lines = [[*rest, *(f"{name}={','.join(values)}" for name, values in seeds.items()), *alone]]
        shared = ["-m", *shared]
    return [f"python train.py {shlex.join([*shared, *line])}".strip() for line in lines]
