"""Where a sweep lies: its jobs are looked for in one directory, whatever they are given."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlplab.errors import UserError

PLACES = ("sweep.name", "paths.logs", "paths.run", "hydra.sweep.dir")
"""What decides on it."""

OF_A_JOB = ("num", "id", "override_dirname")
"""What Hydra says of a job that it says of no other."""

NAMED = re.compile(r"\$\{(?:hydra:)?([\w./]+)\}")
"""Of another value, within a value; also as an argument of a resolver."""


def require_one_place(config: DictConfig, constants: Sequence[str], swept: Collection[str]) -> None:
    """Refuses a sweep whose jobs would lie apart.

    Args:
        config: of the sweep, with its `hydra` part.
        constants: the words that its jobs share.
        swept: the names whose values differ between them.

    Raises:
        UserError: they would.
    """
    for name in swept:
        if name in PLACES:
            raise UserError(
                f"{name} must be the same for all jobs of a sweep", "several values are given", f"{name}=one"
            )
    for word in constants:
        if word.startswith("paths.run="):
            raise UserError("paths.run must be left to the jobs of a sweep, each its own", word, "sweep.name=… alone")
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    directory = values["hydra"]["sweep"]["dir"]
    for name in _named_in(directory, values):
        own = [one for one in swept if f"{name}.".startswith(f"{one.replace('/', '.')}.")]
        if own or name.removeprefix("hydra.") in {f"job.{part}" for part in OF_A_JOB}:
            raise UserError(
                "hydra.sweep.dir must be the same for all jobs of a sweep",
                f"hydra.sweep.dir={directory} depends on {own[0] if own else name}",
                "hydra.sweep.dir without it: each job has a folder in it",
            )


def _named_in(text: object, values: dict[str, Any]) -> Iterator[str]:
    """The names of the values that a text is made of, and of those that these are made of."""
    waiting, seen = [text], set[str]()
    while waiting:
        for name in NAMED.findall(str(waiting.pop())):
            if name not in seen:
                seen.add(name)
                yield name
                waiting.append(_value(name, values))


def _value(name: str, values: Any) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
