"""What a stack knows of its jobs: composed with less, and the same as Hydra composes."""

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlplab.stacked.stacked_job import Job, plain_values
from mlplab.sweeps.job_loader import JobLoader

Loaders = tuple[DictConfig, ConfigLoaderImpl, JobLoader]


def job_of(loaders: Loaders, *words: str, number: int = 3) -> Job:
    return Job(words, number, loaders[0], loaders[2])


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.sweep.subdir=3_seed-1"],
        ["hydra.sweep.subdir=7"],
        ["hydra.sweep.subdir='a b'", "hydra.sweep.subdir=last"],
        ["hydra.sweep.subdir=x", "hydra.sweep.dir=elsewhere"],
        ["hydra.sweep.subdir=x", "hydra.sweep.dir=${paths.logs}/s", "paths.logs=/tmp/other"],
        ["hydra.sweep.subdir=${seed}"],
        ["seed=5"],
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


def resolved(job: Job) -> dict[str, Any]:
    with job.in_hand():
        values: dict[str, Any] = OmegaConf.to_container(job.config, resolve=True)  # type: ignore[assignment]
    return values


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], set()),
        (["monitor=val/accuracy", "sweep.name=${seed}", "optimizer.lr=${regularization.l1}"], set()),
        (["optimizer.lr=${optimizer}"], {"optimizer"}),
        (["mode=${monitor}x", "monitor=\\${seed}", "callbacks.early_stopping.mode=${..divergence.monitor}"], set()),
        (["loss=${regularization}", "callbacks.figures.directory=${seed}/${paths.run}"], set()),
        (["seed=${oc.decode:'7'}"], set()),
    ],
)
def test_its_plain_values_are_those_of_omegaconf_but_for_its_directory(
    words: list[str], changed: set[str], loaders: Loaders
) -> None:
    job = job_of(loaders, "hydra.sweep.subdir=1", *words)
    try:
        expected = resolved(job)
    except Exception as error:
        with pytest.raises(type(error)):
            plain_values(job)
        return
    values = plain_values(job)
    own = {"paths", "callbacks", "logger", *changed}
    assert {name: value for name, value in values.items() if name not in own} == {
        name: value for name, value in expected.items() if name not in own
    }
    for name in ("early_stopping", "divergence"):
        assert values["callbacks"][name] == expected["callbacks"][name]
    other = plain_values(job_of(loaders, "hydra.sweep.subdir=2", *words))
    assert other["callbacks"] == values["callbacks"]
    assert other["logger"] == values["logger"]
