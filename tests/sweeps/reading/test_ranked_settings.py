import statistics
from pathlib import Path

import pytest
from sweeps.making import comparison, job, write_sweep

from mlplab.sweeps.objectives import Objective
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.ranked_settings import Setting, contenders, pareto_front, settings_of, short_names
from mlplab.sweeps.reading.sweep_reading import read_sweep


def settings(directory: Path, jobs: list[dict], **asked: object) -> list[Setting]:
    return settings_of(read_sweep(write_sweep(directory / "s", jobs, **asked)))


def test_runs_that_differ_by_seeds_alone_are_one_setting(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        [
            job(0, {"a": 0.001, "seed": 0, "data.split_seed": 0}, 0.3),
            job(1, {"a": 1e-3, "seed": 1, "data.split_seed": 0}, 0.1),
            job(2, {"a": 0.001, "seed": 0, "data.split_seed": 1}, 0.2),
            job(3, {"a": 1, "seed": 0, "data.split_seed": 0}, 0.15),
            job(4, {"a": True, "seed": 0, "data.split_seed": 0}, 0.9),
        ],
    )
    assert [(dict(s.values), len(s.runs)) for s in found] == [({"a": 1}, 1), ({"a": 0.001}, 3), ({"a": True}, 1)]
    assert found[1].validation.mean == pytest.approx(0.2)
    assert found[1].validation.deviation == pytest.approx(statistics.stdev([0.1, 0.2, 0.3]))
    assert found[0].validation.deviation is None


def test_search_and_rerun_are_never_pooled(tmp_path: Path) -> None:
    values = {"lr": 0.1}
    jobs = [job(n, {**values, "seed": n}, 0.1, stage="search") for n in range(2)]
    jobs += [job(n, {**values, "seed": n}, 0.5, stage="rerun") for n in range(2, 5)]
    found = settings(tmp_path, jobs)
    assert [(s.stage, len(s.runs), s.rank) for s in found] == [("search", 2, 1), ("rerun", 3, 1)]
    assert [s.validation.mean for s in found] == pytest.approx([0.1, 0.5])
    assert contenders(found) == found[:1]


def test_arms_with_equal_values_are_settings_of_their_own(tmp_path: Path) -> None:
    found = settings(tmp_path, [job(0, {"lr": 0.1}, 0.1, arm="a"), job(1, {"lr": 0.1}, 0.2, arm="b")])
    assert [s.arm for s in found] == ["a", "b"]


def test_the_rule_of_ranking(tmp_path: Path) -> None:
    jobs = [
        job(0, {"lr": 1, "seed": 0}, 0.01), job(1, {"lr": 1, "seed": 1}, 9.0, state="infeasible"),
        job(2, {"lr": 2, "seed": 0}, 0.5), job(3, {"lr": 2, "seed": 1}, state="waiting"),
        job(4, {"lr": 3, "seed": 0}, 0.02, state="pruned"),
        job(5, {"lr": 4, "seed": 0}, state="failed"),
        job(6, {"lr": 5, "seed": 0}, 0.4),
        job(7, {"lr": 6, "seed": 0}, None),
    ]  # fmt: skip
    found = settings(tmp_path, jobs)
    assert [s.values["lr"] for s in found] == [5, 2, 1, 3, 4, 6]
    assert [s.rank for s in found] == [1, 2, 3, 4, 5, 5]  # equals share one
    assert [(s.n_failed, s.n_left) for s in found] == [(0, 0), (0, 1), (1, 0), (0, 0), (1, 0), (1, 0)]
    assert found[2].validation.values == (0.01,)  # what diverged has no value, though its result holds one


def test_where_large_is_good_the_largest_is_first(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1}, 0.5, also={"val/accuracy": 0.8}), job(1, {"lr": 2}, 0.6, also={"val/accuracy": 0.9})]
    found = settings(tmp_path, jobs, monitor="val/accuracy", mode="max")
    assert [s.validation.mean for s in found] == [0.9, 0.8]


def test_names_are_short_where_that_is_clear(tmp_path: Path) -> None:
    names = short_names(["optimizer", "optimizer.lr", "scheduler.lr", "model.dropout"])
    assert names == {
        "optimizer": "optimizer", "optimizer.lr": "optimizer.lr", "scheduler.lr": "scheduler.lr",
        "model.dropout": "dropout",
    }  # fmt: skip
    found = settings(tmp_path, [job(0, {"optimizer": "adam", "model.dropout": 0.1234567}, 0.1)])
    assert found[0].label == "optimizer=adam, dropout=0.1235"


def test_values_are_told_in_a_few_letters() -> None:
    assert value_text([64, 64]) == "[64,64]"
    assert value_text(None) == "null"
    assert value_text(True) == "true"
    assert value_text("a\x1b[31m") == "a\\x1b[31m"
    assert len(value_text("x" * 5000)) == 60


def test_a_comparison_ranks_reruns_apart(tmp_path: Path) -> None:
    found = settings(tmp_path, comparison())
    assert [(s.stage, s.arm) for s in found[:4]] == [
        ("rerun", "adam"), ("rerun", "sgd"), ("default", "adam"), ("default", "sgd"),
    ]  # fmt: skip
    assert all(s.stage == "search" and len(s.runs) == 1 for s in found[4:])


def test_one_seed_finished_twice_counts_once(tmp_path: Path) -> None:
    jobs = [job(n, {"lr": 0.1, "seed": n % 2}, 0.1 * (n + 1)) for n in range(3)]
    (found,) = settings(tmp_path, jobs)
    assert [run.entry.number for run in found.runs] == [0, 1]
    assert found.validation.values == (0.1, 0.2)


def test_a_failure_beside_a_run_that_finished_is_still_told(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1, "seed": 0}, state="failed"), job(1, {"lr": 1, "seed": 0}, 0.2)]
    (found,) = settings(tmp_path, jobs)
    assert (found.n_failed, found.validation.values) == (1, (0.2,))


def test_the_front_holds_what_nothing_betters_in_all(tmp_path: Path) -> None:
    points = {0: (0.1, 0.5), 1: (0.2, 0.9), 2: (0.3, 0.8), 3: (0.4, 0.95), 4: (0.2, 0.9), 5: (0.1, 0.4)}
    jobs = [job(n, {"a": n}, loss, also={"val/f1": f1}) for n, (loss, f1) in points.items()]
    jobs.append(job(6, {"a": 6}, 0.01))  # has no f1
    objectives = (Objective("val/loss", "min"), Objective("val/f1", "max"))
    front = pareto_front(settings(tmp_path, jobs), objectives)
    assert [setting.values["a"] for setting in front] == [0, 1, 4, 3]
    assert pareto_front([], objectives) == []


def test_a_setting_that_was_pruned_on_one_seed_is_not_judged_by_the_other(tmp_path: Path) -> None:
    """The one seed on which it was lucky would make it the best."""
    jobs = [job(0, {"lr": 1, "seed": 0}, 0.01), job(1, {"lr": 1, "seed": 1}, 0.9, state="pruned")]
    jobs += [job(2 + n, {"lr": 2, "seed": n}, 0.1) for n in range(2)]
    first, second = settings_of(read_sweep(write_sweep(tmp_path, jobs)))
    assert (first.values, second.values) == ({"lr": 2}, {"lr": 1})
    assert (second.validation.mean, second.n_failed, second.by_seeds) == (None, 0, {})
