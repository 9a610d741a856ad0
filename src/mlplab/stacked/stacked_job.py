"""A job of a stacked sweep: its configuration and run directory."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mlplab.sweeps.job_loader import JobLoader

MOST_HELD = 128
"""Maximum of jobs whose configurations are kept; others are recomposed, which takes as long as ten steps."""


class Job:
    """One of the jobs of a launch.

    Its configuration is composed on demand, as thousands of them would take a gigabyte.

    Attributes:
        words: its overrides.
        directory: of its run.
        objective: its result; NaN if it has none.

    Args:
        number: of the job in its sweep.
        sweep: the configuration of the sweep, with its `hydra` part.
        loader: composes the jobs'.
    """

    def __init__(self, words: Sequence[str], number: int, sweep: DictConfig, loader: JobLoader) -> None:
        self.words, self.number, self._sweep, self._loader = list(words), number, sweep, loader
        self.objective = math.nan
        sweep_of_job = self.whole().hydra.sweep
        self.directory = Path(str(sweep_of_job.dir), str(sweep_of_job.subdir)).absolute()

    def whole(self) -> DictConfig:
        """Composes its configuration with the `hydra` part, as Hydra does for a job."""
        whole = self._loader.load_sweep_config(self._sweep, self.words)
        # Hydra's configurations are read-only, and refuse new keys.
        with read_write(whole), open_dict(whole):
            whole.hydra.job.id = whole.hydra.job.num = self.number
        return whole

    @cached_property
    def config(self) -> DictConfig:
        """Returns its configuration without the `hydra` part."""
        return self._loader.load_job(self._sweep, self.words)

    def forget(self) -> None:
        """Frees the memory of its configuration."""
        # `cached_property` keeps its value in the object's dict.
        vars(self).pop("config", None)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Makes `HydraConfig` describe this job within this context."""
        hydra = HydraConfig.instance()
        before = hydra.cfg
        own = self._loader.hydra_of_job(self._sweep, self.words)
        with read_write(own), open_dict(own):
            own.hydra.job.id = own.hydra.job.num = self.number
            own.hydra.runtime.output_dir = str(self.directory)
        hydra.cfg = own  # type: ignore[assignment]  # `set_config` makes a copy, which takes as long as twenty steps
        try:
            yield
        finally:
            hydra.cfg = before

    def as_returned(self) -> JobReturn:
        """Returns the job's result in Hydra's form for launchers."""
        return JobReturn(overrides=self.words, status=JobStatus.COMPLETED, _return_value=self.objective)


def names_of(jobs: Sequence[Job]) -> str:
    """Lists the jobs by directory, up to one line."""
    names = [job.directory.name for job in jobs]
    # Long lists would fill the terminal.
    return ", ".join(names if len(names) <= 4 else [*names[:2], "…", names[-1]])


def plain_values(job: Job) -> dict[str, Any]:
    """Returns the values of a job's configuration without its directory, so that similar jobs compare equal."""
    with job.in_hand():
        values: dict[str, Any] = OmegaConf.to_container(job.config, resolve=True)  # type: ignore[assignment]
    return {str(name): _without(value, str(job.directory)) for name, value in values.items()}


def _without(value: Any, own: str) -> Any:
    if isinstance(value, dict):
        return {str(name): _without(part, own) for name, part in value.items()}
    if isinstance(value, list):
        return [_without(part, own) for part in value]
    return value.replace(own, "") if isinstance(value, str) else value
