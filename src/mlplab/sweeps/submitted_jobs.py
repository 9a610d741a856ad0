"""Runs the jobs of a sweep by submitit, each in a process of its own: on this machine, or queued by SLURM."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.types import HydraContext
from omegaconf import DictConfig

from mlplab.config.checks import check_settings
from mlplab.config.paths import shortest
from mlplab.errors import RunFailed, RunStopped, UserError, counted, first_of
from mlplab.processors import available_cores
from mlplab.runs.files import read_json, write_json
from mlplab.runs.run_reading import read_state
from mlplab.runs.signals import HANDLED
from mlplab.slurm import REQUEUES, asks_to_requeue, is_repetition
from mlplab.sweeps.job import JobOfSweep
from mlplab.sweeps.sweep import jobs_at_once

QUEUE = ".queue.json"
"""File in the sweep's directory: directory of a job → its number in SLURM, for a launch that goes on."""

SUBDIRECTORY = "hydra.sweep.subdir="
"""Beginning of the override that names the directory of a job."""

LARGEST_ARRAY = 1000
"""Jobs in one array: by default SLURM takes 1001."""

TOO_OFTEN = "timed-out too many times"
"""Part of submitit's last line in the log of a job that reached its time limit `max_num_timeout` times."""

OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
"""States of SLURM in which a job does not run and will not."""

EVERY_SECONDS = {"local": 0.3, "slurm": 2.0}
"""Time between two looks at processes of this machine, or at the files of a thousand jobs of a cluster."""

ASK_SOON, ASK_EVERY_SECONDS = 3.0, 30.0
"""Least and most time between two questions to SLURM, which serves many users."""


class SubmittedJob:
    """One job in the process that submitit has started for it.

    Args:
        job: a launcher of hydra-submitit-launcher, which composes and runs the job.
        is_local: whether the process runs on the machine of the launching one.
        environment: variables to set; None removes one.
    """

    def __init__(self, job: Any, *, is_local: bool, environment: Mapping[str, str | None]) -> None:
        self.job, self.is_local, self.environment = job, is_local, dict(environment)

    def __call__(self, *arguments: Any) -> None:
        if self.is_local:
            os.setpgrp()  # Ctrl-C on a terminal reaches the launching process alone, which tells its jobs
        for name, value in self.environment.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        # Submitit has set one of the two, by which it queues the job again.
        requeue = next(filter(callable, map(signal.getsignal, REQUEUES)), None)
        for number in HANDLED:
            signal.signal(number, _stop)  # before a run has handlers of its own, and after
        try:
            self.job(*arguments)
        except RunStopped as stopped:
            print(stopped)
            number = stopped.status - 128
            # All is saved by now.
            if callable(requeue) and (number in REQUEUES or asks_to_requeue(number)):
                requeue(number, None)

    def checkpoint(self, *arguments: Any) -> Any:
        """Returns what submitit is to run when the job is queued again: the same, as it goes on by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def _stop(number: int, frame: object) -> None:
    if not is_repetition(number):
        raise RunStopped(f"stopped by {signal.Signals(number).name} while no step was made", 128 + number)


class SubmittedJobs:
    """Runs the jobs of launches: as many processes at once as there is room for, or as arrays of SLURM.

    Args:
        context: of Hydra, which composes the jobs' configurations.
        config: of the sweep, with its `hydra` part.
        task: called for each job.
        cluster: `local` or `slurm`.
        settings: of conf/hydra/launcher/submitit_….yaml.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, task: JobOfSweep, cluster: str, settings: Mapping[str, Any]
    ) -> None:
        choice = f"hydra/launcher=submitit_{cluster}"
        try:
            import submitit  # noqa: F401
            from hydra_plugins.hydra_submitit_launcher import submitit_launcher
        except ImportError as error:
            hint = 'pip install -c constraints.txt -e ".[slurm]"'
            raise UserError(f"{choice} must have its package installed", str(error), hint) from None
        self.is_slurm = cluster == "slurm"
        missing = [name for name in ("sbatch", "srun", "squeue") if self.is_slurm and shutil.which(name) is None]
        if missing:
            hint = "a login node of the cluster, or hydra/launcher=submitit_local"
            raise UserError(f"{choice} must find SLURM's commands", f"there is no {missing[0]} here", hint)
        self.settings = dict(settings)
        check_settings("hydra.launcher", self.settings)
        self.n_at_once = jobs_at_once(settings)  # for a search, also the number of trials that it asks for
        self.settings.pop("n_jobs", None)
        self.folder = str(self.settings.pop("submitit_folder"))
        self.directory = Path(str(config.hydra.sweep.dir)).absolute()
        task.is_submitted = True
        job = submitit_launcher.SlurmLauncher() if self.is_slurm else submitit_launcher.LocalLauncher()
        job.setup(hydra_context=context, task_function=task, config=config)
        environment: dict[str, str | None] = {}
        if not self.is_slurm:
            # Jobs that each used all cores would mostly wait for one another.
            share = max(1, available_cores() // self.n_at_once)
            environment["OMP_NUM_THREADS"] = str(share)
            if self.settings.get("gpus_per_node") is None:  # submitit would hide all GPUs
                environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.job = SubmittedJob(job, is_local=not self.is_slurm, environment=environment)
        self._numbers: dict[str, str] = {}
        self._stamps: dict[str, int] = {}
        self._missing: set[str] = set()
        self._next_question = self._wait = 0.0

    def queued(self) -> dict[str, str]:
        """Returns jobs of earlier launches that SLURM has not ended: directory → number.

        Raises:
            UserError: SLURM does not answer.
        """
        known = read_json(self.directory / QUEUE) if self.is_slurm else {}
        if not known:
            return {}
        states = _states_in_slurm()
        if isinstance(states, str):
            raise UserError("SLURM must answer squeue", states, "the same command once it does")
        return {name: number for name, number in known.items() if _is_there(number, states)}

    def run(self, job_words: Sequence[Sequence[str]], first_number: int) -> None:
        """Runs jobs, and waits until each has ended or was stopped.

        Raises:
            RunStopped: by a signal, here or in a job.
            BrokenProcessPool: the process of a job died.
            RunFailed: the jobs were not accepted.
        """
        jobs = {}
        for number, words in enumerate(job_words, first_number):
            place = (list(words), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            jobs[self._directory_of(words, number)] = place
        self._stamps = {name: _stamp(self.directory / name) for name in jobs}
        running: dict[str, Any] = {name: number for name, number in self.queued().items() if name in jobs}
        self._numbers |= running
        if running:
            print(f"queued  {counted(len(running), 'job')} of an earlier launch: waiting for them", flush=True)
        waiting = [name for name in jobs if name not in running]
        try:
            while waiting or running:
                # SLURM gets few large arrays, and itself runs hydra.launcher.array_parallelism of their jobs at a time;
                # on this machine the next job begins when one ends.
                most = LARGEST_ARRAY if self.is_slurm else self.n_at_once
                n_free = min(most - len(running), len(waiting))
                if n_free > 0 and (not self.is_slurm or n_free == len(waiting) or not running):
                    running |= self._submit({name: jobs[name] for name in waiting[:n_free]})
                    del waiting[:n_free]
                time.sleep(EVERY_SECONDS["slurm" if self.is_slurm else "local"])
                for name in self._over(running):
                    del running[name]
        except (RunStopped, KeyboardInterrupt) as stopped:
            if not (self.is_slurm and running):
                raise
            numbers = ",".join(dict.fromkeys(str(number).partition("_")[0] for number in running.values()))
            message = str(stopped).partition(" while ")[0] or "stopped by Ctrl-C"
            raise RunStopped(
                f"{message}; {counted(len(running), 'job')} stay with SLURM, which runs them to their end "
                f"(`squeue -j {numbers}` shows them, `scancel {numbers}` makes them save and ends them)",
                stopped.status if isinstance(stopped, RunStopped) else 128 + signal.SIGINT,
            ) from None
        self._require_done(list(jobs))

    def _directory_of(self, words: Sequence[str], number: int) -> str:
        """Returns the name of a job's directory."""
        named = [word.removeprefix(SUBDIRECTORY) for word in words if word.startswith(SUBDIRECTORY)]
        if named:
            return named[-1]
        job = self.job.job  # Hydra's own sweeper leaves it to the configuration
        config = job.hydra_context.config_loader.load_sweep_config(job.config, list(words))
        config.hydra.job.num = number
        return str(config.hydra.sweep.subdir)

    def _submit(self, jobs: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Starts or queues jobs; returns name → handle, which is a process of submitit or a number in SLURM."""
        import submitit

        settings = {name: value for name, value in self.settings.items() if value is not None}
        most_timeouts = settings.pop("max_num_timeout")
        if self.is_slurm and "cpus_per_task" in settings:  # since SLURM 22.05, srun does not take it from sbatch
            settings["srun_args"] = [f"--cpus-per-task={settings['cpus_per_task']}"]
        executor: submitit.Executor
        try:
            if self.is_slurm:
                executor = submitit.AutoExecutor(self.folder, "slurm", slurm_max_num_timeout=most_timeouts)
                general = submitit.AutoExecutor._typed_parameters()
                settings = {name if name in general else f"slurm_{name}": value for name, value in settings.items()}
            else:
                executor = submitit.LocalExecutor(self.folder, max_num_timeout=most_timeouts)
            executor.update_parameters(**settings)
            with _deaf_to_ctrl_c():
                handles = executor.map_array(self.job, *zip(*jobs.values(), strict=True))
                numbers = {name: handle.job_id for name, handle in zip(jobs, handles, strict=True)}
                if self.is_slurm:
                    write_json(self.directory / QUEUE, {**read_json(self.directory / QUEUE), **numbers})
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise RunFailed(f"{_last_line(str(error))}; try other values of hydra.launcher") from None
        except (AssertionError, NameError, ValueError) as error:  # of values that submitit does not take
            raise RunFailed(f"hydra.launcher does not fit: {_last_line(str(error))}; try other values") from None
        self._numbers |= numbers
        if not self.is_slurm:
            return dict(zip(jobs, handles, strict=True))
        first = next(iter(numbers.values())).partition("_")[0]
        print(f"queued  {counted(len(numbers), 'job')} as {first} of SLURM; `squeue -j {first}` shows them", flush=True)
        self._next_question = self._wait = 0.0
        return numbers

    def _over(self, running: Mapping[str, Any]) -> list[str]:
        """Returns the jobs whose processes have ended, and will not be started again."""
        if not self.is_slurm:
            return [name for name, process in running.items() if process.done()]
        ended = [
            name for name in running
            # An earlier launch may have written what stands there.
            if _stamp(self.directory / name) != self._stamps[name] and read_state(self.directory / name).has_ended
        ]  # fmt: skip
        if ended or time.monotonic() < self._next_question:
            return ended
        states = _states_in_slurm()
        over: set[str] = set()
        if not isinstance(states, str):  # else it is asked again later
            missing = {name for name, number in running.items() if not _is_there(number, states)}
            over, self._missing = missing & self._missing, missing  # twice, as a job that is queued again may flicker
        self._wait = ASK_SOON if self._missing else min(ASK_EVERY_SECONDS, self._wait + ASK_SOON)
        self._next_question = time.monotonic() + self._wait
        return list(over)

    def _require_done(self, names: Sequence[str]) -> None:
        """Checks that each job has ended by itself.

        Raises:
            BrokenProcessPool: a process died.
            RunFailed: the time limit leaves no time to train.
            RunStopped: a job was stopped, by its time limit for example.
        """
        states = {name: read_state(self.directory / name) for name in names}
        left = {name: state for name, state in states.items() if not state.has_ended and state.name != "running"}
        stopped = {
            name: state for name, state in left.items() if state.name == "stopped" or not self._log(name).is_file()
        }
        died = {
            name: _last_line(self._log(name).read_text(encoding="utf-8", errors="replace"))
            for name in left if name not in stopped
        }  # fmt: skip
        late = [name for name, said in died.items() if TOO_OFTEN in said]
        if late:
            raise RunFailed(
                f"a job must save a checkpoint within its time limit, but {first_of(late, 3)} saved none in any "
                f"attempt; try hydra.launcher.timeout_min={2 * int(self.settings['timeout_min'])}"
            )
        for name, said in died.items():
            print(f"killed  {name}{f': {said}' if said else ''}; its log is {shortest(self._log(name))}")
        if died:
            raise BrokenProcessPool(f"the process of {first_of(list(died), 3)} died")
        if stopped:
            reason = next(iter(stopped.values())).reason.partition("; ")[0] or "cancelled before it began"
            raise RunStopped(
                f"{counted(len(stopped), 'job')} did not come to an end: {first_of(list(stopped), 3)} ({reason})",
                128 + signal.SIGTERM,
            )

    def _log(self, name: str) -> Path:
        """Returns the file with the errors of a job's process; there is none until the process has started."""
        from submitit.core.utils import JobPaths

        paths = JobPaths(self.folder, job_id=self._numbers[name])
        return Path(paths.stdout if self.settings.get("stderr_to_stdout") else paths.stderr)


def _stamp(directory: Path) -> int:
    try:
        return (directory / "status.json").stat().st_mtime_ns
    except OSError:
        return 0


def _states_in_slurm() -> dict[str, str] | str:
    """Asks SLURM for the states of all jobs of this user: number → state; returns why it does not answer."""
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return _last_line(done.stderr) or f"it ended with {done.returncode}"
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())


def _is_there(number: object, states: Mapping[str, str]) -> bool:
    """Returns whether SLURM runs a job, or will; it forgets those that have ended after some minutes."""
    return states.get(str(number)) not in (None, *OVER)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip(" -")]
    return lines[-1] if lines else ""


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Keeps Ctrl-C from a moment, and from the processes that start in it.

    Those of submitit would answer it by killing their jobs after a second.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
