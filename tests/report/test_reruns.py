"""What a rerun of the best changes in a report, and what it leaves as it was."""

from pathlib import Path
from typing import Any

import pytest
from report.analysing import analyse
from sweeps.making import COMPARISON, GRID_SPACE, comparison, grid, job, write_sweep

from mlplab.report.provenance import headline
from mlplab.report.report_files import render_page
from mlplab.report.report_tables import plain_rows
from mlplab.report.run_rows import run_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.terminal_summary import as_text

SECTIONS: dict[str, list] = {"overview": [], "comparison": [], "parameters": [], "course": [], "curves": []}


def told(directory: Path, jobs: list[dict], **asked: Any) -> SweepAnalysis:
    return analyse(write_sweep(directory / "s", jobs, **asked))


def sentences(analysis: SweepAnalysis, kind: str) -> list[str]:
    return [finding.sentence for finding in analysis.findings if finding.kind == kind]


def rerun(values: dict[str, Any], mean: float, first: int = 100, n: int = 3, **entry: Any) -> list[dict]:
    return [
        job(first + k, {**values, "seed": first + k}, mean + 0.01 * (k - 1), stage="rerun", **entry) for k in range(n)
    ]


BEST = {"optimizer": "adam", "optimizer.lr": 0.01}


def test_a_rerun_leaves_what_was_found_as_it_was(tmp_path: Path, root: Path) -> None:
    before = told(tmp_path / "before", grid(), space=GRID_SPACE)
    after = told(tmp_path / "after", [*grid(), *rerun(BEST, 0.12)], space=GRID_SPACE)
    kinds = ("best", "noise", "paired_test", "edge")
    assert [f for f in after.findings if f.kind in kinds] == [f for f in before.findings if f.kind in kinds]
    assert [row["stage"] for row in plain_rows(after)] == ["search"] * 8 + ["rerun"]
    assert headline(after)[0] == "43 runs of 8 settings"
    text = as_text(after)
    assert text.index("optimizer=sgd, lr=1 ") < text.index("The best once more, on other seeds")
    page = render_page(after, run_rows(after), SECTIONS, "", root, {})
    assert page.index(">The search<") < page.index("The best once more, on other seeds")


def test_a_rerun_is_told_beside_what_chose_it(tmp_path: Path) -> None:
    (sentence,) = sentences(told(tmp_path, [*grid(), *rerun(BEST, 0.1)]), "rerun")
    assert sentence == (
        "On 3 new seeds the best reaches val/loss 0.100 ± 0.010, after 0.0964 ± 0.0050 on those that chose it."
    )


@pytest.mark.parametrize("mode", ["min", "max"])
def test_reruns_are_compared_with_reruns_alone(tmp_path: Path, mode: str) -> None:
    """On new seeds both are worse than either was, and their order is the other one."""
    jobs = [job(n, {"a": n}, value) for n, value in enumerate([0.2, 0.3])]
    best, second = (0, 1) if mode == "min" else (1, 0)
    alone = told(tmp_path / "alone", [*jobs, *rerun({"a": best}, 0.4 if mode == "min" else 0.1)], mode=mode)
    (finding,) = [finding for finding in alone.findings if finding.kind == "rerun"]
    assert finding.sentence.endswith("on the one that chose it.")
    assert finding.level == "result"
    worse, better = (0.5, 0.4) if mode == "min" else (0.1, 0.2)
    many = [*jobs, *rerun({"a": best}, worse, n=8)]
    many += [{**part, "value": part["value"] + better - worse} for part in rerun({"a": second}, worse, n=8)]
    for number, part in enumerate(many):
        part["entry"] |= {"number": number, "directory": f"{number}_job"}
    analysis = told(tmp_path / "both", many, mode=mode)
    assert f"There a={second} is better, with" in next(s for s in sentences(analysis, "rerun") if "the best" in s)
    assert [(test.first.values["a"], test.first.stage, test.result.n) for test in analysis.tests] == [
        (second, "rerun", 8)
    ]
    assert sentences(analysis, "noise") == []
    (found,) = sentences(analysis, "best")
    assert found == f"a={second} is best: val/loss {better + 0.025:.3f} ± 0.024 on 8 new seeds."


def test_one_new_seed_is_named(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, 0.2 + 0.1 * n) for n in range(2)]
    jobs += [job(2 + n, {"a": n, "seed": 7}, 0.5 - 0.1 * n, stage="rerun") for n in range(2)]
    assert sentences(told(tmp_path, jobs), "best") == ["a=1 is best: val/loss 0.4 on 1 new seed."]


def test_until_a_second_arm_runs_again_the_first_is_not_called_best(tmp_path: Path) -> None:
    jobs = [job(n, {"lr": n}, 0.1 * (n + 1), arm="xy"[n]) for n in range(2)]
    jobs.append(job(2, {"lr": 0, "seed": 7}, 0.2, arm="x", stage="rerun"))
    (finding,) = [finding for finding in told(tmp_path, jobs).findings if finding.kind == "best"]
    assert finding.evidence == "No other arm has been run again yet."


def test_the_edge_is_that_of_the_best_on_new_seeds(tmp_path: Path) -> None:
    jobs = [job(n, {"lr": lr}, 0.1 + 0.01 * n) for n, lr in enumerate((1.0, 0.1, 0.01))]
    assert sentences(told(tmp_path / "search", jobs), "edge")[0].startswith("The best lr, 1, is at the top")
    jobs += [part for n in range(3) for part in rerun({"lr": 0.1**n}, 0.2 - 0.02 * (n == 1), first=100 + 10 * n)]
    assert sentences(told(tmp_path / "rerun", jobs), "edge") == []
    equal = [part for n in range(3) for part in rerun({"lr": 0.1**n}, 0.2, first=100 + 10 * n)]
    assert sentences(told(tmp_path / "equal", [*jobs[:3], *equal]), "edge") == []


def test_the_rerun_tells_how_much_seeds_differ_where_the_search_had_one(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, value) for n, value in enumerate([0.2, 0.205, 0.9])]
    (sentence,) = sentences(told(tmp_path, [*jobs, *rerun({"a": 0}, 0.2)]), "noise")
    assert sentence.startswith("1 setting cannot be told from the best")


def test_a_rerun_of_what_is_no_longer_the_best_is_named(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, value) for n, value in enumerate([0.2, 0.1])]
    (sentence,) = sentences(told(tmp_path, [*jobs, *rerun({"a": 0}, 0.3)]), "rerun")
    assert sentence.startswith("On 3 new seeds a=0, no longer the best, reaches")


def test_a_rerun_that_failed_or_has_not_ended(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n}, value) for n, value in enumerate([0.2, 0.3])]
    failed = [{**part, "state": "infeasible"} for part in rerun({"a": 0}, 0.2)]
    assert sentences(told(tmp_path / "failed", [*jobs, *failed]), "rerun") == [
        "On new seeds the best has no value. 3 of 3 of its new runs failed."
    ]
    waiting = [{**part, "state": "waiting"} for part in failed]
    assert sentences(told(tmp_path / "waiting", [*jobs, *waiting]), "rerun") == []


def test_tuned_and_default_are_compared_on_seeds_that_both_have(tmp_path: Path) -> None:
    def tuned_alone(value: float) -> list[dict]:
        values = {"optimizer": "adam", "optimizer.lr": 0.003}
        return [*comparison(), *rerun(values, value, first=200, arm="adam")]

    plain = told(tmp_path / "a", comparison(), **COMPARISON)
    worse = told(tmp_path / "b", tuned_alone(9.0), **COMPARISON)
    one, other = ([f for f in t.findings if f.kind == "tuning" and "adam" in f.sentence] for t in (plain, worse))
    assert one == other
    assert "on the same 10 seeds (95 % interval" in one[0].evidence
    assert headline(worse)[0] == "67 runs of 24 settings"
    assert sentences(worse, "rerun") == []


def test_tuned_and_default_on_other_seeds_are_not_compared(tmp_path: Path) -> None:
    jobs = [*rerun({"a": 0}, 0.1, arm="x"), job(0, {"a": 1, "seed": 0}, 0.5, arm="x", stage="default")]
    assert sentences(told(tmp_path, jobs), "tuning") == []


def test_of_several_objectives_none_is_best(tmp_path: Path, root: Path) -> None:
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "val/f1", "mode": "max"}]
    jobs = [job(n, {"a": n}, 0.1 * (n + 1), also={"val/f1": 0.1 * n}) for n in range(3)]
    analysis = told(tmp_path, jobs, search={"objectives": objectives})
    kinds = [finding.kind for finding in analysis.findings]
    assert "best" not in kinds
    assert kinds[0] == "pareto"
    everything = render_page(analysis, run_rows(analysis), SECTIONS, "", root, {}) + as_text(analysis)
    assert "rerun_best" not in everything
    assert "is best" not in everything
    assert "The best once more" not in everything
    assert "val/f1" in as_text(analysis)


def test_of_several_objectives_nothing_is_tested_by_the_first(tmp_path: Path) -> None:
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "seconds", "mode": "min"}]
    analysis = told(tmp_path, grid(), search={"objectives": objectives})
    assert analysis.tests == []
    assert {"noise", "paired_test"}.isdisjoint(finding.kind for finding in analysis.findings)


def test_without_a_value_of_every_objective_there_is_no_front(tmp_path: Path) -> None:
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": "val/f1", "mode": "max"}]
    analysis = told(tmp_path, [job(0, {"a": 0}, 0.1)], search={"objectives": objectives})
    assert analysis.findings[0].sentence == "No run has a value of every objective."


def test_one_setting_alone_is_not_called_best(tmp_path: Path) -> None:
    analysis = told(tmp_path, [job(n, {"lr": 0.1, "seed": n}, 0.1 + 0.1 * n) for n in range(3)])
    (finding,) = [finding for finding in analysis.findings if finding.kind == "best"]
    assert finding.sentence == "lr=0.1 reaches val/loss 0.20 ± 0.10 over 3 seeds."
    assert finding.evidence == "Its runs range from 0.1 to 0.3. There is no other setting to compare it with."
