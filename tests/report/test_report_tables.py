import csv
from io import StringIO
from pathlib import Path

import pytest
from report.analysing import analyse
from sweeps.making import job, write_sweep

from mlplab.report.report_tables import leaderboard_csv, metrics_of_test, plain_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.runs.files import FORMULA_STARTS


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_every_setting_is_a_row_with_numbers_as_they_are(told_grid: SweepAnalysis) -> None:
    rows = read(leaderboard_csv(told_grid))
    assert len(rows) == 8
    first, *_, last = rows
    best = told_grid.settings[0]
    assert (first["rank"], first["optimizer"], first["optimizer.lr"]) == ("1", "adam", "0.01")
    assert float(first["val/loss mean"]) == best.validation.mean
    assert float(first["val/loss std"]) == best.validation.deviation
    assert (first["runs"], first["finished"], first["diverged"], first["failed"]) == ("5", "5", "0", "0")
    assert first["command"] == "python train.py -m optimizer=adam optimizer.lr=0.01 seed=0,1,2,3,4"
    assert (last["val/loss mean"], last["diverged"], last["finished"]) == ("", "5", "0")


def test_a_missed_target_is_infinite(told_comparison: SweepAnalysis) -> None:
    rows = read(leaderboard_csv(told_comparison))
    assert [row["stage"] for row in rows[:4]] == ["rerun", "rerun", "default", "default"]
    assert (rows[0]["arm"], rows[0]["target hits"]) == ("adam", "9")
    assert float(rows[0]["median epochs to target"]) == 6.5
    assert rows[4]["median seconds to target"] == "inf"


def test_every_objective_has_its_columns(told_search: SweepAnalysis) -> None:
    assert {"val/loss mean", "seconds mean", "optimizer.momentum"} <= read(leaderboard_csv(told_search))[0].keys()


def test_no_cell_begins_a_formula(told_hostile: SweepAnalysis) -> None:
    for row in csv.reader(StringIO(leaderboard_csv(told_hostile))):
        assert row
        for cell in row:
            try:
                float(cell)
            except ValueError:
                assert not cell.startswith(FORMULA_STARTS)
                assert "\x1b" not in cell


def test_numbers_below_zero_stay_numbers(tmp_path: Path) -> None:
    rows = read(leaderboard_csv(analyse(write_sweep(tmp_path, [job(0, {"a": -1.5, "b": "-1+1"}, -0.25)]))))
    assert (rows[0]["a"], rows[0]["b"], rows[0]["val/loss mean"]) == ("-1.5", "'-1+1", "-0.25")


def test_a_sweep_without_jobs_has_a_heading(tmp_path: Path) -> None:
    assert leaderboard_csv(analyse(write_sweep(tmp_path, []))) == "stage,rank\n"


def test_the_test_metric_that_goes_with_the_objective_comes_first(told_grid: SweepAnalysis) -> None:
    assert metrics_of_test(told_grid.settings, "val/loss") == ["test/loss", "test/accuracy"]
    assert metrics_of_test(told_grid.settings, "val/accuracy") == ["test/accuracy", "test/loss"]
    assert plain_rows(told_grid)[0]["test/loss mean"] == pytest.approx(
        (told_grid.settings[0].validation.mean or 0) + 0.05
    )
