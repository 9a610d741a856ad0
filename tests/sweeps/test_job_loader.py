"""Configurations of jobs that are copied and changed: nothing in them tells them from those that Hydra composes."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.base import Container
from slow_cases import slow

from mlplab.sweeps.job_loader import JobLoader, without_hydra

SHARED = ["trainer.max_epochs=20"]

JOBS = {
    "nothing": [],
    "several, one of them twice": ["seed=1", "optimizer.lr=1e-3", "seed=2"],
    "null and switches": ["sweep.target=null", "model.residual=true", "trainer.min_epochs=null"],
    "lists and mappings": [
        "model.hidden_dims=[3,4]",
        "regularization.applies_to=[]",
        "sweep.target={metric: val/accuracy, value: 0.95, mode: max}",
        "data={batch_size: 7}",
    ],
    "quotes": [
        "monitor='val/loss'",
        'mode="m i,n"',
        "paths.logs='a: b # c'",
        "sweep.name='größe 漢'",
        "sweep.name='\\'x\\''",
    ],
    "interpolations": ["optimizer.lr=${seed}", "sweep.name=${optimizer.lr}", "paths.logs=${oc.env:HOME}/x"],
    "groups": ["optimizer=sgd", "optimizer.lr=0.5", "scheduler=cosine"],
    "a group after its values": ["optimizer.lr=0.5", "seed=3", "optimizer=sgd"],
    "an experiment": ["experiment=overfitting", "seed=1"],
    "a group added elsewhere": ["seed=1", "+optimizer@second=sgd", "second.lr=3"],
    "one choice less": ["~scheduler", "seed=1"],
    "names added": ["seed=1", "+note=text", "++note=other", "note=2", "seed=2", "+trainer.sync_batchnorm=true"],
    "a name changed and taken away": ["seed=5", "~paths.logs", "mode=max"],
    "a change that an addition replaces": ["seed=1", "++seed=2"],
    "its directory": ["seed=1", "hydra.sweep.subdir=0_seed-1"],
    "more of hydra": ["seed=1", "hydra.job.name=other", "hydra.verbose=true", "hydra/job_logging=none", "seed=2"],
    "names of its words": ["hydra.job.config.override_dirname.exclude_keys=[seed]", "seed=3", "mode=max"],
    "variables of the environment": ["hydra.job.env_copy=[HOME]", "seed=3"],
}

OFTEN = {"quotes", "a group after its values"}
"""The gate composes these; the others are of the same kinds."""


def some(kinds: dict[str, list[str]]) -> list[Any]:
    return [pytest.param(kind, marks=() if kind in OFTEN else pytest.mark.slow) for kind in kinds]


WRONG = ["sed=1", "optimizer=none_such", *slow("seed=1,2", "~none_such", "a=[")]


def compose_jobs(config: DictConfig, loader: ConfigLoader, job_words: list[list[str]]) -> list[DictConfig]:
    """The configurations of jobs, as they are composed in a sweep."""
    quick = loader if isinstance(loader, JobLoader) else JobLoader(loader)
    return [quick.load_sweep_config(config, words) for words in job_words]


def everything(node: Any) -> Any:
    """A node with all that OmegaConf knows of it."""
    about = dict(vars(node._metadata))
    content = node._content if isinstance(node, Container) else node._value()
    if isinstance(content, dict):
        return type(node), about, [(key, everything(part)) for key, part in content.items()]
    if isinstance(content, list):
        return type(node), about, [everything(part) for part in content]
    return type(node), about, type(content), content


def resolved(config: DictConfig) -> Any:
    config = config.copy()
    with open_dict(config):
        config.hydra.runtime.output_dir = "/somewhere/0"
        config.hydra.job.num = 0
    HydraConfig.instance().cfg = config
    try:
        with open_dict(config):  # help quotes the command line, as no config does
            del config.hydra.help, config.hydra.hydra_help
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    finally:
        HydraConfig.instance().cfg = None


@pytest.mark.parametrize("kind", some(JOBS))
def test_a_job_has_all_that_hydra_gives_it(kind: str, loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader]) -> None:
    config, loader, quick = loaders
    words = [*SHARED, *JOBS[kind]]
    expected = loader.load_sweep_config(config, words)
    for _ in range(2):  # composed, and then copied
        (job,) = compose_jobs(config, quick, [words])
        assert everything(job) == everything(expected)
    assert all(part._get_parent() is job for part in job._content.values())
    if kind not in ("a name changed and taken away",):  # what is taken away is referred to
        assert resolved(job) == resolved(expected)


@pytest.mark.parametrize("kind", some(JOBS))
def test_its_two_parts_are_those_of_the_whole(
    kind: str, loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader]
) -> None:
    config, loader, quick = loaders
    words = [*SHARED, *JOBS[kind]]
    for others in ([], ["seed=77", "hydra.sweep.subdir=other"]):
        expected = loader.load_sweep_config(config, words)
        quick.hydra_of_job(config, [*words, *others])  # which the next one shares
        assert everything(quick.hydra_of_job(config, words).hydra) == everything(expected.hydra)
        assert everything(quick.load_job(config, words)) == everything(without_hydra(expected))


@pytest.mark.parametrize("word", WRONG)
def test_a_mistake_has_the_message_of_hydra(word: str, loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader]) -> None:
    config, loader, quick = loaders
    with pytest.raises(HydraException) as expected:
        loader.load_sweep_config(config, ["seed=1", word])
    with pytest.raises(type(expected.value)) as found:
        quick.load_sweep_config(config, ["seed=1", word])
    assert str(found.value) == str(expected.value)
    with pytest.raises(type(expected.value), match=re.escape(str(expected.value))):
        quick.load_job(config, ["seed=1", word])


def test_jobs_share_nothing(loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader]) -> None:
    config, loader, _ = loaders
    first, second = compose_jobs(config, loader, [["seed=1"], ["seed=2"]])
    first.optimizer.lr = 100.0
    first.hydra.overrides.task.append("x=1")
    assert (first.seed, second.seed) == (1, 2)
    assert everything(second) == everything(loader.load_sweep_config(config, ["seed=2"]))


def test_a_job_has_what_the_sweep_has_resolved_already(
    loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader],
) -> None:
    config, loader, quick = loaders
    name = config.sweep.name
    jobs = compose_jobs(config, quick, [["seed=1"], ["seed=2"]])
    assert [job.sweep.name for job in jobs] == [name, name]
    assert [job.sweep.name for job in compose_jobs(config, loader, [["seed=1"]])] == [name]


def test_conf_is_read_once_for_all_jobs_that_differ_in_values(
    loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, loader, _ = loaders
    composed = []
    load = ConfigLoaderImpl.load_configuration

    def note(self: Any, name: str, words: list[str], *options: Any) -> DictConfig:
        composed.append([word for word in words if not word.startswith("hydra")])
        return load(self, name, words, *options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", note)
    words = [["optimizer=" + name, f"seed={seed}"] for name in ("sgd", "adam") for seed in range(5)]
    jobs = compose_jobs(config, loader, words)
    assert composed == [["optimizer=sgd"], ["optimizer=adam"]]
    assert [(job.hydra.runtime.choices.optimizer, job.seed) for job in jobs] == [
        (name, seed) for name in ("sgd", "adam") for seed in range(5)
    ]


def test_another_folder_to_work_in_is_told(
    loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _, quick = loaders
    before = quick.load_sweep_config(config, ["seed=1"])
    assert before.hydra.runtime.cwd == os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert quick.load_sweep_config(config, ["seed=1"]).hydra.runtime.cwd == str(tmp_path)


def test_another_process_composes_for_itself(loaders: tuple[DictConfig, ConfigLoaderImpl, JobLoader]) -> None:
    config, loader, quick = loaders
    quick.load_sweep_config(config, ["seed=1"])
    there = pickle.loads(pickle.dumps(quick))
    assert len(pickle.dumps(quick)) < 10_000
    job = there.load_sweep_config(config, ["seed=4"])
    assert everything(job) == everything(loader.load_sweep_config(config, ["seed=4"]))
