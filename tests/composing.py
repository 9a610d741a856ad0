"""Composing conf/ many times in one process: what it is made of is read once, and values are changed in a copy.

That is how the jobs of a sweep are composed; that it gives all that Hydra gives is proved where that is tested.
"""

import functools
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from mlplab.sweeps.loading import JobLoader

CONF = Path(__file__).resolve().parents[1] / "conf"


@functools.cache
def _loader() -> JobLoader:
    return JobLoader(GlobalHydra.instance().config_loader())


def composed(*words: str) -> DictConfig:
    """The configuration for these words, as `hydra.compose` gives it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = _loader().load_configuration("config", list(words), RunMode.RUN)
    with open_dict(config):
        del config["hydra"]
    return config
