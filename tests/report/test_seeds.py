import json
from pathlib import Path
from typing import Any

import pytest
from report.making import job, write_sweep

from mlplab.report.ranked_settings import settings_of
from mlplab.report.sweep_reading import read_sweep


def seeds(directory: Path, jobs: list[dict], **asked: Any) -> list[Any]:
    return [run.entry.values.get("seed") for run in read_sweep(write_sweep(directory, jobs, **asked)).runs]


def mixed() -> list[dict]:
    """A job without a seed beside two that have one."""
    return [job(0, {"lr": 1}, 0.1), job(1, {"lr": 1, "seed": 3}, 0.1), job(2, {"lr": 1, "seed": 4}, 0.3)]


@pytest.mark.parametrize(
    ("asked", "seed"),
    [
        ({"constants": ["seed=3"]}, 3),
        ({"configs": {"0": {"seed": 3}}}, 3),
        ({"configs": {"0": {"seed": 5}}, "constants": ["+seed=3"]}, 5),
        ({"configs": {"0": {"seed": True}}}, None),
        ({"constants": ["seed=${x}"]}, None),
        ({}, None),
    ],
)
def test_a_seed_is_that_of_the_configuration_or_of_the_shared_words(
    tmp_path: Path, asked: dict[str, Any], seed: int | None
) -> None:
    assert seeds(tmp_path, mixed(), **asked) == [seed, 3, 4]


@pytest.mark.parametrize(("content", "seed"), [("seed: 3\n", 3), ("seed: [", None), ("- 1", None), ("\0", None)])
def test_a_seed_is_read_from_the_job(tmp_path: Path, content: str, seed: int | None) -> None:
    write_sweep(tmp_path, mixed())
    (tmp_path / "0_job" / ".hydra").mkdir()
    (tmp_path / "0_job" / ".hydra" / "config.yaml").write_text(content)
    assert [run.entry.values.get("seed") for run in read_sweep(tmp_path).runs] == [seed, 3, 4]


def test_the_seed_of_a_split_is_found_in_its_group(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1}), job(1, {"lr": 1, "data.split_seed": 7})]
    sweep = read_sweep(write_sweep(tmp_path, jobs, configs={"0": {"data": {"split_seed": 7}}}))
    assert [dict(run.entry.values) for run in sweep.runs] == [{"lr": 1, "data.split_seed": 7}] * 2


def test_one_seed_is_not_counted_as_two(tmp_path: Path) -> None:
    (setting,) = settings_of(read_sweep(write_sweep(tmp_path, mixed(), constants=["seed=3"])))
    assert setting.validation.values == (0.1, 0.3)


def test_what_no_job_of_the_stage_was_given_is_not_looked_for(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1}), job(1, {"lr": 1, "seed": 9}, stage="rerun")]
    assert seeds(tmp_path, jobs, constants=["seed=3"]) == [None, 9]
    assert json.loads((tmp_path / "sweep.json").read_text())["jobs"][0]["values"] == {"lr": 1}
