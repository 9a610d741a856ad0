"""hydra/sweeper=grid: every combination of values, each run once however often the command is given."""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GridSweeper(Sweeper):
    """What Hydra instantiates from conf/hydra/sweeper/grid.yaml.

    Args:
        params: name → values, beside those of the command line.
    """

    def __init__(self, params: Any = None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from pathlib import Path

        from mlplab.sweeps.job import JobOfSweep
        from mlplab.sweeps.running import Sweep

        directory = Path(str(config.hydra.sweep.dir)).absolute()
        root = Path(OmegaConf.create({"root": "${project_root:}"}).root)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=JobOfSweep(task_function, root, directory), config=config
        )
        self.sweep_in_directory = Sweep(config, hydra_context.config_loader, launcher, "grid")

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.grid import sweep_grid

        sweep_grid(self.sweep_in_directory, arguments, self.params)
