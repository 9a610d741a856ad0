from pathlib import Path

import pytest
from report.making import COMPARISON, comparison, grid, job, write_sweep

from mlplab.report.arm_results import arms_of
from mlplab.report.paired_tests import tests_between as compare
from mlplab.report.ranked_settings import pareto_front, settings_of
from mlplab.report.sweep_reading import read_sweep
from mlplab.report.sweep_records import Criterion


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


def test_a_sweep_that_compares_nothing_has_no_arms(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path, grid(1)))
    assert arms_of(settings_of(sweep)) == []


def test_the_best_is_tested_against_the_next_on_common_seeds(tmp_path: Path) -> None:
    found = compare(settings_of(read_sweep(write_sweep(tmp_path, grid(5)))))
    assert len(found) == 4
    assert all(dict(test.first.values) == {"optimizer": "adam", "optimizer.lr": 0.01} for test in found)
    assert [test.result.n for test in found] == [5] * 4
    assert min(test.corrected_p for test in found) == pytest.approx(4 * 0.0625)


def test_only_seeds_that_both_have_make_a_pair(tmp_path: Path) -> None:
    jobs = [job(n, {"a": 0, "seed": n}, 0.1 + 0.01 * n) for n in range(4)]
    jobs += [job(10 + n, {"a": 1, "seed": n}, 0.3, state="infeasible" if n == 3 else "finished") for n in range(1, 5)]
    (test,) = compare(settings_of(read_sweep(write_sweep(tmp_path, jobs))))
    assert (test.result.n, test.wins) == (2, 2)
    assert test.result.median == pytest.approx(0.185)


def test_without_seeds_nothing_is_tested(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.1 * n) for n in range(4)]
    assert compare(settings_of(read_sweep(write_sweep(tmp_path, jobs)))) == []


def test_all_pairs_of_arms_are_tested_on_their_reruns(tmp_path: Path) -> None:
    jobs = [
        job(10 * a + seed, {"lr": 0.1, "seed": seed}, a + 0.1 * seed, arm=arm, stage="rerun")
        for a, arm in enumerate("xyz")
        for seed in range(4)
    ]
    found = compare(settings_of(read_sweep(write_sweep(tmp_path, jobs))))
    assert [(test.first.arm, test.second.arm) for test in found] == [("x", "y"), ("x", "z"), ("y", "z")]


def test_the_front_holds_what_nothing_betters_in_all(tmp_path: Path) -> None:
    points = {0: (0.1, 0.5), 1: (0.2, 0.9), 2: (0.3, 0.8), 3: (0.4, 0.95), 4: (0.2, 0.9), 5: (0.1, 0.4)}
    jobs = [job(n, {"a": n}, loss, also={"val/f1": f1}) for n, (loss, f1) in points.items()]
    jobs.append(job(6, {"a": 6}, 0.01))  # has no f1
    objectives = (Criterion("val/loss", "min"), Criterion("val/f1", "max"))
    front = pareto_front(settings_of(read_sweep(write_sweep(tmp_path, jobs))), objectives)
    assert [setting.values["a"] for setting in front] == [0, 1, 4, 3]
    assert pareto_front([], objectives) == []
