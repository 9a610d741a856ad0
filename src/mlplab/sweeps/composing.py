"""The configurations of a sweep's jobs: what is asked of them, whether they can be run, and what they hold."""

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mlplab.config.checks import check_job_of_sweep
from mlplab.sweeps.ledger import canonical
from mlplab.sweeps.overrides import Swept, parse, split, swept, word_of


class Composer:
    """Composes jobs as Hydra does.

    Args:
        config: as Hydra composed it for the sweep, with its `hydra` part.
        loader: Hydra's.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        self.config, self.loader = config, loader
        self._is_group: dict[str, bool] = {}

    def read_words(self, arguments: Sequence[str], params: Sequence[str]) -> tuple[list[str], list[Swept]]:
        """The words that all jobs share, and what is swept; those typed count more than those of the configuration."""
        spaces, constants = split(parse([*params, *arguments], self.loader))
        return [word_of(override) for override in constants], [swept(override) for override in spaces]

    def single(self, words: Sequence[str]) -> list[Swept]:
        """Words with one value each, as if they were swept over."""
        return [swept(override) for override in parse(words, self.loader)]

    def compose(self, words: Sequence[str]) -> DictConfig:
        """The configuration of a job, its `hydra` part too."""
        own = list(self.config.hydra.overrides.hydra)
        return self.loader.load_configuration(
            self.config.hydra.job.config_name, overrides=[*own, *words], run_mode=RunMode.RUN
        )

    def check(self, constants: Sequence[str], dimensions: Sequence[Swept]) -> None:
        """Tries every value, and the ends of every interval, with the first values of the other names.

        Raises:
            UserError: for the first that cannot be run.
        """
        first = [dimension.ends[0] for dimension in dimensions]
        one = without_hydra(self.compose([*constants, *first]))
        self.check_job([*constants, *first])
        for position, dimension in enumerate(dimensions):
            values = dimension.values or dimension.interval or ()
            if dimension.word == dimension.name and not self.is_group(dimension.name):
                job = copied(one)
                for value in values[1:]:  # composing takes a hundred times as long as changing a value
                    if isinstance(value, dict | list):  # which would be merged with the one before
                        job = copied(one)
                    OmegaConf.update(job, dimension.name, value)
                    check_job_of_sweep(job)
                continue
            for word in dimension.ends[1:]:
                self.check_job([*constants, *first[:position], word, *first[position + 1 :]])

    def check_job(self, words: Sequence[str]) -> None:
        """Refuses a job before any is run.

        Raises:
            UserError: its configuration cannot be run.
        """
        check_job_of_sweep(without_hydra(self.compose(words)))

    def settled(
        self, constants: Sequence[str], dimensions: Sequence[Swept], when: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[list[Swept], dict[str, dict[str, list[Any]]]]:
        """What is swept and under which conditions, after those on names that have one value have been decided."""
        swept_names = {dimension.name for dimension in dimensions}
        if not when:
            return list(dimensions), {}
        config = self.compose(constants)
        open_conditions: dict[str, dict[str, list[Any]]] = {}
        left_out = set()
        for name, condition in when.items():
            for parent, allowed in condition.items():
                if parent in swept_names or name not in swept_names:
                    open_conditions.setdefault(name, {})[parent] = allowed
                elif canonical(self.value(config, parent)) not in map(canonical, allowed):
                    left_out.add(name)
        conditions = {name: condition for name, condition in open_conditions.items() if name not in left_out}
        return [dimension for dimension in dimensions if dimension.name not in left_out], conditions

    def value(self, config: DictConfig, name: str) -> Any:
        """What a configuration has for a name, or which choice of a group it is made of."""
        if self.is_group(name):
            return config.hydra.runtime.choices.get(name)
        value = OmegaConf.select(without_hydra(config), name)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def is_group(self, name: str) -> bool:
        """Whether a name is that of a group of conf/."""
        if name not in self._is_group:  # Hydra takes as long for it as for the start of a job
            self._is_group[name] = bool(self.loader.get_group_options(name, ObjectType.CONFIG))
        return self._is_group[name]


def without_hydra(config: DictConfig) -> DictConfig:
    """A job's configuration alone."""
    job = copied(config)
    with open_dict(job):
        job.pop("hydra", None)
    return job


def copied(config: DictConfig) -> DictConfig:
    """A copy, in a third of the time that `config.copy()` takes.

    Args:
        config: whole, and not a part of another.
    """
    copy: DictConfig = pickle.loads(pickle.dumps(config))
    return copy
