import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]


def test_tables_and_figures_are_in_the_runs_directory(runs: Path, tmp_path: Path, script: Script) -> None:
    run = tmp_path / "classes"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").write_bytes((runs / "classes" / "checkpoints" / "best.ckpt").read_bytes())
    done = script("explain", f"run={run}", "score=auroc", "repeats=2", "columns=town")
    assert (done.status, done.errors) == (0, "")
    (directory,) = (run / "explain").iterdir()
    names = {"importance.csv", "partial_dependence.csv", "importance.png", "partial_dependence.png"}
    assert {path.name for path in directory.iterdir()} == names
    assert "drop of auroc" in done.output
    assert done.output.rstrip().endswith(directory.name)


def test_the_result_can_be_had_as_json(runs: Path, tmp_path: Path, script: Script) -> None:
    done = script(
        "explain", f"run={runs / 'values'}", f"data.path={runs / 'houses.csv'}", f"out={tmp_path / 'out'}", "--json"
    )
    found = json.loads(done.output)
    assert (found["rows"], found["n_rows"], found["score"]) == ("houses.csv", 200, "r2")
    assert {one["column"] for one in found["importances"]} == {"length", "gap", "colour", "town", "when", "flag"}
    assert all(Path(file).exists() for file in found["files"])


def test_help_is_shown(script: Script) -> None:
    done = script("explain", "--help")
    assert done.status == 0
    for word in ("run=", "data.path=", "part=", "score=", "repeats=", "rows=", "columns=", "classes=", "seed=", "out="):
        assert word in done.output


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run={runs}/clases"], ["run={runs}/classes"]),
        ([], ["run must be given"]),
        (["run={runs}/damaged"], ["a checkpoint must be"]),
        (["run={runs}/classes", "part=tests"], ["one of train, val, test", "try part=test"]),
        (["run={runs}/classes", "part=test", "data.path={runs}/new.csv"], ["part must be one of the run's own data"]),
        (["run={runs}/classes", "repeats=0"], ["repeats must be a positive integer", "try repeats=5"]),
        (["run={runs}/classes", "rows=many"], ["rows must be a positive integer", "try rows=10000"]),
        (["run={runs}/classes", "column=town"], ["try columns=town"]),
        (["run={runs}/classes", "columns=twon"], ["try columns=town"]),
        (["run={runs}/classes", "score=rmse"], ["try score=accuracy"]),
        (["run={runs}/values", "classes=small"], ["classes must be for a classification"]),
        (["run={runs}/classes", "data.path={runs}/header.csv"], ["must hold rows"]),
        (["run={runs}/classes", "out=there"], ["out must be a new directory", "there is there already"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, words: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_text("precious")
    line = mistake("explain", *(word.format(runs=runs) for word in words))
    assert [part for part in parts if part.format(runs=runs) not in line] == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "precious"}
    assert not (runs / "classes" / "explain").exists()
