"""What all tests share: composing a configuration, and training with it in a directory of their own."""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from composing import composed, read_files_once
from drawn import FULL, GATE
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hypothesis import HealthCheck, settings
from no_flushing import spare_the_disk
from omegaconf import DictConfig, open_dict
from parts import skip_without
from stopping import StopAt

from mlplab.config.resolvers import register_resolvers

if TYPE_CHECKING:
    from mlplab.sweeps.job_loader import JobLoader

ROOT = Path(__file__).resolve().parents[1]

# Tests fill the cores by running side by side; threads that wait for each other would only take them from one another.
for library in ("OMP_NUM", "OPENBLAS_NUM", "POLARS_MAX"):
    os.environ.setdefault(f"{library}_THREADS", "1")

# The gate draws the same examples every time, so that it fails for what was changed and for nothing else; nor does it
# fail because the machine is busy.
PROFILES = {"gate": {"max_examples": GATE, "derandomize": True}, "full": {"max_examples": FULL}}
for name, profile in PROFILES.items():
    settings.register_profile(name, deadline=None, suppress_health_check=[HealthCheck.too_slow], **profile)
settings.load_profile("gate")

os.environ["MLPLAB_LOCAL"] = "none"  # tests are alike on all machines, whatever conf/local has on this one

# A shell that starts a job in the background makes it ignore these, and the processes that tests start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

read_files_once()
spare_the_disk()

gc.disable()  # until all is imported and collected, which leaves no garbage


def pytest_collection_finish() -> None:
    """What is there now stays, and is not looked through again and again for garbage."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _state_directory_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, sign with a key of their own, and leave the real home alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(autouse=True)
def _from_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers as train.py registers them; a command line that is not pytest's in the manifests."""
    register_resolvers(ROOT)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # another test may have let a run go on


@pytest.fixture
def make_config() -> Callable[..., DictConfig]:
    """Composes conf/ with overrides, as the command line does."""

    def make(*overrides: str) -> DictConfig:
        return composed(*overrides)

    return make


@pytest.fixture
def train_run(tmp_path: Path, make_config: Callable[..., DictConfig]) -> Callable[..., Any]:
    """Runs `mlplab.training.train` in this process; gives the directory, result, status and objective."""
    from mlplab.training import train

    count = 0

    def run(*overrides: str, directory: Path | None = None) -> SimpleNamespace:
        nonlocal count
        directory = directory or tmp_path / f"run_{count}"
        count += 1
        directory.mkdir(exist_ok=True)
        config = make_config(*overrides, f"paths.run={directory}")
        objective = train(config)
        result, status = (json.loads((directory / f"{name}.json").read_text()) for name in ("result", "status"))
        return SimpleNamespace(directory=directory, result=result, status=status, objective=objective)

    return run


@pytest.fixture
def go_on(train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs with a stop at each of these steps, from which the run goes on; gives its directory."""
    from mlplab import training
    from mlplab.errors import RunStopped

    def run(*overrides: str, stops: tuple[int, ...] = (5,), callbacks: tuple[Any, ...] = ()) -> Path:
        directory = tmp_path / f"stopped_{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        config = make_config(*overrides, f"paths.run={directory}")
        build = training.build_callbacks
        for count, step in enumerate((*stops, -1)):
            with monkeypatch.context() as patch:
                patch.setattr(training, "build_callbacks", lambda c, s=step: [*build(c), *callbacks, StopAt(s)])
                if step == -1:
                    training.train(config, resume=count > 0)
                else:
                    with pytest.raises(RunStopped):
                        training.train(config, resume=count > 0)
        return directory

    return run


@pytest.fixture(scope="module")
def loaders(root: Path) -> Iterator[tuple[DictConfig, ConfigLoaderImpl, "JobLoader"]]:
    """A sweep's configuration, Hydra's loader, and the one for its jobs."""
    skip_without("sweeps")
    from mlplab.sweeps.job_loader import JobLoader

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
