"""What all sweepers of mlplab share: they hand their jobs to a launcher, in a directory that goes on."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class ResumableSweeper(Sweeper):
    """A sweeper whose sweep is known by its directory.

    Attributes:
        kind: how it is called in conf/hydra/sweeper.
    """

    kind = ""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from pathlib import Path

        from mlplab.config.resolvers import project_root
        from mlplab.sweeps.job import JobOfSweep
        from mlplab.sweeps.loading import JobLoader
        from mlplab.sweeps.sweep import Sweep

        directory = Path(str(config.hydra.sweep.dir)).absolute()
        root = project_root()
        loader = JobLoader(hydra_context.config_loader)
        context = HydraContext(config_loader=loader, callbacks=hydra_context.callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=JobOfSweep(task_function, root, directory), config=config
        )
        self.sweep_in_directory = Sweep(config, loader, launcher, self.kind)


def as_plain(settings: Any) -> Any:
    """Settings in plain Python values, as what reads them expects."""
    return OmegaConf.to_container(settings, resolve=True) if OmegaConf.is_config(settings) else settings
