"""hydra/launcher=stacked: trains the networks of many jobs at once, as one."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackedLauncher(Launcher):
    """What Hydra instantiates from conf/hydra/launcher/stacked.yaml.

    Args:
        members: of a stack at most.
        processes: that train stacks at the same time.
    """

    def __init__(self, members: Any, processes: Any) -> None:
        self.members, self.processes = members, processes

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from mlplab.stacked.launching import StackedJobs

        self.jobs = StackedJobs(
            hydra_context,
            config,
            task_function,  # type: ignore[arg-type]
            self.members,
            self.processes,
        )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.jobs.run(job_overrides, initial_job_idx)
