"""A job of a stacked sweep: what is asked of it, and where it goes."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mlplab.sweeps.composing import without_hydra

MOST_HELD = 128
"""Jobs of a launch whose configurations are kept; to compose them again takes as long as ten steps."""


class Job:
    """One of the jobs that a launcher is given.

    Its configuration is composed when it is asked for: those of thousands of jobs would take a gigabyte.

    Attributes:
        words: its overrides.
        directory: of its run.
        objective: what it has come to; NaN where it came to nothing.

    Args:
        number: of the job in its sweep.
        compose: gives the configuration of a job with these overrides, with its `hydra` part.
    """

    def __init__(self, words: Sequence[str], number: int, compose: Callable[[list[str]], DictConfig]) -> None:
        self.words, self.number, self._compose = list(words), number, compose
        self.objective = math.nan
        self.directory = Path(str(self.whole.hydra.runtime.output_dir))

    @cached_property
    def whole(self) -> DictConfig:
        """Its configuration, with the `hydra` part."""
        whole = self._compose(self.words)
        with read_write(whole), open_dict(whole):
            whole.hydra.job.id = whole.hydra.job.num = self.number
            directory = Path(str(whole.hydra.sweep.dir), str(whole.hydra.sweep.subdir)).absolute()
            whole.hydra.runtime.output_dir = str(directory)
        return whole

    @cached_property
    def config(self) -> DictConfig:
        """The same without."""
        return without_hydra(self.whole)

    def forget(self) -> None:
        """Lets the memory of its configuration go."""
        for name in ("whole", "config"):
            vars(self).pop(name, None)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Within it, Hydra tells of this job."""
        hydra = HydraConfig.instance()
        before = hydra.cfg
        hydra.cfg = self.whole  # type: ignore[assignment]  # not by `set_config`, which makes a copy: it takes as long as twenty steps
        try:
            yield
        finally:
            hydra.cfg = before

    def as_returned(self) -> JobReturn:
        """What Hydra expects of a launcher."""
        return JobReturn(overrides=self.words, status=JobStatus.COMPLETED, _return_value=self.objective)


def names_of(jobs: Sequence[Job]) -> str:
    """The jobs by their directories, not more than fit in a line."""
    names = [job.directory.name for job in jobs]
    return ", ".join(names if len(names) <= 4 else [*names[:2], "…", names[-1]])


def plain_values(job: Job) -> dict[str, Any]:
    """The configuration in plain values, with what follows from the job's own directory left as it stands."""
    with job.in_hand():
        values: dict[str, Any] = OmegaConf.to_container(job.config, resolve=True)  # type: ignore[assignment]
    own = str(job.directory)
    return {str(name): _without(value, own) for name, value in values.items()}


def _without(value: Any, own: str) -> Any:
    if isinstance(value, dict):
        return {str(name): _without(part, own) for name, part in value.items()}
    if isinstance(value, list):
        return [_without(part, own) for part in value]
    return value.replace(own, "") if isinstance(value, str) else value
