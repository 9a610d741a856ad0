import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import change_card, save_run, table_options, train_run, write_houses
from launching import run_program
from slow_cases import slow

from mlplab.parts import is_there

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]


def test_a_run_is_evaluated_in_a_process_of_its_own_to_the_metrics_of_its_result(runs: Path, tmp_path: Path) -> None:
    data = (f"data.path={runs / 'houses.csv'}", "data.target=price", "data.drop=[kind,binary]")
    result = train_run(tmp_path / "run", "data=table", *data)
    done = run_program("scripts/evaluate.py", ["run=run"], tmp_path)
    output = done.stdout
    assert (done.status, done.stderr) == (0, "")
    assert "test part, 30 rows" in output
    (directory,) = (tmp_path / "run" / "evaluations").iterdir()
    assert output.endswith(f"figure  run/evaluations/{directory.name}/predicted_against_true.png\n")
    metrics = json.loads((directory / "metrics.json").read_text())["metrics"]
    assert {f"test/{name}": value for name, value in metrics.items()} == result["test"]
    assert {path.name for path in directory.iterdir()} == {"metrics.json", "predicted_against_true.png"}


def test_another_file_is_enough(tmp_path: Path, script: Script) -> None:
    path = write_houses(tmp_path / "houses.csv")
    run = save_run(tmp_path / "run", table_options(path))
    path.unlink()
    other = write_houses(tmp_path / "other.csv", 50, seed=1)
    done = script("evaluate", f"run={run}", f"data.path={other}", f"out={tmp_path / 'deep' / 'out'}")
    assert done.status == 0
    assert "other.csv, 50 rows" in done.output
    assert "note    other.csv has 3 columns that are not used: row, binary, price" in done.output
    assert (tmp_path / "deep" / "out" / "metrics.json").exists()


@pytest.mark.parametrize("part", ["val", *slow("train", "test")])
def test_every_part_can_be_looked_at(runs: Path, tmp_path: Path, script: Script, part: str) -> None:
    done = script("evaluate", f"run={runs / 'classes'}", f"part={part}", f"out={tmp_path / 'out'}")
    assert f"{part} part, {140 if part == 'train' else 30} rows" in done.output


def test_help_is_shown(script: Script) -> None:
    done = script("evaluate", "--help")
    assert done.status == 0
    for word in ("run=", "part=", "out="):
        assert word in done.output
    assert ("data." in done.output) is is_there("tables")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run={runs}/clases"], ["run={runs}/classes"]),
        (["run={runs}/untrained"], ["has no checkpoints/best.ckpt"]),
        (["run={runs}/damaged"], ["a checkpoint must be"]),
        ([], ["run must be given"]),
        (["run={runs}/classes", "parts=val"], ["try part=val"]),
        (["run={runs}/classes", "part=tests"], ["one of train, val, test", "try part=test"]),
        (["run={runs}/classes", "part=val", "data.path={runs}/new.csv"], ["part must be one of the run's own data"]),
        (["run={runs}/classes", "data.path={runs}/nwe.csv"], ["data.path={runs}/new.csv"]),
        (["run={runs}/classes", "data.path={runs}/empty.csv"], ["is empty"]),
        (["run={runs}/classes", "data.path={runs}/header.csv"], ["must hold rows"]),
        (["run={runs}/classes", "out=there"], ["out must be a new directory", "there is there already"]),
        (["run={runs}/classes", "out=there/a/b"], ["out must be"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, words: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_text("precious")
    words = [word.format(runs=runs) for word in words]
    line = mistake("evaluate", *words)
    assert [part for part in parts if part.format(runs=runs) not in line] == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "precious"}
    assert not (runs / "classes" / "evaluations").exists()


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("changed", ["houses.csv has changed"]),
        ("hostile source", ["the run was trained on os.system"]),
        *slow(
            ("gone", ["the data that the run was trained on must be there", "there is no {folder}/houses.csv"]),
            ("own source", ["the run was trained on my.data.make", "data.path=rows.csv"]),
            ("own network", ["network of another class"]),
        ),
    ],
)
def test_what_a_checkpoint_alone_cannot_give_is_refused(
    tmp_path: Path, mistake: Mistake, how: str, parts: list[str]
) -> None:
    path = write_houses(tmp_path / "houses.csv")
    run = save_run(tmp_path / "run", table_options(path))
    if how == "changed":
        path.write_text(path.read_text().replace("small", "medium", 1))
    elif how == "gone":
        path.unlink()
    elif how == "own network":
        change_card(run, ("model", "name"), "own")
    else:
        change_card(run, ("data", "source"), {"own source": "my.data.make"}.get(how, "os.system"))
    line = mistake("evaluate", f"run={run}")
    assert [part for part in parts if part.format(folder=tmp_path) not in line] == []
    assert not (run / "evaluations").exists()


@pytest.mark.parametrize(
    ("target", "cells", "parts"),
    [
        ("kind", ["small", "mediun"], ["'mediun' stands in 1 row, the first is row 2"]),
        ("kind", ["", "NA"], ["there must be rows with a target"]),
        ("price", ["1", "much"], ["'much' in row 2"]),
        ("other", ["1", "2"], ["must have the column of the target"]),
    ],
)
def test_targets_that_cannot_be_compared_are_refused(
    runs: Path, tmp_path: Path, mistake: Mistake, target: str, cells: list[str], parts: list[str]
) -> None:
    lines = [f"50,1,red,town A,2024-01-01 00:00,yes,{cell}" for cell in cells]
    text = "\n".join([f"length,gap,colour,town,when,flag,{target}", *lines])
    (tmp_path / "new.csv").write_text(text)
    run = runs / ("values" if target == "price" else "classes")
    line = mistake("evaluate", f"run={run}", f"data.path={tmp_path / 'new.csv'}", f"out={tmp_path / 'out'}")
    assert [part for part in parts if part not in line] == []
    assert not (tmp_path / "out").exists()
