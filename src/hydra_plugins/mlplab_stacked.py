"""The launcher by which Hydra finds stacks. Imports nothing heavy, as Hydra imports it always."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackedLauncher(Launcher):
    """Trains the networks of many jobs at once, as one: hydra/launcher=stacked.

    Args:
        members: most networks of a stack.
        processes: number of processes that train stacks at the same time.
    """

    def __init__(self, members: Any, processes: Any) -> None:
        # Checked by StackedJobs, whose messages name the option and a value that works.
        self.members, self.processes = members, processes

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        # Not above: every command imports this module, and only a stacked sweep needs PyTorch this early.
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
