import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from report.analysing import analyse
from scipy.stats import ttest_1samp, ttest_ind
from sweeps.making import COMPARISON, GRID_SPACE, MANIFEST, comparison, grid, job, write_sweep

from mlplab.report.report_tables import leaderboard_texts
from mlplab.report.sweep_analysis import conclusions
from mlplab.sweeps.best_jobs import rank_jobs
from mlplab.sweeps.reading.formatting import spread_text
from mlplab.sweeps.reading.sweep_reading import read_sweep
from mlplab.sweeps.reading.sweep_records import Finding, Spread


def findings(directory: Path, jobs: list[dict], **asked: Any) -> dict[str, Finding]:
    """By their kinds."""
    return {finding.kind: finding for finding in analyse(write_sweep(directory / "s", jobs, **asked)).findings}


def test_a_grid_is_summed_up(tmp_path: Path) -> None:
    found = findings(tmp_path, grid(), space=GRID_SPACE)
    assert found["best"].sentence == "optimizer=adam, lr=0.01 is best: val/loss 0.0964 ± 0.0050 over 5 seeds."
    assert found["diverged"].sentence == "5 of 40 runs diverged."
    assert "optimizer.lr=1: 5 of 10" in found["diverged"].evidence
    assert found["paired_test"].level == "caution"
    assert "With 5 pairs no p can be below 0.062" in found["paired_test"].evidence
    assert {"edge", "failed", "unfinished", "best_at_end", "noise"}.isdisjoint(found)


@pytest.mark.parametrize(("best", "end"), [(0.001, "bottom"), (10.0, "top")])
def test_a_best_at_the_edge_asks_for_more(tmp_path: Path, best: float, end: str) -> None:
    jobs = [job(n, {"optimizer.lr": lr}, 0.1 + 0.1 * abs(n - (0 if end == "bottom" else 4))) for n, lr in
            enumerate([0.001, 0.01, 0.1, 1.0, 10.0])]  # fmt: skip
    found = findings(tmp_path, jobs)["edge"]
    further = "larger values, up to 100" if end == "top" else "smaller values, down to 0.0001"
    assert found.sentence == (
        f"The best optimizer.lr, {best:g}, is at the {end} of what was tried (0.001 to 10): try {further}."
    )
    assert "0.1" in found.evidence


def test_a_best_within_is_no_edge_and_below_zero_is_nothing(tmp_path: Path) -> None:
    inner = [job(n, {"lr": lr}, abs(lr - 0.1)) for n, lr in enumerate([0.01, 0.1, 1.0])]
    assert "edge" not in findings(tmp_path, inner)
    dropout = [job(n, {"model.dropout": p}, 0.1 + p) for n, p in enumerate([0.0, 0.2, 0.4])]
    assert "edge" not in findings(tmp_path, dropout)
    two = [job(n, {"lr": lr}, lr) for n, lr in enumerate([0.1, 0.2])]
    assert "edge" not in findings(tmp_path, two)
    names = [job(n, {"optimizer": name}, 0.1 * n) for n, name in enumerate(["a", "b", "c"])]
    assert "edge" not in findings(tmp_path, names)


def test_of_an_interval_a_twentieth_is_its_edge(tmp_path: Path) -> None:
    space = {"lr": {"kind": "float", "low": 1e-4, "high": 1.0, "log": True}}
    values = [10 ** (-4 + 4 * n / 39) for n in range(40)]
    near = [job(n, {"lr": lr}, 1 - n / 40 if n < 39 else 0.9) for n, lr in enumerate(values)]
    assert findings(tmp_path, near, space=space)["edge"].sentence.startswith("The best lr, 0.7897, is at the top")
    within = [job(n, {"lr": lr}, abs(n - 30)) for n, lr in enumerate(values)]
    assert "edge" not in findings(tmp_path, within, space=space)


def test_the_edge_of_an_arm_is_that_of_its_own_space(tmp_path: Path) -> None:
    """The space of one arm is wider than the other's, and what was drawn does not reach its ends."""
    spaces = {"sgd": (1e-3, 3.0), "adam": (1e-5, 1e-1)}
    arms = {
        name: {"space": {"lr": {"kind": "float", "low": low, "high": high, "log": True}}, "fixed": [], "default": []}
        for name, (low, high) in spaces.items()
    }
    jobs = [
        job(10 * a + n, {"lr": lr}, abs(lr - best), arm=arm)
        for a, (arm, best, tried) in enumerate(
            (("sgd", 2.8, (0.002, 0.1, 1.0, 2.8)), ("adam", 0.025, (1e-4, 1e-3, 0.004, 0.025)))
        )
        for n, lr in enumerate(tried)
    ]
    analysis = analyse(write_sweep(tmp_path, jobs, comparison={"arms": arms}, space=arms["adam"]["space"]))
    edges = [finding.sentence for finding in analysis.findings if finding.kind == "edge"]
    (edge,) = edges
    assert edge == "The best lr of sgd, 2.8, is at the top of what was tried (0.001 to 3): try larger values, up to 30."
    assert analysis.axes["lr"].ends == pytest.approx((-5, math.log10(3)))


def test_few_trials_of_a_search_have_no_edge(tmp_path: Path) -> None:
    """Of six points of three parameters the best one lies at some edge by chance."""
    space = {name: {"kind": "float", "low": 0.0, "high": 1.0, "log": False} for name in "abc"}
    generator = np.random.default_rng(0)
    points = generator.uniform(0.1, 0.9, (40, 3))
    points[0] = [0.99, 0.5, 0.5]

    def jobs(n: int) -> list[dict]:
        return [job(i, dict(zip("abc", map(float, p), strict=True)), 0.1 + i + p[0]) for i, p in enumerate(points[:n])]

    assert "edge" not in findings(tmp_path / "six", jobs(6), space=space)
    assert "edge" not in findings(tmp_path / "many", jobs(40), space=space)  # the next ones lie elsewhere
    trend = [job(i, dict(zip("abc", map(float, p), strict=True)), 2 - p[0]) for i, p in enumerate(points)]
    assert findings(tmp_path / "trend", trend, space=space)["edge"].sentence.startswith(
        "The best a, 0.99, is at the top"
    )


def test_each_choice_has_edges_of_its_own(tmp_path: Path) -> None:
    """The best learning rate of adam is within, and that of sgd at the end."""
    best = {"adam": 0.01, "sgd": 1.0}
    jobs = [
        job(10 * o + n, {"optimizer": name, "lr": lr}, 0.1 + o + abs(math.log10(lr / best[name])))
        for o, name in enumerate(("adam", "sgd"))
        for n, lr in enumerate((0.001, 0.01, 0.1, 1.0))
    ]
    assert findings(tmp_path, jobs)["edge"].sentence.startswith("The best lr with optimizer=sgd, 1, is at the top")


def test_thread_counts_are_no_other_machine(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(n, {"a": n}, 0.1) for n in range(2)])
    (tmp_path / "1_job" / "manifest.json").write_text(json.dumps({**MANIFEST, "threads": 2}))
    (finding,) = [finding for finding in analyse(tmp_path).findings if finding.kind == "machines"]
    assert finding.sentence == "The runs had different numbers of threads: do not compare their seconds."


def test_a_smallest_mean_is_of_those_that_have_one(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.1 * (n + 1), state="finished" if n < 3 else "infeasible") for n in range(6)]
    assert findings(tmp_path, jobs)["best"].evidence.startswith("Smallest mean of 3 settings that have one, of 6;")


def test_a_difference_that_rounding_hides_is_told(tmp_path: Path) -> None:
    close = findings(tmp_path, [job(n, {"a": n}, 0.1234 + 0.00001 * n) for n in range(3)])["best"]
    assert close.evidence.endswith("Next: a=1 with 0.1234, worse by 1e-5.")
    clear = findings(tmp_path / "clear", [job(n, {"a": n}, 0.1 * (n + 1)) for n in range(3)])["best"]
    assert clear.evidence.endswith("Next: a=1 with 0.2.")


def test_numbers_that_differ_in_their_fifth_digit_are_told_apart(tmp_path: Path) -> None:
    found = findings(tmp_path, [job(n, {"decay": d}, 1 - d) for n, d in enumerate([0.9999, 0.99995, 0.99999])])
    assert found["best"].sentence.startswith("decay=0.99999 is best")
    assert "The best decay, 0.99999, is at the top of what was tried (0.9999 to 0.99999)" in found["edge"].sentence
    assert "by decay: 0.9999: 0.0001, 0.99995: 5e-5, 0.99999: 1e-5." in found["edge"].evidence


def test_a_number_is_suggested_on_a_logarithmic_scale_alone(tmp_path: Path) -> None:
    jobs = [job(n, {"momentum": m}, 1 - m) for n, m in enumerate([0.5, 0.7, 0.9])]
    assert findings(tmp_path, jobs)["edge"].sentence.endswith("(0.5 to 0.9): try larger values.")


@pytest.mark.parametrize(
    ("name", "values", "advice"),
    [
        ("model.dropout", [0.9, 0.1, 0.01], "try larger values."),
        ("trainer.max_epochs", [1024, 128, 16, 1], "try larger values, up to 10240."),
        ("data.batch_size", [4, 16, 64, 256], "try smaller values, down to 1."),
        ("data.batch_size", [1, 8, 64], None),
        ("data.batch_size", [1, 2, 3], None),
    ],
)
def test_no_value_is_advised_that_would_be_refused(
    tmp_path: Path, name: str, values: list[float], advice: str | None
) -> None:
    edge = findings(tmp_path, [job(n, {name: value}, 0.1 * (n + 1)) for n, value in enumerate(values)]).get("edge")
    assert (edge.sentence.partition(": ")[2] if edge else None) == advice


def test_a_setting_within_the_interval_of_the_best_is_told(tmp_path: Path) -> None:
    noise = [0.0, 0.05, -0.04, 0.03]
    jobs = [job(seed, {"a": 0, "seed": seed}, 0.5 + noise[seed]) for seed in range(4)]
    jobs += [job(4 + seed, {"a": 1, "seed": seed}, 0.53 - noise[seed]) for seed in range(4)]
    jobs += [job(8 + seed, {"a": 9, "seed": seed}, 2.0 + noise[seed]) for seed in range(4)]
    found = findings(tmp_path, jobs)["noise"]
    assert found.sentence == "1 setting cannot be told from the best: run more seeds, or take the simplest."
    differences = [(0.53 - e) - (0.5 + e) for e in noise]
    low, high = ttest_1samp(differences, 0).confidence_interval()
    assert f"a=1: {fmean(differences):.4g} (95 % interval {low:.4g} to {high:.4g}, 4 paired seeds)" in found.evidence


@pytest.mark.parametrize("n_seeds", [3, 10])
def test_one_verdict_on_a_small_difference_that_every_seed_has(tmp_path: Path, n_seeds: int) -> None:
    """Its seeds differ by 50 times as much, yet are paired."""
    jobs = [
        job(10 * a + seed, {"a": a, "seed": seed}, 0.5 + 0.001 * a * (1 + 0.1 * seed) + 0.05 * seed)
        for a in range(2)
        for seed in range(n_seeds)
    ]
    found = findings(tmp_path, jobs)
    assert "noise" not in found
    if n_seeds == 10:
        assert found["paired_test"].sentence == "On paired seeds, the difference is more than chance."
    else:
        sentence = "3 paired seeds are too few for the signed-rank test to show a difference: 6 would do."
        assert found["paired_test"].sentence == sentence


def test_seeds_that_do_not_pair_have_welchs_interval(tmp_path: Path) -> None:
    sides = [[0.50, 0.55, 0.46], [0.52, 0.49, 0.56, 0.51]]
    jobs = [
        job(10 * a + n, {"a": a, "seed": 10 * a + n}, v) for a, values in enumerate(sides) for n, v in enumerate(values)
    ]
    low, high = ttest_ind(sides[1], sides[0], equal_var=False).confidence_interval()
    assert f"interval {low:.4g} to {high:.4g})" in findings(tmp_path, jobs)["noise"].evidence


def test_a_setting_that_ran_once_is_taken_to_vary_like_the_other(tmp_path: Path) -> None:
    jobs = [job(seed, {"a": 0, "seed": seed}, value) for seed, value in enumerate([0.5, 0.6, 0.4])]
    found = findings(tmp_path, [*jobs, job(3, {"a": 1, "seed": 0}, 0.55)])["noise"]
    assert found.sentence.startswith("1 setting cannot be told from the best")


def test_who_wins_on_most_seeds_is_named_first(tmp_path: Path) -> None:
    """One bad seed gives b the worse mean, and it is better on nine of ten."""
    jobs = [job(seed, {"a": "x", "seed": seed}, 0.5) for seed in range(10)]
    values = [0.49 - 0.001 * seed for seed in range(9)] + [2.0]
    jobs += [job(10 + seed, {"a": "y", "seed": seed}, value) for seed, value in enumerate(values)]
    assert (
        "a=y against a=x: better on 9 of 10 seeds, by a median of 0.0135 (mean"
        in findings(tmp_path, jobs)["paired_test"].evidence
    )


def test_one_seed_is_no_measure_of_noise(tmp_path: Path) -> None:
    found = findings(tmp_path, [job(n, {"a": n}, 0.1 * n) for n in range(3)])
    assert "is not known" in found["noise"].sentence
    assert "scripts/rerun_best.py logs/sweeps/s seeds=10" in found["noise"].evidence


def test_ten_seeds_can_tell_arms_apart(tmp_path: Path) -> None:
    found = findings(tmp_path, comparison(), **COMPARISON)
    assert found["paired_test"].sentence == "On paired seeds, the difference is more than chance."
    assert found["paired_test"].level == "result"
    assert "on 10 of 10 seeds" in found["paired_test"].evidence
    assert found["target"].sentence == "adam reaches val/accuracy ≥ 0.95 soonest."
    assert "9 of 10 runs" in found["target"].evidence
    assert found["tuning"].sentence.startswith("Tuning improves sgd by 0.09")


def test_without_a_target_none_is_chosen(tmp_path: Path) -> None:
    found = findings(tmp_path, comparison(), **{**COMPARISON, "target": None})
    assert found["target"].sentence.startswith("No target was given")
    assert "target" not in findings(tmp_path, grid(2))


def test_what_has_not_ended_is_said_first(tmp_path: Path) -> None:
    jobs = [job(0, {"a": 0}, 0.1), job(1, {"a": 1}, state="waiting"), job(2, {"a": 2}, state="cut off")]
    first, *_ = analyse(write_sweep(tmp_path, jobs)).findings
    assert (first.kind, first.sentence) == (
        "unfinished", "2 of 3 runs have not ended; what follows rests on the others.",
    )  # fmt: skip
    assert first.evidence == "1 waiting, 1 cut off. The sweep's command once more goes on with them."


def test_one_run_has_not_ended_and_one_violates_a_constraint(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.1 * n, trial=n, also={"val/accuracy": 0.1 * n}) for n in range(2)]
    jobs.append(job(2, {"a": 2}, state="waiting"))
    bounds = [{"metric": "val/accuracy", "mode": "max", "value": 0.05}]
    found = findings(tmp_path, jobs, sweeper="optuna", search={"constraints": bounds})
    assert found["unfinished"].sentence == "1 of 3 runs has not ended; what follows rests on the others."
    assert found["infeasible"].sentence == "1 of 3 runs violates a constraint, and is not ranked."


def test_nothing_yet_is_said_too(tmp_path: Path) -> None:
    assert [f.kind for f in analyse(write_sweep(tmp_path / "empty", [])).findings] == ["unfinished"]
    waiting = analyse(write_sweep(tmp_path / "waiting", [job(0, {"a": 0}, state="waiting")]))
    assert [f.kind for f in waiting.findings] == ["unfinished", "nothing"]


def test_overfitting_is_counted(tmp_path: Path) -> None:
    jobs = [job(n, {"l2": n}, 0.5, epochs=20, best_epoch=8, rise=0.05 if n < 3 else 0.0) for n in range(5)]
    found = findings(tmp_path, jobs)["overfitting"]
    assert found.sentence.startswith("3 of 5 runs overfit")
    assert "a median of 2.1 times its least" in found.evidence
    assert "l2=0: 2.1" in found.evidence
    negative = [job(n, {"l2": n}, -0.5, epochs=20, best_epoch=8, rise=0.05) for n in range(5)]
    assert findings(tmp_path / "negative", negative)["overfitting"].evidence.startswith("The best epoch is kept")


@pytest.mark.parametrize(("best", "kind"), [(20, "best_at_end"), (1, "best_at_start"), (10, None)])
def test_where_nearly_all_are_best_says_how_long_to_train(tmp_path: Path, best: int, kind: str | None) -> None:
    found = findings(tmp_path, [job(n, {"a": n}, 0.1, epochs=20, best_epoch=best) for n in range(5)])
    assert found.keys() & {"best_at_end", "best_at_start"} == ({kind} if kind else set())


def test_failures_are_told_with_their_reasons(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, state="failed", reason="OSError: full; try freeing some") for n in range(2)]
    jobs += [job(2, {"a": 2}, state="failed", reason=""), job(3, {"a": 3}, None), job(4, {"a": 4}, 0.1)]
    found = findings(tmp_path, jobs)
    assert found["failed"].sentence == "4 of 5 runs failed."
    assert found["failed"].evidence == (
        "OSError: full (2 runs); no reason was written (1 run); finished without a val/loss (1 run). "
        "sweep.retry_failed=true runs those with an error again."
    )
    assert found["failed"].level == "fault"


def test_of_pooled_runs_no_sweep_can_retry_those_that_failed(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path, [job(n, {"a": n}, 0.1, state="failed") for n in range(2)]))
    for asked, is_told in ((sweep.asked, True), ({**sweep.asked, "sources": []}, False)):
        (failed,) = [f for f in conclusions(replace(sweep, asked=asked)).findings if f.kind == "failed"]
        assert ("sweep.retry_failed=true" in failed.evidence) == is_told


def test_a_result_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"a": 0}, 0.1), job(1, {"a": 1}, 0.2)])
    (tmp_path / "1_job" / "result.json").write_text("{")
    found = {finding.kind: finding for finding in analyse(tmp_path).findings}
    assert found["failed"].evidence == "result.json cannot be read (1 run)."


def test_unlike_machines_are_told(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"a": 0}, 0.1), job(1, {"a": 1}, 0.2)])
    (tmp_path / "1_job" / "manifest.json").write_text(
        '{"hardware": {"processor": "Another", "cores": 64}, "threads": 8}'
    )
    found = {finding.kind: finding for finding in analyse(tmp_path).findings}
    assert "Another, 64 cores, 8 threads" in found["machines"].evidence


def test_two_objectives_have_a_front(tmp_path: Path) -> None:
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "parameters", "mode": "min"}]
    found = findings(tmp_path, [job(n, {"a": n}, 0.1 * n) for n in range(3)], search={"objectives": objectives})
    assert found["pareto"].sentence == "1 setting of 3 cannot be improved in val/loss and parameters at once."


def test_test_metrics_decide_nothing(tmp_path: Path) -> None:
    """The same findings and ranks, whatever the test part says."""
    plain = [{**part, "test": 0.5} for part in grid()]
    turned = [{**part, "test": 1 / (1 + part["entry"]["number"])} for part in grid()]
    one, other = (analyse(write_sweep(tmp_path / name / "s", jobs)) for name, jobs in (("a", plain), ("b", turned)))
    assert one.findings == other.findings
    assert [s.values for s in one.settings] == [s.values for s in other.settings]
    assert one.effects == other.effects


def test_folds_are_called_folds_and_their_differences_are_not_tested(tmp_path: Path) -> None:
    values = [{"lr": lr, "data.fold": fold} for lr in (0.1, 0.2) for fold in range(6)]
    jobs = [job(n, given, given["lr"] + given["data.fold"] / 100) for n, given in enumerate(values)]
    found = findings(tmp_path, jobs)
    assert "over 6 folds" in found["best"].sentence
    assert "folds share their training rows" in found["folds"].sentence
    assert found["folds"].evidence.startswith("Seeds beside the folds")
    assert not {"paired_test", "noise"} & found.keys()
    again = [job(12 + n, {**given, "seed": s}, 0.5, stage="rerun")
             for n, (given, s) in enumerate((given, s) for given in values for s in (1, 2))]  # fmt: skip
    found = findings(tmp_path / "again", [*jobs, *again])
    assert "on 12 new runs" in found["best"].sentence
    assert found["rerun"].sentence.startswith("On 2 new seeds lr=0.2 reaches")
    assert found["folds"].evidence == ""
    seeds = [job(n, {"lr": given["lr"], "seed": n % 6}, given["lr"]) for n, given in enumerate(values)]
    assert "folds" not in findings(tmp_path / "seeds", seeds)


def test_a_trial_that_violates_a_constraint_is_never_the_best(tmp_path: Path) -> None:
    jobs = [
        job(
            2 * n + seed,
            {"a": n, "seed": seed},
            0.1 * (n + 1),
            trial=n,
            also={"val/accuracy": 0.8 + 0.1 * n + 0.1 * seed},
        )
        for n in range(3)
        for seed in range(2)
    ]
    bounds = [
        {"metric": "val/accuracy", "mode": "max", "value": 0.9},
        {"metric": "parameters", "mode": "min", "value": 1e3},
    ]
    found = findings(tmp_path, jobs, sweeper="optuna", search={"constraints": bounds})
    assert found["best"].sentence.startswith("a=1 is best")  # by the mean, as one of its runs has too little
    assert found["infeasible"].sentence == "2 of 6 runs violate a constraint, and are not ranked."
    assert found["infeasible"].evidence.startswith("val/accuracy ≥ 0.9: 2 runs.")
    assert not [ranked for ranked in rank_jobs(tmp_path / "s") if ranked.numbers == (0, 1)]
    bounds.append({"metric": "parameters", "mode": "min", "value": 999})
    found = findings(tmp_path, jobs, sweeper="optuna", search={"constraints": bounds})
    assert found["nothing"].sentence == "No run that keeps the constraints has a value."


def test_no_list_of_a_finding_ends_by_a_number_of_others(tmp_path: Path) -> None:
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "seconds", "mode": "min"}]
    for n in (6, 30):
        jobs = [job(k, {"a": k}, 0.1 * (k + 1), seconds=1.0 / (k + 1)) for k in range(n)]
        evidence = findings(tmp_path / str(n), jobs, search={"objectives": objectives})["pareto"].evidence
        assert "more" not in evidence
        assert evidence.startswith("among others ") is (n > 8)


def of_values(**values: list[float | None]) -> list[dict]:
    """Jobs with a list of values by seed for each setting `a`; None of one that failed."""
    return [
        job(100 * place + seed, {"a": name, "seed": seed}, value, state="failed" if value is None else "finished")
        for place, (name, those) in enumerate(values.items())
        for seed, value in enumerate(those)
    ]


def test_equally_good_settings_are_all_named(tmp_path: Path) -> None:
    found = findings(tmp_path / "all", of_values(x=[0.1] * 6, y=[0.1] * 6, z=[0.1] * 6))
    assert found["best"].sentence == "3 of 3 settings are equally good: val/loss 0.1 ± 0 over 6 seeds."
    assert found["best"].evidence == "a=x; a=y; a=z."
    assert not {"noise", "paired_test"} & found.keys()
    two = analyse(write_sweep(tmp_path / "two", of_values(x=[0.1, 0.3], y=[0.3, 0.1], z=[0.8, 0.9])))
    assert [setting.rank for setting in two.settings] == [1, 1, 3]
    assert r"\textbf" not in leaderboard_texts(two)[0]


def test_settings_whose_runs_failed_are_not_compared_with_the_best(tmp_path: Path) -> None:
    """The seeds that are left flatter them."""
    small = [0.1 + 0.001 * seed for seed in range(6)]
    jobs = of_values(x=[*small, None, None], y=[0.3 + 0.01 * seed for seed in range(8)])
    analysis = analyse(write_sweep(tmp_path, jobs))
    found = {finding.kind: finding for finding in analysis.findings}
    assert found["best"].sentence.startswith("a=y is best")
    assert found["best"].evidence.startswith(
        "The only setting whose runs all finished; 1 setting with failed runs after it; validation alone decides."
    )
    assert not {"noise", "paired_test"} & found.keys()
    assert r"\textbf" not in leaderboard_texts(analysis)[0]


def test_a_better_one_on_the_seeds_that_both_have_is_named(tmp_path: Path) -> None:
    """One ran on hard seeds alone."""
    effects = [0.5] * 8 + [0.0] * 16
    values = {"x": [0.12 + e for e in effects], "y": [0.1 + e + 0.001 * s for s, e in enumerate(effects[:8])]}
    found = findings(tmp_path, of_values(**values))
    assert found["best"].sentence.startswith("a=x is best")
    assert found["seeds"].sentence == "On the 8 seeds that both have, a=y is better than a=x, by a mean of 0.0165."
    same = {"x": [0.12, 0.5], "y": [0.13, 0.45]}
    assert "seeds" not in findings(tmp_path / "same", of_values(**same))


def test_where_a_test_can_decide_no_interval_has_a_word(tmp_path: Path) -> None:
    """Intervals are for each by itself, and tests for all together."""
    generator = np.random.default_rng(3)
    values = {name: list(generator.normal(0.5, 0.1, 12)) for name in "wxyz"}
    analysis = analyse(write_sweep(tmp_path, of_values(**values)))
    found = {finding.kind: finding for finding in analysis.findings}
    of_best = [test for test in analysis.tests if test.first is analysis.settings[0]]
    n = sum(test.corrected_p >= 0.05 for test in of_best)
    assert len(analysis.tests) == 6  # all pairs of so few, as the best was chosen by the same values
    assert found["noise"].sentence.startswith(f"{n} setting")
    assert found["paired_test"].sentence == "On paired seeds, none of 6 differences is more than chance can give."
    # Alone each difference has an interval without 0, and among ten tests a p of 0.098.
    clear = [0.01 + 0.001 * seed for seed in range(8)] + [-0.001, -0.005]
    jobs = of_values(**{name: [0.1 + n * difference for difference in clear] for n, name in enumerate("abcde")})
    noise = findings(tmp_path / "ten", jobs)["noise"]
    assert noise.evidence.startswith("By how much they are worse: a=b: 0.0102 (10 paired seeds)")


def test_values_that_lost_all_their_runs_are_named(tmp_path: Path) -> None:
    jobs = [
        job(10 * n + seed, {"lr": lr, "seed": seed}, 0.1, state="finished" if n == 0 else "infeasible")
        for n, lr in enumerate((0.01, 1.0, 100.0, 10_000.0))
        for seed in range(3)
    ]
    found = findings(tmp_path, jobs)
    assert found["diverged"].sentence == "9 of 12 runs diverged, all those with lr=1, 100, 10000."
    assert found["best"].sentence == "lr=0.01 alone has a value: val/loss 0.1 ± 0 over 3 seeds."
    # A default that no trial had is none of the searched values.
    stages = [("search", "a"), ("search", "b"), ("default", "c")]
    jobs = [
        job(
            10 * n + seed,
            {"act": act, "seed": seed},
            0.1,
            stage=stage,
            state="infeasible" if act == "c" else "finished",
        )
        for n, (stage, act) in enumerate(stages)
        for seed in range(2)
    ]
    assert findings(tmp_path / "default", jobs)["diverged"].sentence == "2 of 6 runs diverged."


def test_an_equal_value_within_is_no_edge(tmp_path: Path) -> None:
    assert "edge" in findings(tmp_path / "one", [job(n, {"lr": 10.0**n}, [3, 2, 1][n]) for n in range(3)])
    assert "edge" not in findings(tmp_path / "two", [job(n, {"lr": 10.0**n}, [3, 1, 1][n]) for n in range(3)])


@pytest.mark.parametrize("state", ["infeasible", "failed", "pruned", "waiting"])
def test_beside_values_that_left_none_the_best_is_at_no_edge(tmp_path: Path, state: str) -> None:
    """Larger values were tried, and diverged."""
    jobs = [job(n, {"lr": 10.0**-n}, 0.1 * (n + 1), state=state if n == 0 else "finished") for n in range(5)]
    assert "edge" not in findings(tmp_path, jobs)


def test_whole_numbers_are_not_rounded() -> None:
    assert spread_text(Spread((17226.0, 17226.0))) == "17,226"
    assert spread_text(Spread((0.5,))) == "0.5"
