"""What `hydra/launcher=stacked` does with the jobs that it is given."""

import contextlib
import gc
import os
import signal
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from mlplab.errors import Refusal, RunFailed, RunStopped, counted
from mlplab.sweeps.job import STOPPING, JobOfSweep, objective_of_finished
from mlplab.sweeps.stacked.alike import key_of, why_alone
from mlplab.sweeps.stacked.job import Job, as_job, plain_values


class StackedJobs:
    """The jobs of one launch: those that are alike are trained as one, the others one by one.

    Args:
        context: of Hydra, which composes the jobs' configurations.
        config: of the sweep, with its `hydra` part.
        task: what an ordinary launcher runs for each.
        members: of a stack at most.
    """

    def __init__(self, context: HydraContext, config: DictConfig, task: JobOfSweep, members: int) -> None:
        if isinstance(members, bool) or not isinstance(members, int) or members < 1:
            raise Refusal(
                "hydra.launcher.members must be a number of networks", f"hydra.launcher.members={members}",
                "hydra.launcher.members=64",
            )  # fmt: skip
        self.context, self.config, self.task, self.members = context, config, task, members

    def run(self, job_words: Sequence[Sequence[str]], first_number: int) -> list[JobReturn]:
        """Runs them all, and gives what Hydra expects, in their order.

        Raises:
            RunStopped: by a signal.
        """
        loader = self.context.config_loader
        jobs = [
            as_job(list(words), loader.load_sweep_config(self.config, list(words)), first_number + index)
            for index, words in enumerate(job_words)
        ]
        stacks, alone = self._sorted(jobs)
        returned: dict[int, JobReturn] = {}
        if stacks:
            n_members = sum(map(len, stacks))
            print(f"stacked {counted(n_members, 'network')} in {counted(len(stacks), 'stack')}", flush=True)
        for reason, left in alone.items():
            names = ", ".join(job.directory.name for job in left[:3]) + (", …" if len(left) > 3 else "")
            print(f"alone   {counted(len(left), 'job')}: {reason} ({names})", flush=True)
        for stack in stacks:
            self._require_going_on()
            self._train(stack)
        for left in alone.values():
            for job in left:
                returned[id(job)] = self._run_alone(job)
        return [returned.get(id(job)) or job.as_returned() for job in jobs]

    def _sorted(self, jobs: Sequence[Job]) -> tuple[list[list[Job]], dict[str, list[Job]]]:
        """The stacks, and the jobs that are run alone by the reason why."""
        alike: dict[str, list[Job]] = {}
        alone: dict[str, list[Job]] = {}
        for job in jobs:
            objective = objective_of_finished(job.directory)
            if objective is not None:
                job.objective = objective
                continue
            values = plain_values(job)
            reason = why_alone(values)
            if reason is None:
                alike.setdefault(key_of(values), []).append(job)
            else:
                alone.setdefault(reason, []).append(job)
        stacks = []
        for group in alike.values():
            if len(group) == 1:
                alone.setdefault("no other is like it", []).extend(group)
            else:
                stacks += [group[i : i + self.members] for i in range(0, len(group), self.members)]
        return stacks, alone

    def _require_going_on(self) -> None:
        if (self.task.directory / STOPPING).exists():
            raise RunStopped("the sweep is being stopped", 128 + signal.SIGINT)

    def _train(self, jobs: Sequence[Job]) -> None:
        from mlplab.sweeps.stacked.stacks import train_jobs

        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            left = train_jobs(jobs)
            gc.collect()
        for reason, those in left.items():
            print(f"alone   {counted(len(those), 'job')}: {reason}", flush=True)
            for job in those:
                job.objective = float(self._run_alone(job).return_value)

    def _run_alone(self, job: Job) -> JobReturn:
        return run_job(
            hydra_context=self.context, task_function=self.task, config=job.whole,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip


_ = (RunFailed, Any)
