"""A cross-validation from its command to its predictions: each row by the run that did not see it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from inference.small_runs import write_houses
from launching import SMALL, launch
from slow_cases import slow

Script = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    done = launch([*SMALL, "data.folds=3", "optimizer.lr=0.001,0.01", "sweep.name=cv"], folder)
    assert done.status == 0, done.stderr
    assert "6 jobs" in done.stdout
    return folder / "sweeps" / "cv"


def test_each_row_is_predicted_once_with_the_scores_of_all(sweep: Path, script: Script) -> None:
    done = script("out_of_fold", str(sweep), "--json")
    found = json.loads(done.output)
    frame = pl.read_csv(sweep / "out_of_fold.csv")
    assert frame["row"].to_list() == list(range(1, 179))
    assert frame["fold"].value_counts(sort=True)["count"].to_list() == [60, 59, 59]
    assert found["metrics"]["accuracy"] == pytest.approx((frame["target"] == frame["prediction"]).mean())
    jobs = {job: json.loads((sweep / job / "result.json").read_text())["test"] for job in found["jobs"]}
    by_fold = frame.group_by("job").agg((pl.col("target") == pl.col("prediction")).mean().alias("accuracy"))
    assert dict(by_fold.iter_rows()) == pytest.approx({job: test["test/accuracy"] for job, test in jobs.items()})
    assert script("out_of_fold", str(sweep)).status == 2  # it is there already


def test_another_setting_is_named_by_one_of_its_jobs(sweep: Path, tmp_path: Path, script: Script) -> None:
    for job in ("0_fold-0_lr-0.001", "1_fold-0_lr-0.01"):
        out = tmp_path / f"{job}.parquet"
        assert script("out_of_fold", str(sweep), f"job={job}", f"out={out}").status == 0
        assert job in pl.read_parquet(out)["job"].unique().to_list()
    done = script("out_of_fold", str(sweep), "job=0_fold-0", f"out={tmp_path / 'x.csv'}")
    assert done.status == 2
    assert "try job=0_fold-0_lr-0.001" in done.errors


@pytest.mark.slow
def test_groups_of_a_table_stay_together_and_values_are_in_their_unit(tmp_path: Path, script: Script) -> None:
    towns = [f"town {row % 7}" for row in range(120)]
    path = write_houses(tmp_path / "houses.csv", 120, town=towns)
    words = [f"data.path={path}", "data.target=price", "data.group_column=town", "data.drop=[row,kind,binary]"]
    quick = ["data=table", "data.batch_size=16", "trainer.max_epochs=2", "callbacks=minimal", "logger=none"]
    done = launch([*quick, *words, "data.folds=3", "sweep.name=cv"], tmp_path)
    assert done.status == 0, done.stderr
    assert script("out_of_fold", str(tmp_path / "sweeps" / "cv")).status == 0
    frame = pl.read_csv(tmp_path / "sweeps" / "cv" / "out_of_fold.csv")
    prices = pl.read_csv(path)["price"]
    assert frame["target"].to_list() == pytest.approx([prices[row - 1] for row in frame["row"]], rel=1e-5)
    folds_of_town = frame.with_columns(town=pl.Series([towns[row - 1] for row in frame["row"]])).group_by("town")
    assert folds_of_town.agg(pl.col("fold").n_unique())["fold"].max() == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.folds=5"], "data.fold must be a number from 0 to 4, as data.folds=5, got null; try data.fold=0"),
        *slow(
            (["data.folds=5", "data.fold=5"], "data.fold must be a number from 0 to 4"),
            (["data.fold=1"], "try data.folds=5 data.fold=1"),
            (["data.folds=1"], "data.folds must be null, or an integer from 2 to 1000, got 1"),
        ),
    ],
)
def test_a_single_run_has_one_of_the_folds(tmp_path: Path, words: list[str], message: str) -> None:
    from launching import run_program

    done = run_program("train.py", [*SMALL, *words, f"paths.logs={tmp_path}"], tmp_path)
    assert done.status == 2
    assert message in done.stderr
