"""Runs the jobs of `hydra/launcher=stacked`: in stacks if possible, otherwise one by one."""

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from hydra.core.utils import JobReturn, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from mlplab.config.checks import check_settings
from mlplab.engine.startup import quick_imports
from mlplab.errors import UserError, counted
from mlplab.processors import available_cores
from mlplab.runs.earlier_launch import objective_of_finished
from mlplab.stacked.eligibility import config_of_stack, why_alone, why_alone_by_hydra
from mlplab.stacked.stacked_job import MOST_HELD, Job, names_of, plain_values
from mlplab.stacked.workers import HAS_FORKS, Say, in_processes
from mlplab.sweeps.job import JobOfSweep, require_not_stopping
from mlplab.sweeps.job_loader import JobLoader

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

FILES = 3
"""Maximum of open files per member: lock, history, and briefly one more."""

FILES_OF_OTHERS = 300
"""Maximum of other open files of the process."""

FEWEST = 4
"""Minimum of members per process for which another process pays off."""

Trained = tuple[list[float], dict[str, list[int]]]
"""Objectives of a stack's jobs, and reason → numbers of jobs that must run alone."""


class StackedJobs:
    """Runs the jobs of one launch: similar jobs in stacks, the others one by one.

    Args:
        context: of Hydra, which composes the jobs' configurations.
        config: of the sweep, with its `hydra` part.
        task: called by an ordinary launcher for each job.
        members: maximum of members of a stack.
        processes: number of processes that train stacks in parallel; `auto` goes by the number of cores.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, task: JobOfSweep, members: int, processes: int | str
    ) -> None:
        check_settings("hydra.launcher", {"members": members, "processes": processes})
        self.context, self.config, self.task = context, config, task
        self.members, self.processes = members, processes
        loader = context.config_loader
        self.loader = loader if isinstance(loader, JobLoader) else JobLoader(loader)
        # PyTorch's threads do not survive a fork, so there are no forks once this process has computed.
        self._has_trained = False

    def run(self, job_words: Sequence[Sequence[str]], first_number: int) -> list[JobReturn]:
        """Runs all jobs; returns Hydra's results in their order.

        Raises:
            RunStopped: by a signal.
        """
        jobs = [Job(words, first_number + index, self.config, self.loader) for index, words in enumerate(job_words)]
        alike, alone = self._sorted(jobs)
        # Before training, so that the reasons are not lost among lines of progress.
        for reason, left in alone.items():
            _tell_alone(reason, left)
        self._train_all(alike)
        for left in alone.values():
            self._run_alone(left)
        return [job.as_returned() for job in jobs]

    def _sorted(self, jobs: Sequence[Job]) -> tuple[list[list[Job]], dict[str, list[Job]]]:
        """Returns groups of jobs that can train together, and reason → jobs that must run alone."""
        alike: dict[str, list[Job]] = {}
        alone: dict[str, list[Job]] = {}
        for job in jobs:
            # A resumed sweep does not train its finished jobs again.
            objective = objective_of_finished(job.directory)
            if objective is not None:
                job.objective = objective
                continue
            values = plain_values(job)
            reason = why_alone_by_hydra(self.config.hydra.job, job.words) or why_alone(values)
            if reason is None:
                alike.setdefault(config_of_stack(values), []).append(job)
            else:
                alone.setdefault(reason, []).append(job)
            if len(jobs) > MOST_HELD:
                job.forget()
        several = []
        for group in alike.values():
            if len(group) == 1:
                alone.setdefault("no other job is like it", []).extend(group)
            elif self.members == 1:
                alone.setdefault("hydra.launcher.members=1", []).extend(group)
            else:
                several.append(group)
        return several, alone

    def _train_all(self, alike: Sequence[Sequence[Job]]) -> None:
        """Trains jobs in stacks, in several processes if there are enough of them."""
        if not alike:
            return
        with quick_imports():  # in this process, so that forked ones inherit the imports
            from mlplab.engine.edited_functions import first_edited
            from mlplab.stacked.members.stack_training import DataCache
            from mlplab.stacked.stacks import train_jobs
        edited = first_edited([self.task.task])
        if edited is not None:  # a stack would skip the actions of a user's own program around each job
            jobs = [job for group in alike for job in group]
            _tell_alone(f"{edited} of the program was edited", jobs)
            self._run_alone(jobs)
            return
        n_processes = self._n_processes(alike)
        stacks = [part for group in alike for part in _in_equal_parts(group, self.members, n_processes)]
        # Each member keeps files open, and Linux usually allows a process 1024.
        _allow_open_files(FILES * max(map(len, stacks)))
        cache = DataCache()

        def train(index: int, say: Say) -> Trained:
            self._require_going_on()
            jobs = stacks[index]
            # The members' summaries would take hundreds of lines.
            with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
                left = train_jobs(jobs, cache, say)
                # Trainer, callbacks and members refer to each other; the next stack needs their memory.
                gc.collect()
            for job in jobs:
                job.forget()
            return [job.objective for job in jobs], {r: [jobs.index(job) for job in those] for r, those in left.items()}

        terminal = sys.stdout
        outcomes = in_processes(train, len(stacks), n_processes, say=lambda line: _tell(line, terminal))
        self._has_trained = self._has_trained or n_processes == 1
        for jobs, (objectives, left) in zip(stacks, outcomes, strict=True):
            for job, objective in zip(jobs, objectives, strict=True):
                job.objective = objective
            for reason, numbers in left.items():
                those = [jobs[number] for number in numbers]
                _tell_alone(reason, those)
                # Only now, as no stack can be forked after a run in this process.
                self._run_alone(those)

    def _n_processes(self, alike: Sequence[Sequence[Job]]) -> int:
        """Returns how many processes train these groups of jobs; each has at least `FEWEST` members."""
        from mlplab.trainer_settings import is_on_gpu

        config = alike[0][0].config
        most = sum(map(len, alike)) // FEWEST
        # CUDA cannot be used in a forked process.
        if not HAS_FORKS or self._has_trained or most < 2 or is_on_gpu(config):
            return 1
        if self.processes != "auto":
            return min(most, int(self.processes))
        threads = config.trainer.threads
        # Each process gets the cores that its threads take.
        return max(1, min(most, available_cores() // (1 if threads == "auto" else threads)))

    def _require_going_on(self) -> None:
        # Another process may have been asked to stop: the file informs all of them.
        require_not_stopping(self.task.directory)

    def _run_alone(self, jobs: Sequence[Job]) -> None:
        self._has_trained = self._has_trained or bool(jobs)
        for job in jobs:
            returned = run_job(
                hydra_context=self.context, task_function=self.task, config=job.whole(),
                job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
            )  # fmt: skip
            job.objective = float(returned.return_value)
            job.forget()


def _in_equal_parts(jobs: Sequence[Job], most: int, n_processes: int) -> list[list[Job]]:
    """Splits jobs into parts of similar size, the fewest that give each process the same number of parts."""
    # Rounded up.
    n_parts = -(-len(jobs) // most)
    n_parts = min(-(-n_parts // n_processes) * n_processes, max(n_parts, len(jobs) // FEWEST))
    return [list(jobs[len(jobs) * i // n_parts : len(jobs) * (i + 1) // n_parts]) for i in range(n_parts)]


def _allow_open_files(n_files: int) -> None:
    """Raises this process's limit of open files if it is too low.

    Raises:
        UserError: the system allows fewer.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = n_files + FILES_OF_OTHERS
    if needed > hard != resource.RLIM_INFINITY:
        most = (hard - FILES_OF_OTHERS) // FILES
        raise UserError(
            "a stack must be able to open the files of all its members",
            f"{counted(n_files // FILES, 'member')} need {needed}, and the system allows {hard}",
            f"hydra.launcher.members={most}" if most > 0 else "hydra/launcher=basic, or ulimit -n 1024 before it",
        )
    # Only the soft limit, which a process may raise itself up to the hard one.
    if needed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _tell_alone(reason: str, jobs: Sequence[Job]) -> None:
    _tell(f"alone   {counted(len(jobs), 'job')}, {reason}: {names_of(jobs)}", sys.stdout)


def _tell(line: str, out: TextIO) -> None:
    out.write(f"{line}\n")  # at once, as another thread prints the sweep's progress
    out.flush()
