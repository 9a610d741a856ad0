"""Composing conf/ many times in one process: files are read once, and values are changed in a copy of what they say.

The latter is how the jobs of a sweep are composed; that it gives all that Hydra gives is proved where that is tested.
"""

import functools
import os
import pickle
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from parts import skip_unless_possible

from mlplab.parts import is_there

CONF = Path(os.environ.get("PROJECT", Path(__file__).resolve().parents[1])) / "conf"
"""Of the project, or of the copy of it whose programs this process runs."""


@functools.cache
def read_files_once() -> None:
    """Lets Hydra read each file of conf/, and of its own, once in a process; which is two fifths of composing."""
    load = ConfigRepository.load_config
    known: dict[str, bytes] = {}

    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        if {source.path for source in self.get_sources()} != {"hydra.conf", str(CONF), ""}:
            return load(self, config_path)  # those of a test may change
        if config_path not in known:
            known[config_path] = pickle.dumps(load(self, config_path))
        return pickle.loads(known[config_path])  # type: ignore[no-any-return]

    ConfigRepository.load_config = load_config  # type: ignore[method-assign]


@functools.cache
def _loader() -> ConfigLoader:
    loader: ConfigLoader = GlobalHydra.instance().config_loader()
    if not is_there("sweeps"):
        return loader
    from mlplab.sweeps.job_loader import JobLoader

    return JobLoader(loader)


def composed(*words: str) -> DictConfig:
    """The configuration for these words, as `hydra.compose` gives it."""
    skip_unless_possible(words)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = _loader().load_configuration("config", list(words), RunMode.RUN)
    with open_dict(config):
        del config["hydra"]
    return config
