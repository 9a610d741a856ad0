"""Composes the configurations of a sweep's jobs, which differ in few values, without reading conf/ for each."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException


class JobLoader(ConfigLoaderImpl):
    """Hydra's loader with a cache.

    Overrides such as `optimizer=sgd` or `+name=value` decide which files a configuration is composed of. That is done
    once for all jobs that share them, from conf/ as it is then. Overrides such as `seed=3` change a value in a copy,
    as Hydra does after composing; that takes a fiftieth of the time.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        super().__init__(loader.get_search_path())
        self._forget()

    def _forget(self) -> None:
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._is_group: dict[str, bool] = {}
        self._composed: dict[tuple[Any, ...], _Composed | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the cache behind: another process composes for itself."""
        return {"config_search_path": self.config_search_path, "repository": self.repository}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if run_mode == RunMode.RUN and from_shell and validate_sweep_overrides:
            try:
                config = self._changed(config_name, overrides)
            except (HydraException, OmegaConfBaseException, ValueError):
                config = None  # Hydra's own way has the message for it
            if config is not None:
                return config
        return super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

    def _changed(self, config_name: str | None, texts: Sequence[str]) -> DictConfig | None:
        """Changes the values of a job in a copy from the cache; returns None where that does not do."""
        composed, changes = self._cached(config_name, texts)
        if composed is None:
            return None
        config: DictConfig = pickle.loads(composed.whole)  # takes a quarter of the time of `copy()`
        _change(config, changes)
        _note(config, [self._parse(text) for text in texts])
        return config

    def _cached(self, config_name: str | None, texts: Sequence[str]) -> tuple["_Composed | None", list[Override]]:
        """Returns what all jobs with the same structure share, and the overrides that only change values in it."""
        parsed = [self._parse(text) for text in texts]
        are_changes = self._changes(parsed)
        structure = [text for text, is_change in zip(texts, are_changes, strict=True) if not is_change]
        key = (config_name, os.getcwd(), *structure)  # the configuration holds the working directory
        if key not in self._composed:
            self._composed[key] = self._compose(config_name, structure)
        return self._composed[key], [o for o, is_change in zip(parsed, are_changes, strict=True) if is_change]

    def load_job(self, sweep: DictConfig, texts: Sequence[str]) -> DictConfig:
        """Composes the configuration of a job from its overrides, without the `hydra` part, which is half of it."""
        try:
            composed, changes = self._cached(sweep.hydra.job.config_name, [*sweep.hydra.overrides.hydra, *texts])
            if composed is not None:
                config: DictConfig = pickle.loads(composed.job)
                _change(config, [change for change in changes if not change.is_hydra_override()])
                OmegaConf.copy_cache(sweep, config)  # times and random names must be those of the sweep
                return config
        except (HydraException, OmegaConfBaseException, ValueError):
            pass  # Hydra's own way has the message for it
        return without_hydra(self.load_sweep_config(sweep, list(texts)))

    def hydra_of_job(self, sweep: DictConfig, texts: Sequence[str]) -> DictConfig:
        """Composes the `hydra` part of a job's configuration, below the name `hydra`. The next call changes it."""
        own = [*sweep.hydra.overrides.hydra, *texts]
        composed, changes = self._cached(sweep.hydra.job.config_name, own)
        if composed is None:
            return self.load_sweep_config(sweep, list(texts))
        of_hydra = [change for change in changes if change.is_hydra_override()]
        names = [change.key_or_group for change in of_hydra]
        if composed.hydra is None or composed.hydra_names != names:
            composed.hydra, composed.hydra_names = pickle.loads(composed.whole), names
        _change(composed.hydra, of_hydra)
        _note(composed.hydra, [self._parse(text) for text in own])
        return composed.hydra

    def is_group(self, name: str) -> bool:
        """Returns whether a name is that of a group of conf/."""
        if name not in self._is_group:  # Hydra takes as long for it as for the start of a job
            self._is_group[name] = bool(self.get_group_options(name, ObjectType.CONFIG))
        return self._is_group[name]

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _changes(self, overrides: Sequence[Override]) -> list[bool]:
        """Returns for each override whether it only changes a value."""
        changes = []
        can_wait = True  # what stands before an override that adds or deletes may be needed by it
        for override in reversed(overrides):
            is_change = override.type == OverrideType.CHANGE and override.value_type == ValueType.ELEMENT
            if is_change and self.is_group(override.key_or_group) and not isinstance(override.value(), dict):
                changes.append(False)
                continue
            can_wait = can_wait and is_change and override.package is None and not _is_of_hydra(override)
            changes.append(can_wait)  # from the last to the first, as can_wait depends on what follows
        return changes[::-1]

    def _compose(self, config_name: str | None, texts: list[str]) -> "_Composed | None":
        """Composes for the cache; returns None where more than the overrides decides on the configuration."""
        config = super().load_configuration(config_name, texts, RunMode.RUN)
        if config.hydra.searchpath or config.hydra.job.env_copy:  # these read more than conf/ and the overrides
            return None
        try:
            return _Composed(pickle.dumps(config), pickle.dumps(without_hydra(config)))
        except (pickle.PicklingError, AttributeError, TypeError):  # an object of the user's own class
            return None


@dataclass
class _Composed:
    """A configuration of which jobs of one structure are copies.

    Attributes:
        whole: the configuration, pickled.
        job: the same without its `hydra` part.
        hydra: the same with the `hydra` part of the last job.
        hydra_names: names that the last job's overrides changed in it.
    """

    whole: bytes
    job: bytes
    hydra: DictConfig | None = None
    hydra_names: list[str] | None = None


def _change(config: DictConfig, changes: Sequence[Override]) -> None:
    for change in changes:
        OmegaConf.update(config, change.key_or_group, change.value(), merge=True)  # as Hydra does


def _is_of_hydra(override: Override) -> bool:
    """Returns whether an override tells Hydra how to compose or run, and not only where the job's directory is."""
    return override.is_hydra_override() and not override.key_or_group.startswith("hydra.sweep.")


def _note(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Writes the overrides into the configuration, as Hydra does."""
    own = [override for override in overrides if not override.is_hydra_override()]
    for name, those in (("task", own), ("hydra", [override for override in overrides if override.is_hydra_override()])):
        noted, texts = config.hydra.overrides[name], [override.input_line for override in those]
        if len(noted) != len(texts):
            del noted[:]
            noted.extend(texts)
        known: Any = OmegaConf.to_container(noted)  # an override may hold `${…}`, and stays as it was typed
        for place, text in enumerate(texts):
            if known[place] != text:  # writing is slow, and jobs differ in few
                noted[place] = text
    style = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, exclude_keys=style.exclude_keys, item_sep=style.item_sep, kv_sep=style.kv_sep
    )


def without_hydra(config: DictConfig) -> DictConfig:
    """Copies a configuration without its `hydra` part."""
    job = config.copy()  # the sweep still needs its own
    with open_dict(job):
        job.pop("hydra", None)
    return job
