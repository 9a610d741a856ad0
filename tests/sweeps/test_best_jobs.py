from pathlib import Path
from typing import Any

import pytest
from sweeps.making import COMPARISON, comparison, job, write_sweep

from mlplab.sweeps.best_jobs import rank_jobs


@pytest.mark.parametrize(
    ("search", "best"),
    [
        ({}, 0),
        ({"objectives": [{"metric": "val/loss", "mode": "min"}]}, 0),
        ({"objectives": [{"metric": "val/accuracy", "mode": "max"}]}, 1),
    ],
)
def test_the_best_is_that_of_the_searchs_objective_else_of_the_monitor(tmp_path: Path, search: Any, best: int) -> None:
    jobs = [job(n, {"lr": n}, 0.1 * (n + 1), also={"val/accuracy": 0.8 + 0.1 * n}) for n in range(2)]
    ranked = rank_jobs(write_sweep(tmp_path, jobs, search=search))
    assert [one.numbers for one in ranked if one.is_best] == [(best,)]
    assert ranked[0].text.endswith(f"{best}_job")


def test_the_best_has_the_best_mean_and_not_the_luckiest_seed(tmp_path: Path) -> None:
    jobs = [job(n, {"lr": 0.1, "seed": n}, v) for n, v in enumerate([0.3, 0.3, 0.3])]
    jobs += [job(3 + n, {"lr": 1.0, "seed": n}, v) for n, v in enumerate([0.1, 0.9, 0.9])]
    (best,) = [one for one in rank_jobs(write_sweep(tmp_path, jobs)) if one.is_best]
    assert best.text == "val/loss 0.3 ± 0 over 3 seeds  lr=0.1"


def test_settings_that_share_the_best_value_are_all_best(tmp_path: Path) -> None:
    values = {"a": (0.1, 0.2), "b": (0.2, 0.1), "c": (0.1, 0.3), "d": (None, None)}
    jobs = [
        job(2 * place + seed, {"optimizer": name, "seed": seed}, one)
        for place, (name, those) in enumerate(values.items())
        for seed, one in enumerate(those)
    ]
    best = [one.text for one in rank_jobs(write_sweep(tmp_path, jobs)) if one.is_best]
    assert best == [f"val/loss 0.150 ± 0.071 over 2 seeds  optimizer={name}" for name in "ab"]


def test_each_data_set_has_a_best_and_a_front_several(tmp_path: Path) -> None:
    jobs = [job(n, {"data": data}, 0.1 * (n + 1)) for n, data in enumerate(("iris", "wine"))]
    ranked = rank_jobs(write_sweep(tmp_path / "a", jobs))
    assert [one.text for one in ranked if one.is_best] == [
        "on data=iris: val/loss 0.1  0_job", "on data=wine: val/loss 0.2  1_job",
    ]  # fmt: skip
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "val/f1", "mode": "max"}]
    jobs = [job(n, {"lr": n}, 0.1 * (n + 1), also={"val/f1": n}) for n in range(3)]
    ranked = rank_jobs(write_sweep(tmp_path / "b", jobs, search={"objectives": objectives}))
    assert [one.text for one in ranked if one.is_best][1] == "val/loss 0.2, val/f1 1  1_job"
    assert sum(one.is_best for one in ranked) == 3


def test_a_comparisons_best_is_an_arm_and_its_search_chooses_one_of_each(tmp_path: Path) -> None:
    ranked = rank_jobs(write_sweep(tmp_path, comparison(), **COMPARISON))
    (best,) = [one for one in ranked if one.is_best]
    assert best.text.endswith("over 10 seeds  adam: optimizer=adam, lr=0.003")
    assert [one.arm for one in ranked if one.stage == "search"].count("sgd") == 12


def test_several_reruns_decide_as_in_the_report(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.1 + n) for n in range(2)]
    jobs += [job(10 + 5 * n + s, {"a": n, "seed": s}, 0.3 - 0.1 * n, stage="rerun") for n in range(2) for s in range(3)]
    (best,) = [ranked for ranked in rank_jobs(write_sweep(tmp_path, jobs)) if ranked.is_best]
    assert (best.stage, best.numbers) == ("rerun", (15, 16, 17))
