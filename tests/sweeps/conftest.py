"""Makes what the tests of runs that are killed compare by importable, also for the processes that are started."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, open_dict

from mlplab.config.resolvers import register_resolvers
from mlplab.sweeps.loading import JobLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "resume"))


@pytest.fixture(scope="module")
def loaders(root: Path) -> Iterator[tuple[DictConfig, ConfigLoaderImpl, JobLoader]]:
    """A sweep's configuration, Hydra's loader, and the one for its jobs."""
    register_resolvers(root)
    setup_globals()
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        words = ["hydra.sweep.dir=somewhere", "hydra/job_logging=none"]
        config = compose("config", words, return_hydra_config=True)
        config.hydra.overrides.hydra = words
        with open_dict(config):
            config.hydra.job.config_name = "config"
        assert config.sweep.name  # from now on the same, as the sweep has it
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        yield config, loader, JobLoader(loader)
