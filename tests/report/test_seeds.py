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


def write_config(job: Path, content: str) -> None:
    (job / ".hydra").mkdir()
    (job / ".hydra" / "config.yaml").write_text(content)


@pytest.mark.parametrize(("content", "seed"), [("seed: 3\n", 3), ("seed: [", None), ("- 1", None), ("\0", None)])
def test_a_seed_is_read_from_the_job(tmp_path: Path, content: str, seed: int | None) -> None:
    write_sweep(tmp_path, mixed())
    write_config(tmp_path / "0_job", content)
    assert [run.entry.values.get("seed") for run in read_sweep(tmp_path).runs] == [seed, 3, 4]


def test_the_seed_of_a_split_is_found_in_its_group(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"lr": 1}), job(1, {"lr": 1, "data.split_seed": 7})])
    write_config(tmp_path / "0_job", "data: {split_seed: 7}")
    assert [dict(run.entry.values) for run in read_sweep(tmp_path).runs] == [{"lr": 1, "data.split_seed": 7}] * 2


def test_one_seed_is_not_counted_as_two(tmp_path: Path) -> None:
    write_sweep(tmp_path, mixed())
    write_config(tmp_path / "0_job", "seed: 3")
    (setting,) = settings_of(read_sweep(tmp_path))
    assert setting.validation.values == (0.1, 0.3)


def test_without_a_configuration_no_seed_is_told(tmp_path: Path) -> None:
    assert seeds(tmp_path, mixed()) == [None, 3, 4]


def test_what_no_job_of_the_stage_was_given_is_not_looked_for(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1}), job(1, {"lr": 1, "seed": 9}, stage="rerun")]
    assert seeds(tmp_path, jobs, constants=["seed=3"]) == [None, 9]
    assert json.loads((tmp_path / "sweep.json").read_text())["jobs"][0]["values"] == {"lr": 1}
