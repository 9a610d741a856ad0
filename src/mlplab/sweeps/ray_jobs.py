"""Runs the jobs of a sweep on Ray: on this machine alone, or on a cluster that is joined."""

import contextlib
import functools
import importlib.util
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from mlplab.config.checks import check_settings
from mlplab.errors import ProcessKilled, RunStopped, UserError
from mlplab.processors import usable_cores
from mlplab.sweeps.gpus import n_gpus_wanted
from mlplab.sweeps.job import JobOfSweep
from mlplab.sweeps.own_process import n_processes

ON_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too, this makes Ray listen on 127.0.0.1 alone
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables of the environment that Ray reads when it is imported."""

EVERY_SECONDS = 0.1
"""Time between two looks for jobs that have ended."""

TRIED_SECONDS = 5.0
"""Time that the head of a cluster may take to answer."""

JOBS_AHEAD = 2
"""Jobs handed to Ray for each that runs: an idle worker finds the next one there."""


class RayJobs:
    """Runs the jobs of one launch on Ray.

    Args:
        context: of Hydra, which composes the jobs' configurations.
        config: of the sweep, with its `hydra` part.
        task: called for each job, in a worker of Ray.
        settings: `init` and `remote` of conf/hydra/launcher/ray.yaml.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, task: JobOfSweep, settings: Mapping[str, Any]
    ) -> None:
        if importlib.util.find_spec("ray") is None:  # not imported, which takes a second
            raise UserError(
                "hydra/launcher=ray must have Ray", "it is not installed",
                'pip install -c constraints.txt -e ".[ray]"',
            )  # fmt: skip
        self.init, self.remote = dict(settings["init"]), dict(settings["remote"])
        check_settings("hydra.launcher.ray.init", self.init)
        check_settings("hydra.launcher.ray.remote", self.remote)
        self.context, self.config, self.task = context, config, task

    @functools.cached_property
    def n_at_once(self) -> int:
        """Number of jobs like the sweep's own configuration for which there are cores and GPUs."""
        ray = self._started()
        there, needed = ray.cluster_resources(), self._share_of(self.config)
        pairs = (("CPU", needed["num_cpus"]), ("GPU", needed["num_gpus"]))
        return max(1, min([int(there.get(name, 0) // share) for name, share in pairs if share] or [1]))

    def run(self, job_words: Sequence[Sequence[str]], first_number: int) -> list[JobReturn]:
        """Runs all jobs, and returns in their order what Hydra expects.

        Raises:
            RunStopped: by a signal.
            ProcessKilled: a worker was killed; the other jobs have ended.
        """
        ray = self._started()
        state = (self.context, self.config, self.task, Singleton.get_state())
        sent = ray.put(ray.cloudpickle.dumps(state))
        run = ray.remote(max_retries=0)(_run)
        values: dict[int, float] = {}
        pending: dict[Any, int] = {}
        killed: list[str] = []
        with self._ended_at_once(pending):
            for index, words in enumerate(job_words):
                while len(pending) >= JOBS_AHEAD * self.n_at_once:
                    self._take_in(pending, values, killed)
                config = self.context.config_loader.load_sweep_config(self.config, list(words))
                options = {**self.remote, **self._share_of(config)}
                pending[run.options(**options).remote([sent], first_number + index, list(words), os.getcwd())] = index
            while pending:
                self._take_in(pending, values, killed)
        if killed:
            raise ProcessKilled(killed[0])
        return [
            JobReturn(overrides=words, _return_value=values[index], status=JobStatus.COMPLETED)
            for index, words in enumerate(job_words)
        ]

    def _take_in(self, pending: dict[Any, int], values: dict[int, float], killed: list[str]) -> None:
        """Waits a moment, and takes in the jobs that have ended."""
        ray = self._started()
        # A signal must be able to raise its error: within Ray it would be lost.
        time.sleep(EVERY_SECONDS)
        for reference in ray.wait(list(pending), num_returns=len(pending), timeout=0)[0]:
            index = pending.pop(reference)
            try:
                value = ray.get(reference)
            except ray.exceptions.RayError as error:  # a worker that was killed, or a machine that was lost
                killed.append(str(error))
                continue
            if isinstance(value, tuple):
                raise RunStopped(*value)
            if value is None:
                killed.append("a process of a job was killed")
            else:
                values[index] = value

    def _share_of(self, config: DictConfig) -> dict[str, Any]:
        """Returns the cores and GPUs that a job of this configuration is given."""
        ray = self._started()
        cores, gpus = self.remote["num_cpus"], self.remote["num_gpus"]
        if gpus == "auto":
            gpus = n_gpus_wanted(config) if ray.cluster_resources().get("GPU") else 0
        return {"num_cpus": n_processes(config) if cores == "auto" else cores, "num_gpus": gpus}

    def _started(self) -> Any:
        """Starts Ray on this machine, or joins the cluster; returns the module, which is imported only now."""
        given = {name: value for name, value in self.init.items() if value is not None}
        if "address" not in given:
            os.environ.update(ON_THIS_MACHINE)
            given = {"num_cpus": usable_cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1", **given}
            given["address"] = "local"  # else RAY_ADDRESS would decide
        import ray

        if ray.is_initialized():
            return ray
        try:
            host, colon, port = str(given["address"]).rpartition(":")
            if colon and port.isdecimal():  # Ray would try it for minutes, and print what it thinks of that
                socket.create_connection((host, int(port)), TRIED_SECONDS).close()
            ray.init(**{"log_to_driver": False, "logging_level": "error", **given})
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                "hydra.launcher.ray.init must be arguments with which ray.init starts",
                f"{_in_a_line(error)}, for {', '.join(f'{name}={value}' for name, value in given.items())}",
                "hydra.launcher.ray.init.address=null",
            ) from None
        except Exception as error:  # the class of Ray's own error if its processes have not begun after half a minute
            raise UserError("Ray must start", _in_a_line(error), "it again when this machine is less busy") from None
        return ray

    @contextmanager
    def _ended_at_once(self, pending: Mapping[Any, int]) -> Iterator[None]:
        """Leaves no job to Ray when an error or a signal ends the launch."""
        import ray

        try:
            yield
        except BaseException:
            if self.init.get("address") is None:
                ray.shutdown()
            for reference in pending if ray.is_initialized() else ():
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)
            raise


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _run(sent: Sequence[Any], number: int, words: list[str], folder: str) -> float | tuple[str, int] | None:
    """Runs a job in a worker of Ray.

    Args:
        sent: reference to what all jobs share; within a list, as each worker reads it once.
        number: of the job.
        words: its overrides.
        folder: in which the command was given.

    Returns:
        The objective; message and exit status if the job was stopped; None if one of its processes was killed.
    """
    os.chdir(folder)
    context, config, task, state = _unpacked(sent[0])
    setup_globals()
    Singleton.set_state(state)
    job = context.config_loader.load_sweep_config(config, list(words))
    with open_dict(job):
        job.hydra.job.id = f"{job.hydra.job.name}_{number}"
        job.hydra.job.num = number
    HydraConfig.instance().set_config(job)
    try:
        returned = run_job(
            hydra_context=context, task_function=task, config=job, job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip
        return float(returned.return_value)
    except RunStopped as stopped:  # which Ray could not send
        return str(stopped), stopped.status
    except ProcessKilled:
        return None


@functools.lru_cache(maxsize=1)
def _unpacked(reference: Any) -> Any:
    import ray

    return ray.cloudpickle.loads(ray.get(reference))
