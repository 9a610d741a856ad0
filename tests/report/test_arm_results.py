from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon
from sweeps.making import COMPARISON, comparison, grid, job, write_sweep

from mlplab.report.findings import arm_findings, arms_of
from mlplab.sweeps.reading.ranked_settings import settings_of
from mlplab.sweeps.reading.sweep_reading import read_sweep
from mlplab.sweeps.reading.sweep_records import Finding


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


def told(directory: Path, values: dict[str, tuple[list[float], list[float]]], **asked: Any) -> list[Finding]:
    """The findings of arms, with the values of their tuned and default runs by seed."""
    jobs = [
        job(
            100 * a + 50 * s + seed, {"lr": s, "seed": seed}, value, arm=arm, stage=stage, accuracy=[0.5, 0.9], epochs=2
        )
        for a, (arm, sides) in enumerate(values.items())
        for s, (stage, side) in enumerate(zip(("rerun", "default"), sides, strict=True))
        for seed, value in enumerate(side)
    ]
    sweep = read_sweep(write_sweep(directory, jobs, **asked))
    return arm_findings(sweep, arms_of(settings_of(sweep)))


def test_tuning_is_tested_on_the_shared_seeds(tmp_path: Path) -> None:
    ten = [0.1 + 0.01 * seed for seed in range(10)]
    better, worse = (
        [v - 0.01 * (1 + 0.1 * s) for s, v in enumerate(ten)],
        [v + 0.001 * (1 + s) for s, v in enumerate(ten)],
    )
    mixed = [v + 0.01 * (-1) ** s * (1 + 0.1 * s) for s, v in enumerate(ten)]
    found = told(tmp_path, {"a": (better, ten), "b": (worse, ten), "c": (mixed, ten)})[1:]
    assert [finding.sentence for finding in found] == [
        "Tuning improves a by 0.0145.",
        "Tuned, c is better by 0.0005, which may be chance.",
        "Tuning made b worse, by 0.0055.",
    ]
    assert [finding.level for finding in found] == ["result", "caution", "caution"]
    ps = [wilcoxon(np.subtract(ten, tuned)).pvalue for tuned in (better, worse, mixed)]
    assert f"p {ps[1]:.2g}, corrected {3 * ps[1]:.2g}" in found[2].evidence
    assert ps[0] == ps[1] < 0.05 < ps[2]


def test_few_seeds_show_no_gain(tmp_path: Path) -> None:
    found = told(tmp_path, {"a": ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5])})[1]
    assert (
        found.sentence
        == "Tuned, a is better by 0.3, which may be chance: the signed-rank test needs 6 seeds that differ."
    )


def test_nobody_is_soonest_where_most_runs_miss_the_target(tmp_path: Path) -> None:
    target = {"metric": "val/accuracy", "value": 0.97, "mode": "max"}
    assert told(tmp_path / "none", {"a": ([0.1], [0.1])}, target=target)[0].sentence.startswith("No tuned arm reached")
    jobs = [
        job(10 * a + n, {"seed": n}, 0.1, arm="xy"[a], stage="rerun", accuracy=[0.5, 0.98 if n <= a else 0.6], epochs=2)
        for a in range(2)
        for n in range(5)
    ]
    sweep = read_sweep(write_sweep(tmp_path / "some", jobs, target=target))
    finding = arm_findings(sweep, arms_of(settings_of(sweep)))[0]
    assert finding.sentence == ("No tuned arm reached val/accuracy ≥ 0.97 in most of its runs; y did so most often.")
    assert "2 of 5 runs" in finding.evidence


def test_of_an_arm_that_went_on_the_rerun_of_its_present_best_counts(tmp_path: Path) -> None:
    """The former best did better on the new seeds, which must not choose."""
    jobs = [job(n, {"lr": n}, value, arm="x") for n, value in enumerate([0.2, 0.1])]
    jobs += [job(10 + n, {"lr": n // 2, "seed": n}, 0.3 if n < 2 else 0.4, arm="x", stage="rerun") for n in range(4)]
    (arm,) = arms_of(settings_of(read_sweep(write_sweep(tmp_path, jobs))))
    assert arm.tuned is not None
    assert arm.tuned.values == {"lr": 1}
