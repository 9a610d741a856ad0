from pathlib import Path

import pytest
from report.making import COMPARISON, comparison, grid, write_sweep

from mlplab.report.arm_results import arms_of
from mlplab.report.ranked_settings import settings_of
from mlplab.report.sweep_reading import read_sweep


def test_each_arm_is_tuned_and_default(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path, comparison(), **COMPARISON))
    first, second = arms_of(settings_of(sweep))
    assert (first.name, second.name) == ("adam", "sgd")
    assert first.n_trials == second.n_trials == 12
    assert first.tuned is not None
    assert first.default is not None
    assert [len(side.runs) for side in (first.tuned, first.default)] == [10, 10]
    assert first.tuned.validation.mean == pytest.approx(0.1, abs=0.02)
    assert first.default.validation.mean == pytest.approx(0.2, abs=0.02)
    time = first.tuned.time_to(sweep.target)
    assert time is not None
    assert time.hits == 9  # one seed never gets there


def test_arms_stand_before_their_reruns_have_begun(tmp_path: Path) -> None:
    jobs = [part for part in comparison() if part["entry"]["stage"] == "search"]
    sweep = read_sweep(write_sweep(tmp_path, jobs, **{**COMPARISON, "target": None}))
    arms = arms_of(settings_of(sweep))
    assert [(arm.name, arm.tuned, arm.default) for arm in arms] == [("adam", None, None), ("sgd", None, None)]
    grid_sweep = read_sweep(write_sweep(tmp_path / "grid", grid(1)))
    assert arms_of(settings_of(grid_sweep)) == []
