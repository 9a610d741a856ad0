"""Sweepers and launchers by which Hydra finds the project's own. Imports nothing heavy, as Hydra imports it always."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


# Hydra looks through the namespace package `hydra_plugins` for subclasses of its own plug-in classes.
class OwnLaunchers(SearchPathPlugin):
    """Forgets the schemas that hydra-submitit-launcher has for launchers of conf/, whose options they do not know."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        # Hydra calls this when all plug-ins have been imported, in whichever order, and nothing is composed yet.
        launchers: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for name in ("submitit_local.yaml", "submitit_slurm.yaml"):
            launchers.pop(name, None)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    # As plain lists and dicts, for which the checks of the settings look: a ListConfig is no list.
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in settings.items()
    }


class RayLauncher(Launcher):
    """Runs jobs side by side on Ray: hydra/launcher=ray.

    Args:
        ray: `init` and `remote`, arguments of ray.init and ray.remote.
    """

    def __init__(self, ray: DictConfig) -> None:
        self.settings: Any = OmegaConf.to_container(ray, resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from mlplab.sweeps.ray_jobs import RayJobs

        self.jobs = RayJobs(
            hydra_context,
            config,
            task_function,  # type: ignore[arg-type]
            self.settings,
        )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.jobs.run(job_overrides, initial_job_idx)


class SubmititLauncher(Launcher):
    """Runs each job in a process of submitit's: hydra/launcher=submitit_local, or submitit_slurm for a cluster.

    Args:
        cluster: `local` or `slurm`.
        **settings: of conf/hydra/launcher/submitit_….yaml.
    """

    def __init__(self, cluster: str, **settings: Any) -> None:
        self.cluster, self.settings = cluster, settings
        self.outlived_by_jobs = cluster == "slurm"

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from mlplab.sweeps.submitted_jobs import SubmittedJobs

        self.jobs = SubmittedJobs(hydra_context, config, task_function, self.cluster, _plain(self.settings))  # type: ignore[arg-type]
        self.queued = self.jobs.queued

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.jobs.run(job_overrides, initial_job_idx)
        return []  # sweepers read the directories of the jobs


class ResumableSweeper(Sweeper):
    """Hands the jobs of a sweep that can go on to a launcher.

    Args:
        settings: of conf/hydra/sweeper/…

    Attributes:
        kind: name of the sweeper in conf/hydra/sweeper.
    """

    kind = ""

    def __init__(self, **settings: Any) -> None:
        self.settings = _plain(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from mlplab.config.resolvers import project_root
        from mlplab.sweeps.job import JobOfSweep
        from mlplab.sweeps.job_loader import JobLoader
        from mlplab.sweeps.sweep import Sweep

        # Absolute, as a job may change the working directory.
        directory = Path(str(config.hydra.sweep.dir)).absolute()
        root = project_root()
        loader = JobLoader(hydra_context.config_loader)
        # The launcher composes by the same loader, and so finds what the sweeper has cached.
        context = HydraContext(config_loader=loader, callbacks=hydra_context.callbacks)
        # Wrapped, so that a job prints nothing, and in a process of its own ends with this one.
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=JobOfSweep(task_function, root, directory), config=config
        )

        def ranking(sweep: Path) -> list[Any]:
            # Imported at the end of a sweep only.
            from mlplab.sweeps.best_jobs import rank_jobs

            return rank_jobs(sweep)

        self.sweep_in_directory = Sweep(config, loader, launcher, self.kind, ranking)


class GridSweeper(ResumableSweeper):
    """Runs every combination of values, each once however often the command is given: hydra/sweeper=grid."""

    kind = "grid"

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.grid import sweep_grid

        sweep_grid(self.sweep_in_directory, arguments, self.settings)


class OptunaSweeper(ResumableSweeper):
    """Searches for good values, and goes on with what it has tried: hydra/sweeper=optuna."""

    kind = "optuna"

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.search.trials import sweep_search

        sweep_search(self.sweep_in_directory, arguments, self.settings)


class ComparisonSweeper(ResumableSweeper):
    """Tunes arms with the same budget, and judges them on other seeds: hydra/sweeper=comparison."""

    kind = "comparison"

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.comparison import sweep_comparison

        sweep_comparison(self.sweep_in_directory, arguments, self.settings)
