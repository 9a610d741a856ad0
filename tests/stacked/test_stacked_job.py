"""What a stack knows of its jobs: composed with less, and the same as Hydra composes."""

from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from slow_cases import slow

from mlplab.stacked.stacked_job import Job, plain_values
from mlplab.sweeps.job_loader import JobLoader

Loaders = tuple[DictConfig, ConfigLoaderImpl, JobLoader]


def job_of(loaders: Loaders, *words: str, number: int = 3) -> Job:
    return Job(words, number, loaders[0], loaders[2])


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.sweep.subdir='a b'", "hydra.sweep.subdir=last"],
        ["hydra.sweep.subdir=x", "hydra.sweep.dir=${paths.logs}/s", "paths.logs=/tmp/other"],
        *slow(
            ["hydra.sweep.subdir=3_seed-1"],
            ["hydra.sweep.subdir=7"],
            ["hydra.sweep.subdir=x", "hydra.sweep.dir=elsewhere"],
            ["hydra.sweep.subdir=${seed}"],
            ["seed=5"],
        ),
    ],
)
def test_its_directory_is_where_hydra_puts_it(words: list[str], loaders: Loaders) -> None:
    config, loader, _ = loaders
    whole = loader.load_sweep_config(config, words)
    whole.hydra.job.num = 3
    expected = Path(str(whole.hydra.sweep.dir), str(whole.hydra.sweep.subdir)).absolute()
    assert job_of(loaders, *words).directory == expected


def test_jobs_in_hand_are_told_apart(loaders: Loaders) -> None:
    jobs = [job_of(loaders, f"seed={n}", f"hydra.sweep.subdir={n}", number=n) for n in (1, 2)]
    for job in (*jobs, *jobs):
        with job.in_hand():
            hydra = HydraConfig.get()
            assert (hydra.job.num, hydra.runtime.output_dir) == (job.number, str(job.directory))
            assert list(hydra.overrides.task) == job.words[:1]
            assert job.config.paths.run == str(job.directory)
    assert not HydraConfig.initialized()


@pytest.mark.parametrize("words", [[], ["sweep.name=${seed}", "optimizer.lr=${regularization.l1}"]])
def test_the_plain_values_of_alike_jobs_are_equal(words: list[str], loaders: Loaders) -> None:
    values, other = (plain_values(job_of(loaders, f"hydra.sweep.subdir={n}", *words)) for n in (1, 2))
    assert values == other
    assert values["optimizer"]["lr"] == (0.0 if words else 0.001)
    assert values["callbacks"]["checkpoints"]["mode"] == "min"
    assert plain_values(job_of(loaders, "hydra.sweep.subdir=1", "seed=7"))["seed"] == 7
