"""Measures what a sweep of many jobs asks of a shared file system, and simulates its time on many machines.

    python scripts/benchmarking/many_jobs.py                 # 10,000 jobs, 100 machines; about two minutes
    python scripts/benchmarking/many_jobs.py 1000 10

Counts what the launching process does with files below the sweep's folder while jobs that cost nothing begin and end:
before the first job, while they run, at the end, and when the same command is given again. One real run is counted too.
The schedule is simulated, with the seconds that these took.
"""

import collections
import contextlib
import heapq
import io
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import open_dict

from mlplab.config.resolvers import register_resolvers
from mlplab.sweeps.grid import sweep_grid
from mlplab.sweeps.job_loader import JobLoader
from mlplab.sweeps.sweep import Sweep

ROOT = Path(__file__).resolve().parents[2]

COUNTED = ("open", "stat", "lstat", "mkdir", "rename", "replace", "unlink", "link", "scandir", "listdir", "fsync")
"""Functions of `os` that are a question to the file system each."""

MINUTES = (1.0, 10.0)
"""Shortest and longest job of the simulated schedule."""

START_SECONDS = 15.0
"""Until a job of a cluster has its process, and has imported PyTorch from a shared file system."""


class Counter:
    """Counts calls of `os` for files below a folder."""

    def __init__(self, folder: str) -> None:
        self.folder, self.counts = folder, collections.Counter[str]()
        self.is_counting, self.seconds_of_jobs = True, 0.0
        for name in COUNTED:
            setattr(os, name, self._counted(name, getattr(os, name)))
        self._files: Callable[..., Any] = io.open
        io.open = self._counted("open", io.open)  # type: ignore[assignment]

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            # fsync is given a descriptor.
            is_ours = name == "fsync" or str(arguments[0] if arguments else "").startswith(self.folder)
            self.counts[name] += self.is_counting and is_ours
            return function(*arguments, **options)

        return counted

    @contextlib.contextmanager
    def jobs(self) -> Iterator[None]:
        """Leaves out what the jobs do."""
        began, self.is_counting = time.perf_counter(), False
        yield
        self.is_counting = True
        self.seconds_of_jobs += time.perf_counter() - began

    @contextlib.contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Prints what a part has cost."""
        self.counts.clear()
        self.seconds_of_jobs = 0.0
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began - self.seconds_of_jobs
        named = ", ".join(f"{n:,} {name}" for name, n in self.counts.most_common() if n)
        print(f"{what:<38} {seconds:7.2f} s  {self.counts.total():>8,} operations: {named}", flush=True)


class NoWork:
    """A launcher whose jobs begin and end at once: only what the sweep itself costs is left."""

    def __init__(self, directory: Path, counter: Counter) -> None:
        self.directory, self.counter = directory, counter

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> None:
        """Writes for each job what tells that it has finished."""
        for overrides in jobs:
            with self.counter.jobs():
                folder = self.directory / overrides[-1].partition("=")[2]
                folder.mkdir()
                (folder / "result.json").write_text(
                    '{"objective": 1.0, "validation": {"val/loss": 1.0}}', encoding="utf-8"
                )
                (folder / "status.json").write_text('{"state": "finished", "seconds": {"fit": 1.0}}', encoding="utf-8")


def sweep_once(n_jobs: int, logs: Path, counter: Counter) -> float:
    """Runs, or goes on with, a sweep over an optimizer, a learning rate and seeds; returns its own seconds."""
    words = [f"paths.logs={logs}", "sweep.name=many"]
    register_resolvers(ROOT)
    setup_globals()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", words, return_hydra_config=True)
        with open_dict(config):
            config.hydra.job.config_name, config.hydra.job.num = "config", 0
        HydraConfig.instance().set_config(config)
        loader = JobLoader(GlobalHydra.instance().config_loader())
        launcher: Any = NoWork(logs / "sweeps" / "many", counter)
        sweep = Sweep(config, loader, launcher, "grid", lambda directory: [])
        grid = ["optimizer=sgd,momentum,adam,adamw", "optimizer.lr=0.001,0.003,0.01,0.03,0.1"]
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            sweep_grid(sweep, [*words, *grid, f"seed=range(0,{n_jobs // 20})"], {})
        return time.perf_counter() - began - counter.seconds_of_jobs


def one_run(logs: Path) -> None:
    """Trains a small network as a job does."""
    from mlplab.training import train

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        words = [f"paths.logs={logs}", f"paths.run={logs}/run", "data=wine", "trainer.max_epochs=5"]
        config = compose("config", [*words, "callbacks=minimal", "logger=csv"], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config.hydra
        with contextlib.redirect_stdout(io.StringIO()):
            train(config)


def simulated(n_jobs: int, n_machines: int, overhead: float) -> tuple[float, float]:
    """Hands each job to the machine that is free first; returns hours, and the share of them in which machines train.

    Args:
        n_jobs: number of jobs, whose minutes are drawn between `MINUTES`.
        n_machines: each runs one job at a time.
        overhead: seconds of the launching process for each job.
    """
    drawn = random.Random(0)
    free = [0.0] * n_machines
    launched = total = 0.0
    for _ in range(n_jobs):
        launched += overhead
        seconds = 60 * drawn.uniform(*MINUTES)
        begins = max(heapq.heappop(free), launched)
        heapq.heappush(free, begins + START_SECONDS + seconds)
        total += seconds
    return max(free) / 3600, total / (max(free) * n_machines)


def main(n_jobs: int = 10_000, n_machines: int = 100) -> None:
    """Counts, and simulates."""
    with tempfile.TemporaryDirectory() as folder:
        counter = Counter(folder)
        logs = Path(folder) / "logs"
        with counter.part(f"{n_jobs:,} jobs: plan, watch, end"):
            seconds = sweep_once(n_jobs, logs, counter)
        with counter.part("the same command again, all finished"):
            sweep_once(n_jobs, logs, counter)
        size = (logs / "sweeps" / "many" / "sweep.json").stat().st_size
        print(f"sweep.json of {n_jobs:,} jobs: {size / 1e6:.1f} MB")
        one_run(Path(folder) / "warm")
        with counter.part("one run of five epochs"):
            one_run(Path(folder) / "single")
    print(
        f"\nsimulated: {n_jobs:,} jobs of {MINUTES[0]:g} to {MINUTES[1]:g} minutes, {START_SECONDS:g} s to start each"
    )
    for machines in dict.fromkeys((1, max(1, n_machines // 10), n_machines)):
        hours, share = simulated(n_jobs, machines, seconds / n_jobs)
        print(f"{machines:>5} machines {hours:8.1f} hours, {share:4.0%} of them training")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
