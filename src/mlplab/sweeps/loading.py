"""Composes the configurations of a sweep's jobs, which differ in few values, without reading conf/ for each."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlplab.sweeps.composing import without_hydra


class JobLoader(ConfigLoaderImpl):
    """Hydra's loader, but for keeping what it has composed.

    Words such as `optimizer=sgd` or `+name=value` decide what a configuration is made of: that is composed once for
    all jobs that share them, from conf/ as it is then. Words such as `seed=3` change a value in a copy of it, as Hydra
    does once it has composed; that takes a fiftieth of the time.

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
        """For another process, which composes for itself."""
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
                config = None  # the other way has the message for it
            if config is not None:
                return config
        return super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

    def _changed(self, config_name: str | None, words: Sequence[str]) -> DictConfig | None:
        """A copy of what has been composed, with the values of this job; None where it cannot be made so."""
        composed, changes = self._begun(config_name, words)
        if composed is None:
            return None
        config: DictConfig = pickle.loads(composed.whole)  # a quarter of the time that copying takes
        _change(config, changes)
        _note(config, [self._parse(word) for word in words])
        return config

    def _begun(self, config_name: str | None, words: Sequence[str]) -> tuple["_Composed | None", list[Override]]:
        """What is composed once for all jobs with these settled words, and the words that only change values in it."""
        parsed = [self._parse(word) for word in words]
        are_changes = self._changes(parsed)
        settled = [word for word, is_change in zip(words, are_changes, strict=True) if not is_change]
        key = (config_name, os.getcwd(), *settled)
        if key not in self._composed:
            self._composed[key] = self._compose(config_name, settled)
        return self._composed[key], [o for o, is_change in zip(parsed, are_changes, strict=True) if is_change]

    def load_job(self, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
        """The configuration of a job without its `hydra` part, which is half of it.

        Args:
            sweep: the configuration of the sweep, with its `hydra` part.
            words: of the job.
        """
        own = [*sweep.hydra.overrides.hydra, *words]
        try:
            composed, changes = self._begun(sweep.hydra.job.config_name, own)
            if composed is not None:
                config: DictConfig = pickle.loads(composed.job)
                _change(config, [change for change in changes if not change.is_hydra_override()])
                OmegaConf.copy_cache(sweep, config)
                return config
        except (HydraException, OmegaConfBaseException, ValueError):
            pass  # the other way has the message for it
        return without_hydra(self.load_sweep_config(sweep, list(words)))

    def hydra_of_job(self, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
        """The `hydra` part of a job's configuration, below the name `hydra`: one that jobs share, until the next call.

        Args:
            sweep: the configuration of the sweep, with its `hydra` part.
            words: of the job.
        """
        own = [*sweep.hydra.overrides.hydra, *words]
        composed, changes = self._begun(sweep.hydra.job.config_name, own)
        if composed is None:
            return self.load_sweep_config(sweep, list(words))
        of_hydra = [change for change in changes if change.is_hydra_override()]
        names = [change.key_or_group for change in of_hydra]
        if composed.hydra is None or composed.hydra_names != names:
            composed.hydra, composed.hydra_names = pickle.loads(composed.whole), names
        _change(composed.hydra, of_hydra)
        _note(composed.hydra, [self._parse(word) for word in own])
        return composed.hydra

    def value_of(self, words: Sequence[str], name: str) -> Any:
        """What the last word for a name gives it; None where there is none."""
        values = [override.value() for override in map(self._parse, words) if override.key_or_group == name]
        return values[-1] if values else None

    def _parse(self, word: str) -> Override:
        if word not in self._parsed:
            self._parsed[word] = self._parser.parse_override(word)
        return self._parsed[word]

    def _changes(self, overrides: Sequence[Override]) -> list[bool]:
        """Which words only change a value; not what stands before a word that adds or takes away, and may need it."""
        changes = []
        can_wait = True
        for override in reversed(overrides):
            is_change = override.type == OverrideType.CHANGE and override.value_type == ValueType.ELEMENT
            if is_change and self._names_a_group(override) and not isinstance(override.value(), dict):
                changes.append(False)
                continue
            can_wait = can_wait and is_change and override.package is None and not _is_of_hydra(override)
            changes.append(can_wait)
        return changes[::-1]

    def _names_a_group(self, override: Override) -> bool:
        name = override.key_or_group
        if name not in self._is_group:
            self._is_group[name] = bool(self.get_group_options(name, None))
        return self._is_group[name]

    def _compose(self, config_name: str | None, words: list[str]) -> "_Composed | None":
        """What can be copied and changed later on; None where something else than the words decides."""
        config = super().load_configuration(config_name, words, RunMode.RUN)
        if config.hydra.searchpath or config.hydra.job.env_copy:
            return None
        try:
            return _Composed(pickle.dumps(config), pickle.dumps(without_hydra(config)))
        except (pickle.PicklingError, AttributeError, TypeError):  # of a user's own class
            return None


@dataclass
class _Composed:
    """What jobs that share their settled words begin with.

    Attributes:
        whole: their configuration, pickled.
        job: the same without its `hydra` part.
        hydra: with the part of the job that asked last, and what that job's words changed there by name.
    """

    whole: bytes
    job: bytes
    hydra: DictConfig | None = None
    hydra_names: list[str] | None = None


def _change(config: DictConfig, changes: Sequence[Override]) -> None:
    for change in changes:
        OmegaConf.update(config, change.key_or_group, change.value(), merge=True)


def _is_of_hydra(override: Override) -> bool:
    """Whether a word tells Hydra how to compose or run, and not only where the job's directory is."""
    return override.is_hydra_override() and not override.key_or_group.startswith("hydra.sweep.")


def _note(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Writes the words into the configuration, as Hydra does."""
    own = [override for override in overrides if not override.is_hydra_override()]
    for name, those in (("task", own), ("hydra", [override for override in overrides if override.is_hydra_override()])):
        words, asked = config.hydra.overrides[name], [override.input_line for override in those]
        if len(words) != len(asked):
            del words[:]
            words.extend(asked)
        known: Any = OmegaConf.to_container(words)  # a word may hold `${…}`, and stays as it was typed
        for place, word in enumerate(asked):
            if known[place] != word:  # of jobs that differ in few
                words[place] = word
    style = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, exclude_keys=style.exclude_keys, item_sep=style.item_sep, kv_sep=style.kv_sep
    )
