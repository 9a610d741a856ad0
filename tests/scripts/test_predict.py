import gzip
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from inference.small_runs import change_card, houses, save_run, table_options
from launching import run_program

from mlplab.cli.script import WRITTEN
from mlplab.inference.predicting import predict_file
from mlplab.inference.trained import load_run

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]
Process = Callable[..., subprocess.Popen[str]]


def test_it_predicts_in_a_process_of_its_own(runs: Path, tmp_path: Path) -> None:
    words = (f"run={runs / 'classes'}", f"data.path={runs / 'new.csv'}", "out=out.csv", "id=row", "proba=true")
    done = run_program("scripts/predict.py", words, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "note    new.csv has 3 columns that are not used: kind, binary, price",
        "wrote   out.csv: 30 rows",
    ]
    run = load_run(runs / "classes")
    predict_file(run, runs / "new.csv", tmp_path / "b.csv", id_column="row", probabilities=True, overwrite=False)
    found, expected = (pl.read_csv(tmp_path / name) for name in ("out.csv", "b.csv"))
    assert found[:, :2].equals(expected[:, :2])
    assert (found[:, 2:] - expected[:, 2:]).select(pl.all().abs().max()).max_horizontal().item() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_killed_in_the_middle_of_a_large_file_it_leaves_nothing(
    tmp_path: Path, process: Process, number: signal.Signals, name: str
) -> None:
    rows = "50.5,red\n" * 600_000
    (tmp_path / "large.csv.gz").write_bytes(gzip.compress(f"length,colour\n{rows}".encode(), 1))
    houses(60).select("length", "colour", "binary").write_csv(tmp_path / "few.csv")
    options = {"path": str(tmp_path / "few.csv"), "target": "binary"}
    save_run(tmp_path / "run", options)
    words = (f"run={tmp_path / 'run'}", f"data.path={tmp_path / 'large.csv.gz'}", "out=out.csv", "proba=true")
    folder = tmp_path / "out"
    (folder / "unpacked").mkdir(parents=True)
    running = process("predict", *words, folder=folder, TMPDIR=str(folder / "unpacked"))
    for _ in range(6000):
        if any(path.stat().st_size for path in folder.glob(".out.csv.*.tmp")) or running.poll() is not None:
            break
        time.sleep(0.05)
    assert running.poll() is None, running.communicate()
    assert any((folder / "unpacked").iterdir())
    running.send_signal(number)
    output, errors = running.communicate(timeout=300)
    assert (running.returncode, output, errors) == (128 + number, "", f"predict.py: stopped by {name}\n")
    assert [path.name for path in folder.iterdir()] == ["unpacked"]
    assert list((folder / "unpacked").iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["run=a", "-h"]])
def test_help_is_shown(script: Script, words: list[str]) -> None:
    done = script("predict", *words)
    assert done.status == 0
    assert "python scripts/predict.py run=" in done.output
    for word in ("run=", "data.path=", "out=", "id=", "proba=", "overwrite=", "accept_unknown=", *WRITTEN):
        assert word in done.output


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run={runs}/clases", "out=out.csv"], ["there is no {runs}/clases", "run={runs}/classes"]),
        (["run={runs}/untrained", "out=out.csv"], ["has no checkpoints/best.ckpt"]),
        (["run={runs}/damaged", "out=out.csv"], ["{runs}/damaged/checkpoints/best.ckpt", "a checkpoint must be"]),
        (["run={runs}/new.csv", "out=out.csv"], ["a checkpoint must be"]),
        (["run=~nobody_at_all/run", "out=out.csv"], ["there is no ~nobody_at_all"]),
        (["out=out.csv"], ["run must be given"]),
        (["run={runs}/classes"], ["out must be given", "out=predictions.csv"]),
        (["run={runs}/classes", "out=out.csv", "out=b.csv"], ["out must be given once"]),
        (["run={runs}/classes", "out=out.csv", "prob=true"], ["prob=true; try proba=true"]),
        (["run={runs}/classes", "out=out.csv", "proba=yes"], ["proba must be true or false"]),
        (["run={runs}/classes", "out=out.xlsx"], ["must end in .csv or .tsv or .parquet", "out=out.csv"]),
        (["run={runs}/classes", "out="], ["out must be given a value"]),
        (["run={runs}/classes", "out=nowhere/out.csv"], ["there is no nowhere", "mkdir -p nowhere"]),
        (["run={runs}/classes", "out=."], ["is a folder", "out=predictions.csv"]),
        (["run={runs}/classes", "out=there.csv"], ["there.csv is there already", "overwrite=true"]),
        (["run={runs}/classes", "out={runs}/new.csv", "overwrite=true"], ["out must be another file than data.path"]),
        (["run={runs}/values", "out=out.csv", "proba=true"], ["the run is a regression", "proba=false"]),
        (["run={runs}/classes", "out=out.csv", "id=rwo"], ["column of the id, 'rwo'", "id=row"]),
        (["run={runs}/classes", "out=out.csv", "data.delimiter=semicoln"], ["try data.delimiter=semicolon"]),
        (["run={runs}/classes", "out=out.csv", "data.encoding=cp12511"], ["name of an encoding that Python knows"]),
        (["run={runs}/classes", "out=out.csv", "data.skip_lines=-1"], ["data.skip_lines must be a number of lines"]),
        (["run={runs}/classes", "out=out.csv", "data.header=yes"], ["data.header must be auto, true or false"]),
        (["run={runs}/classes", "out=out.csv", "data.missing_values=x"], ["try 'data.missing_values=[x]'"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, words: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("precious")
    before = (runs / "new.csv").read_bytes()
    words = [word.format(runs=runs) for word in [*words, "data.path={runs}/new.csv"]]
    line = mistake("predict", *words)
    assert [part for part in parts if part.format(runs=runs) not in line] == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there.csv": "precious"}
    assert (runs / "new.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nwe.csv", ["there is no {runs}/nwe.csv", "data.path={runs}/new.csv"]),
        ("empty.csv", ["{runs}/empty.csv is empty"]),
        ("header.csv", ["must hold rows"]),
        ("classes", ["is a folder"]),
        ("classes/checkpoints/best.ckpt", ["a zip archive must hold one file"]),
    ],
)
def test_data_that_cannot_be_read_are_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, name: str, parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = mistake("predict", f"run={runs / 'classes'}", f"data.path={runs / name}", "out=out.csv")
    assert [part for part in parts if part.format(runs=runs) not in line] == []
    assert list(tmp_path.iterdir()) == []


def test_overwriting_is_typed(runs: Path, tmp_path: Path, script: Script) -> None:
    (tmp_path / "out.tsv").write_text("old")
    words = (f"run={runs / 'values'}", f"data.path={runs / 'new.csv'}", f"out={tmp_path / 'out.tsv'}")
    assert script("predict", *words, "overwrite=true").status == 0
    assert (tmp_path / "out.tsv").read_text().startswith("prediction\n")


def test_a_network_of_ones_own_is_refused(runs: Path, tmp_path: Path, mistake: Mistake) -> None:
    save_run(tmp_path / "run", table_options(runs / "houses.csv"))
    change_card(tmp_path / "run", ("model",), {"name": "own", "architecture": {"_target_": "os.system"}})
    line = mistake("predict", f"run={tmp_path / 'run'}", f"data.path={runs / 'new.csv'}", f"out={tmp_path / 'out.csv'}")
    assert "code that a checkpoint names must be named in conf/model, too" in line


@pytest.mark.parametrize("delimiter", [";", '";"', "semicolon", "auto"])
def test_options_of_the_file_are_quoted_as_for_training(
    runs: Path, tmp_path: Path, script: Script, delimiter: str
) -> None:
    text = (runs / "new.csv").read_text(encoding="utf-8").replace(",", ";")
    (tmp_path / "new.csv").write_text(text, encoding="cp1251")
    out = tmp_path / "out.csv"
    words = (f"data.delimiter={delimiter}", "data.encoding=cp1251", "data.missing_values=[none,-1]")
    assert (
        script("predict", f"run={runs / 'classes'}", f"data.path={tmp_path / 'new.csv'}", f"out={out}", *words).status
        == 0
    )
    script("predict", f"run={runs / 'classes'}", f"data.path={runs / 'new.csv'}", f"out={tmp_path / 'same.csv'}")
    assert out.read_text() == (tmp_path / "same.csv").read_text()
