"""Runs and a sweep of release 0.5.0 go on, are judged, predict and are reported.

The files in 0.5.0/ are what that release wrote in a folder /project; of the grid's four jobs the last is missing. They
come from another machine: nothing in them is signed with this user's key.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from comparing import doubled
from launching import launch, run_program
from parts import needs

OLD = Path(__file__).parent / "0.5.0"
CONFIG = ["data.batch_size=256", "model.hidden_dims=[4]", "trainer=cpu", "callbacks.figures=null"]
GRID = [*CONFIG, "callbacks.histograms=null", "trainer.max_epochs=2", "seed=0,1", "optimizer.lr=0.1,0.01"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return [{k: float(v) if "." in v else v for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["digits", pytest.param("houses", marks=needs("tables"))])
def test_a_run_goes_on(old: Path, name: str) -> None:
    run = old / "runs" / name
    before = (run / "history.jsonl").read_text()
    done = run_program("train.py", [f"resume={run}", "trainer.max_epochs=5"], old)
    assert done.status == 0, done.stderr
    assert (run / "history.jsonl").read_text().startswith(before)
    assert read(run / "result.json")["epochs"] == 5
    assert read(run / "status.json")["resumed"] == 1
    assert doubled(run) == {}


def test_a_checkpoint_is_judged_as_it_was(old: Path) -> None:
    run = old / "runs" / "digits"
    done = run_program("scripts/evaluate.py", [f"run={run}", "--json"], old)
    assert done.status == 0, done.stderr
    metrics = {f"test/{key}": value for key, value in json.loads(done.stdout)["metrics"].items()}
    assert metrics == pytest.approx(read(run / "result.json")["test"], rel=1e-5)


@needs("tables")
@pytest.mark.parametrize(("name", "more"), [("digits", ["proba=true"]), ("houses", [])])
def test_a_checkpoint_predicts_the_same(old: Path, name: str, more: list[str]) -> None:
    words = [f"run={old / 'runs' / name}", f"data.path={name}.csv", "out=new.csv", *more]
    done = run_program("scripts/predict.py", words, old)
    assert done.status == 0, done.stderr
    assert rows(old / "new.csv") == [
        {key: pytest.approx(value, rel=1e-4) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows(old / f"{name}.predicted.csv")
    ]


def test_a_sweep_goes_on_with_the_missing_job_and_is_reported(old: Path) -> None:
    sweep = old / "sweeps" / "grid"
    before = {path: path.read_bytes() for path in sweep.glob("*/result.json")}
    done = launch([*GRID, "sweep.name=grid"], old)
    assert done.status == 0, done.stderr
    assert "4 jobs (3 finished), 1 to do" in done.stdout
    assert "kept    model.dropout=0.2: the default of the release that began the sweep" in done.stdout
    assert read(sweep / "3_seed-1_lr-0.01" / "result.json")["objective"] == pytest.approx(1.972, abs=0.001)
    assert {path: path.read_bytes() for path in before} == before
    assert (
        "model.dropout=0.0 instead of 0.2; try another"
        in launch([*GRID, "sweep.name=grid", "model.dropout=0.0"], old).stderr
    )


@pytest.mark.slow
@needs("sweeps", "report")
def test_a_sweep_is_reported(old: Path) -> None:
    sweep = old / "sweeps" / "grid"
    done = run_program("scripts/report.py", [str(sweep)], old)
    assert done.status == 0, done.stderr
    assert (sweep / "report.html").stat().st_size > 10_000
