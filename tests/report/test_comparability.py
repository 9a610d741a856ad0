"""Nothing is ranked against what it cannot be compared with: other data, another loss."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.analysing import analyse
from scipy.stats import binomtest, friedmanchisquare
from sweeps.making import MANIFEST, job, write_sweep

from mlplab.report.run_rows import run_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.sweep_charts import charts_of


def sentences(analysis: SweepAnalysis) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in analysis.findings:
        found.setdefault(finding.kind, []).append(finding.sentence)
    return found


def change_fingerprint(directory: Path, fingerprint: str, name: str = "digits") -> None:
    data = {**MANIFEST["data"], "fingerprint": fingerprint, "name": name}
    (directory / "manifest.json").write_text(json.dumps({**MANIFEST, "data": data}))


def test_losses_are_compared_by_a_metric_that_they_share(tmp_path: Path) -> None:
    rows = [("mse", 0.3, 50.0), ("mae", 0.4, 45.0), ("huber", 0.1, 60.0)]
    jobs = [job(n, {"loss": loss}, value, also={"val/rmse": rmse}) for n, (loss, value, rmse) in enumerate(rows)]
    analysis = analyse(write_sweep(tmp_path, jobs))
    assert analysis.sweep.objective.metric == "val/rmse"
    assert [setting.values["loss"] for setting in analysis.settings] == ["mae", "mse", "huber"]
    found = sentences(analysis)
    assert found["best"] == ["loss=mae is best: val/rmse 45."]
    assert found["objective"] == [
        "val/loss is another measure for each loss: settings are compared by val/rmse instead."
    ]


@pytest.mark.parametrize("name", ["loss.label_smoothing", "loss.class_weights"])
def test_options_of_a_loss_make_another_one(tmp_path: Path, name: str) -> None:
    jobs = [job(n, {name: n / 10}, 0.1 + n, also={"val/accuracy": 0.8 + 0.01 * n}) for n in range(3)]
    best = analyse(write_sweep(tmp_path, jobs)).settings[0]
    assert best.values == {name: 0.2}
    assert best.objective.mode == "max"


def test_losses_without_a_shared_metric_are_ranked_apart(tmp_path: Path) -> None:
    jobs = [job(n, {"loss": loss}, 0.1 * n) for n, loss in enumerate(("mse", "mae"))]
    found = sentences(analyse(write_sweep(tmp_path, jobs)))
    assert found["best"] == ["loss=mse reaches val/loss 0.", "loss=mae reaches val/loss 0.1."]
    assert found["objective"][0].endswith("settings are compared with those of the same loss alone.")
    assert "failed" not in found


def test_each_data_set_has_its_own_ranks(tmp_path: Path) -> None:
    """Wine is harder than iris; lr=1 is best on both, and that is all that there is to say."""
    jobs = [
        job(10 * d + n, {"data": data, "lr": lr}, 0.1 + 0.5 * d + abs(lr - 1))
        for d, data in enumerate(("iris", "wine"))
        for n, lr in enumerate((0.5, 1.0, 2.0))
    ]
    analysis = analyse(write_sweep(tmp_path, jobs))
    assert [(s.values["data"], s.values["lr"], s.rank) for s in analysis.settings] == [
        ("iris", 1.0, 1), ("iris", 0.5, 2), ("iris", 2.0, 3), ("wine", 1.0, 1), ("wine", 0.5, 2), ("wine", 2.0, 3),
    ]  # fmt: skip
    found = sentences(analysis)
    assert found["best"] == [
        "data=iris, lr=1 is best: val/loss 0.1.", "data=wine, lr=1 is best: val/loss 0.6.",
    ]  # fmt: skip
    # Of two blocks Friedman's test cannot give less than exp(-2).
    assert found["mean_ranks"] == ["Over 2 data sets lr=1 has the best mean rank, 1, by no more than chance can give."]


def test_ranks_over_data_sets_are_tested_as_scipy_does(tmp_path: Path) -> None:
    table = [[0.1, 0.2, 0.3], [0.1, 0.3, 0.4], [1.0, 1.1, 1.3], [5.0, 7.0, 6.0], [0.2, 0.3, 0.6]]
    jobs = [
        job(10 * d + n, {"data.path": f"{d}.csv", "lr": n}, value)
        for d, row in enumerate(table)
        for n, value in enumerate(row)
    ]
    (finding,) = [f for f in analyse(write_sweep(tmp_path, jobs)).findings if f.kind == "mean_ranks"]
    assert finding.sentence == "Over 5 data sets lr=0 has the best mean rank, 1; not all of them are alike."
    p = friedmanchisquare(*zip(*table, strict=True)).pvalue
    assert f"lr=0: 1; lr=1: 2.2; lr=2: 2.8. Friedman's test: p {p:.2g}." in finding.evidence


def test_only_data_sets_leave_nothing_to_rank(tmp_path: Path) -> None:
    jobs = [job(n, {"data": data}, 0.1 * (n + 1)) for n, data in enumerate(("iris", "wine"))]
    found = sentences(analyse(write_sweep(tmp_path, jobs)))
    assert "is best" not in str(found)
    assert "noise" not in found


def test_a_name_that_changes_the_fingerprint_chooses_data(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(n, {"data.noise": n, "data.batch_size": 8 * n}, 0.1 + n) for n in range(2)])
    change_fingerprint(tmp_path / "1_job", "cd" * 32)
    assert analyse(tmp_path).sweep.data_sets == ["data.noise=0", "data.noise=1"]


def test_data_that_changed_between_launches_are_not_pooled(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(n, {"lr": n % 2, "seed": n // 2}, 0.1 * (n + 1)) for n in range(8)])
    for n in range(4, 8):
        change_fingerprint(tmp_path / f"{n}_job", "cd" * 32)
    (tmp_path / "7_job" / "manifest.json").unlink()
    analysis = analyse(tmp_path)
    assert [(len(s.runs), s.rank) for s in analysis.settings] == [(2, 1), (2, 2), (2, 1), (2, 2)]
    assert analysis.settings[0].label == "lr=0, fingerprint abababab"
    (finding,) = [finding for finding in analysis.findings if finding.kind == "data"]
    assert finding.level == "fault"
    assert finding.evidence == "digits, fingerprint abababab: 4 runs; digits, fingerprint cdcdcdcd: 4 runs."


def test_data_drawn_by_the_seed_are_one_problem(tmp_path: Path) -> None:
    configs: dict[str, Any] = {"0": {"data": {"seed": "${seed}"}}}
    write_sweep(tmp_path, [job(n, {"lr": n % 2, "seed": n // 2}, 0.1 * (n + 1)) for n in range(4)], configs=configs)
    for n in range(4):
        change_fingerprint(tmp_path / f"{n}_job", f"{n // 2}" * 64)
    assert [len(setting.runs) for setting in analyse(tmp_path).settings] == [2, 2]


def test_all_data_sets_have_findings(tmp_path: Path) -> None:
    jobs = [job(2 * d + n, {"data.path": f"{d}.csv", "lr": n}, 0.1 + n + d) for d in range(9) for n in range(2)]
    found = sentences(analyse(write_sweep(tmp_path, jobs)))
    assert len(found["best"]) == 9
    assert found["mean_ranks"] == ["Over 9 data sets lr=0 has the best mean rank, 1."]


def test_two_settings_over_data_sets_have_a_sign_test(tmp_path: Path) -> None:
    values = [[0.1, 0.2], [0.3, 0.5], [0.2, 0.1], [0.4, 0.4]]
    jobs = [
        job(2 * d + n, {"data.path": f"{d}.csv", "lr": n}, v) for d, row in enumerate(values) for n, v in enumerate(row)
    ]
    (finding,) = [f for f in analyse(write_sweep(tmp_path, jobs)).findings if f.kind == "mean_ranks"]
    assert finding.sentence.startswith("Over 4 data sets lr=0 has the best mean rank, 1.38, by no more than chance")
    assert f"Sign test: p {binomtest(2, 3).pvalue:.2g}. So few data sets cannot show a difference" in finding.evidence


def test_what_mattered_is_what_mattered_on_each_data_set(tmp_path: Path) -> None:
    """Of which data were used nothing is said."""
    jobs = [
        job(100 * d + 10 * a + b, {"data": data, "a": a, "b": b}, 0.1 + 5 * d + (1 + d) * a + 0.1 * b)
        for d, data in enumerate(("iris", "wine"))
        for a in range(3)
        for b in range(2)
    ]
    analysis = analyse(write_sweep(tmp_path, jobs))
    found = charts_of(analysis, run_rows(analysis))
    assert [chart.name for chart in found["parameters"]] == ["effects", "by_b, data=iris", "by_b, data=wine"]
    assert [chart.name for chart in found["overview"]] == ["main, data=iris", "main, data=wine"]
    effects = analysis.effects
    assert effects is not None
    assert list(effects.alone) == ["a", "b"]
    assert effects.alone["a"] > 0.9


def test_what_holds_on_every_data_set_is_said_once(tmp_path: Path) -> None:
    jobs = [job(2 * d + n, {"data": f"d{d}", "lr": n}, 0.1 + n + d) for d in range(3) for n in range(2)]
    found = sentences(analyse(write_sweep(tmp_path, jobs)))
    assert len(found["noise"]) == 1
    assert found["noise"][0].startswith("How much the result depends on the seed is not known")


def test_equal_mean_ranks_are_both_named_and_settings_left_out_counted(tmp_path: Path) -> None:
    values = [[0.1, 0.2, 0.3], [0.2, 0.1, None]]
    jobs = [job(3 * d + n, {"data": f"d{d}", "lr": n}, v) for d, row in enumerate(values) for n, v in enumerate(row)]
    (finding,) = [f for f in analyse(write_sweep(tmp_path, jobs)).findings if f.kind == "mean_ranks"]
    assert finding.sentence.startswith("Over 2 data sets lr=0 and lr=1 have the best mean rank, 1.5, by no more than")
    assert "Left out: 1 setting without a value on every data set." in finding.evidence
