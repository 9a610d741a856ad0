"""Composes the jobs of a sweep to check them, and to look up their values, before any of them is run."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from mlplab.config.checks import check_job_of_sweep
from mlplab.config.differing import flat
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.rules import shown
from mlplab.sweeps.job_loader import JobLoader
from mlplab.sweeps.job_values import canonical
from mlplab.sweeps.overrides import Dimension, as_typed, dimension_of, parse_overrides, split_swept

PLACES = ("sweep.name", "paths.logs", "paths.run", "hydra.sweep.dir")
"""Options that decide where a sweep lies."""

OF_A_JOB = ("num", "id", "override_dirname")
"""Values of `hydra.job` that differ between jobs."""

NAMED_BY_VALUES = "${job_name:"
"""Beginning of `hydra.sweep.subdir` in conf/config.yaml."""

NAMED = re.compile(r"\$\{(?:hydra:)?([\w./]+)\}")
"""Finds the names of other values in an interpolation; also as an argument of a resolver."""


class Composer:
    """Composes jobs as Hydra does.

    Args:
        sweep: configuration of the sweep, with its `hydra` part.
        loader: composes the jobs' configurations.
    """

    def __init__(self, sweep: DictConfig, loader: JobLoader) -> None:
        self.sweep, self.loader = sweep, loader

    def read_overrides(self, arguments: Sequence[str], params: Sequence[str]) -> tuple[list[str], list[Dimension]]:
        """Splits the command line's arguments, which take precedence, and the configuration's params.

        Returns:
            The overrides that all jobs share, and what is swept.

        Raises:
            UserError: an experiment among several is a sweep itself.
        """
        # Of one name given twice the later counts, so what is typed replaces what conf/ has.
        swept, shared = split_swept(parse_overrides([*params, *arguments], self.loader))
        dimensions = [dimension_of(override) for override in swept]
        for word in [f"experiment={text}" for one in dimensions if one.name == "experiment" for text in one.texts]:
            if self.loader.hydra_of_job(self.sweep, [word]).hydra.sweeper != self.sweep.hydra.sweeper:
                raise UserError(
                    "an experiment with a sweep of its own must stand alone", word, f"{word} without others"
                )
        return [as_typed(override) for override in shared], dimensions

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Composes the configuration of a job, without its `hydra` part."""
        return self.loader.load_job(self.sweep, overrides)

    def as_plain(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Composes the configuration of a job in plain Python; its interpolations stay."""
        plain: dict[str, Any] = OmegaConf.to_container(self.compose(overrides), resolve=False)  # type: ignore[assignment]
        return plain

    def check_job(self, overrides: Sequence[str]) -> None:
        """Checks the configuration of a job.

        Raises:
            UserError: it cannot be run.
        """
        config = self.compose(overrides)
        check_job_of_sweep(config)
        if _names_own_modules(config):
            from mlplab.own_code import require_read  # imports PyTorch

            require_read(config, overrides)

    def decide_conditions(
        self, shared: Sequence[str], dimensions: Sequence[Dimension], when: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[list[Dimension], dict[str, dict[str, list[Any]]]]:
        """Decides conditions on names with one value; returns the dimensions and the conditions that remain.

        Args:
            shared: overrides of all jobs.
            dimensions: what is swept; those with tags have conditions of their own.
            when: name → other names on which it depends → their values with which it is swept.

        Raises:
            UserError: a condition asks for a name or a choice that does not exist.
        """
        own = {dimension.name: dimension.when for dimension in dimensions if dimension.when}
        when = {name: {**own.get(name, {}), **when.get(name, {})} for name in (*own, *when)}
        swept_names = {dimension.name for dimension in dimensions}
        undecided: dict[str, dict[str, list[Any]]] = {}
        left_out = set()
        for name, condition in when.items():
            for parent, allowed in condition.items():
                if parent in swept_names or name not in swept_names:
                    undecided.setdefault(name, {})[parent] = allowed  # an unknown name is refused by space_of
                    continue
                self._require_condition(shared, name, parent, allowed)
                group = parent.partition(".")[0]
                if group in swept_names:
                    raise UserError(
                        "a condition must ask for a value that all jobs share, or that is swept",
                        f"{name} depends on {parent}, which comes with the swept {group}", f"{group}:CHOICE",
                    )  # fmt: skip
                if canonical(self.value(shared, parent)) not in map(canonical, allowed):  # decided by the one value
                    left_out.add(name)
        conditions = {name: condition for name, condition in undecided.items() if name not in left_out}
        return [dimension for dimension in dimensions if dimension.name not in left_out], conditions

    def _require_condition(self, shared: Sequence[str], name: str, parent: str, allowed: Sequence[Any]) -> None:
        """Refuses a condition that can never hold, as its name would be left out without a word."""
        if self.loader.is_group(parent):
            choices = self.loader.get_group_options(parent, ObjectType.CONFIG)
            for value in allowed:
                if value not in choices:
                    raise UserError(
                        f"a condition must ask for choices of {parent}, {', '.join(choices)}",
                        f"{name} depends on {parent}={shown(value)}",
                        f"{parent}:{nearest_name(str(value), choices) or choices[0]}",
                    )
            return
        known = flat(self.as_plain(shared))
        top = parent.partition(".")[0]
        if parent not in known and self.loader.is_group(top):
            # Another choice may have the name, such as optimizer.momentum.
            for choice in self.loader.get_group_options(top, ObjectType.CONFIG):
                known |= flat(self.as_plain([*shared, f"{top}={choice}"]))
        if parent not in known:
            raise UserError(
                "a condition must ask for values of a name that the configuration has", f"{name} depends on {parent}",
                nearest_name(parent, list(known)) or "optimizer",
            )  # fmt: skip

    def value(self, overrides: Sequence[str], name: str) -> Any:
        """Looks up the value of a name, or the choice of a group, in the configuration of a job."""
        if self.loader.is_group(name):
            return self.loader.hydra_of_job(self.sweep, overrides).hydra.runtime.choices.get(name)
        value = OmegaConf.select(self.compose(overrides), name)  # None where the configuration lacks the name
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _names_own_modules(config: DictConfig) -> bool:
    # The project's data sources are functions, a LightningDataModule is a class.
    return bool(config.get("module")) or str(config.data.get("_target_")).rpartition(".")[2][:1].isupper()


def require_one_location(config: DictConfig, shared: Sequence[str], swept: Collection[str]) -> None:
    """Refuses a sweep whose jobs would lie in several directories: whoever reads a sweep looks in one.

    Raises:
        UserError: as above.
    """
    for name in swept:
        if name in PLACES:
            raise UserError(
                f"{name} must be the same for all jobs of a sweep", "several values are given", f"{name}=one"
            )
    for override in shared:
        if override.startswith("paths.run="):
            raise UserError(
                "paths.run must be left to the jobs of a sweep, each its own", override, "sweep.name=… alone"
            )
    # Unresolved: the names in the interpolations are what is looked for.
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    directory, folder = values["hydra"]["sweep"]["dir"], str(values["hydra"]["sweep"].get("subdir", NAMED_BY_VALUES))
    if not folder.startswith(NAMED_BY_VALUES):
        raise UserError(
            "hydra.sweep.subdir must be left to the sweep, which names the folders of its jobs by their values",
            f"hydra.sweep.subdir={folder}", "sweep.name=one, or hydra.sweep.dir=one, for all of them",
        )  # fmt: skip
    for name in _named_in(directory, values):
        # A value below a swept group, such as optimizer.name, differs between jobs too.
        own = [one for one in swept if f"{name}.".startswith(f"{one.replace('/', '.')}.")]
        if own or name.removeprefix("hydra.") in {f"job.{part}" for part in OF_A_JOB}:
            raise UserError(
                "hydra.sweep.dir must be the same for all jobs of a sweep",
                f"it depends on {own[0] if own else name}, in {directory}",
                "a folder without it, in which each job has one of its own",
            )


def _named_in(text: object, values: dict[str, Any]) -> Iterator[str]:
    """Yields the names of the values that a text refers to, and of those to which these refer."""
    pending, seen = [text], set[str]()  # names may refer to each other in a circle
    while pending:
        for name in NAMED.findall(str(pending.pop())):
            if name not in seen:
                seen.add(name)
                yield name
                pending.append(_value(name, values))


def _value(name: str, values: Any) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
