"""Jobs of a sweep that would lie apart are refused before any of them is run."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mlplab.errors import UserError
from mlplab.sweeps.composer import require_one_location


def sweep(directory: str, **values: Any) -> DictConfig:
    named = {"sweep": {"name": "${run_name:}"}, "paths": {"logs": "logs"}, "seed": 0, "data": {"name": "digits"}}
    return OmegaConf.create({**named, **values, "hydra": {"sweep": {"dir": directory}, "job": {"name": "train"}}})


@pytest.mark.parametrize("name", ["sweep.name", "paths.logs", "paths.run", "hydra.sweep.dir"])
def test_what_decides_on_the_place_is_not_swept(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} must be the same for all jobs of a sweep"):
        require_one_location(sweep("logs"), [], ["seed", name])


@pytest.mark.parametrize(
    ("directory", "swept"),
    [
        ("out/${seed}", "seed"),
        ("out/${slug:${seed}}", "seed"),
        ("out/${data.name}", "data"),
        ("out/${data.name}", "data.name"),
        ("${paths.logs}/${sweep.name}", "seed"),
        ("out/${hydra:job.num}", "optimizer.lr"),
        ("out/${hydra.job.override_dirname}", "optimizer.lr"),
    ],
)
def test_the_directory_does_not_depend_on_what_is_swept(directory: str, swept: str) -> None:
    config = sweep(directory, sweep={"name": "of_${seed}"})
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir must be the same for all jobs") as refused:
        require_one_location(config, [], [swept])
    assert "depends on" in str(refused.value)


@pytest.mark.parametrize(
    "directory", ["${paths.logs}/sweeps/${sweep.name}", "out/${now:%Y-%m-%d}", "out/${hydra.job.name}", "${data.name}"]
)
def test_a_directory_that_is_the_same_for_all_is_taken(directory: str) -> None:
    require_one_location(sweep(directory), ["data=digits"], ["seed", "optimizer.lr"])


def test_names_that_go_round_in_a_circle_are_no_matter() -> None:
    require_one_location(sweep("${a}", a="${b}", b="${a}"), [], ["seed"])


def test_each_job_has_a_folder_of_its_own() -> None:
    with pytest.raises(UserError, match=r"paths\.run must be left to the jobs of a sweep"):
        require_one_location(sweep("logs"), ["paths.run=here"], ["seed"])
