"""What `hydra/launcher=stacked` does with the jobs that it is given."""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from hydra.core.utils import JobReturn, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from mlplab.errors import Refusal, RunStopped, counted
from mlplab.sweeps.job import STOPPING, JobOfSweep, objective_of_finished
from mlplab.sweeps.loading import JobLoader
from mlplab.sweeps.stacked.alike import key_of, why_alone
from mlplab.sweeps.stacked.job import Job, names_of, plain_values

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

FILES = 3
"""That a member keeps open: its lock and its history, and for a moment one more."""

FILES_OF_OTHERS = 300


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
        loader = context.config_loader
        self.loader = loader if isinstance(loader, JobLoader) else JobLoader(loader)

    def run(self, job_words: Sequence[Sequence[str]], first_number: int) -> list[JobReturn]:
        """Runs them all, and gives what Hydra expects, in their order.

        Raises:
            RunStopped: by a signal.
        """
        jobs = [Job(words, first_number + index, self._compose) for index, words in enumerate(job_words)]
        stacks, alone = self._sorted(jobs)
        for reason, left in alone.items():
            _tell_alone(reason, left)
        _allow_open_files(FILES * max(map(len, stacks), default=0))
        for stack in stacks:
            self._require_going_on()
            self._train(stack)
        for left in alone.values():
            self._run_alone(left)
        return [job.as_returned() for job in jobs]

    def _compose(self, words: list[str]) -> DictConfig:
        return self.loader.load_sweep_config(self.config, words)

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
            job.forget()
        stacks = []
        for group in alike.values():
            if len(group) == 1:
                alone.setdefault("no other is like it", []).extend(group)
            else:
                stacks += _in_equal_parts(group, self.members)
        return stacks, alone

    def _require_going_on(self) -> None:
        if (self.task.directory / STOPPING).exists():
            raise RunStopped("the sweep is being stopped", 128 + signal.SIGINT)

    def _train(self, jobs: Sequence[Job]) -> None:
        from mlplab.sweeps.stacked.stacks import train_jobs

        terminal = sys.stdout
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            left = train_jobs(jobs, lambda line: _tell(line, terminal))
            gc.collect()
        for job in jobs:
            job.forget()
        for reason, those in left.items():
            _tell_alone(reason, those)
            self._run_alone(those)

    def _run_alone(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            returned = run_job(
                hydra_context=self.context, task_function=self.task, config=job.whole,
                job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
            )  # fmt: skip
            job.objective = float(returned.return_value)
            job.forget()


def _in_equal_parts(jobs: Sequence[Job], most: int) -> list[list[Job]]:
    """As few parts as there must be, none of which is much smaller than another."""
    n_parts = -(-len(jobs) // most)
    return [list(jobs[len(jobs) * i // n_parts : len(jobs) * (i + 1) // n_parts]) for i in range(n_parts)]


def _allow_open_files(n_files: int) -> None:
    """Lets this process open so many files beside those of others.

    Raises:
        Refusal: the system allows fewer.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = n_files + FILES_OF_OTHERS
    if needed <= soft or soft == resource.RLIM_INFINITY:
        return
    if needed > hard != resource.RLIM_INFINITY:
        most = max(1, (hard - FILES_OF_OTHERS) // FILES)
        raise Refusal(
            "a stack must be able to open the files of all its members",
            f"{n_files // FILES} members need {needed}, and the system allows {hard}",
            f"hydra.launcher.members={most}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _tell_alone(reason: str, jobs: Sequence[Job]) -> None:
    _tell(f"alone   {counted(len(jobs), 'job')}, {reason}: {names_of(jobs)}", sys.stdout)


def _tell(line: str, out: TextIO) -> None:
    out.write(f"{line}\n")  # at once: the sweep's progress is written by another thread
    out.flush()
