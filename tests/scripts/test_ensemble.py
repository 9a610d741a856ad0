"""scripts/ensemble.py: which runs of a sweep become one model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import change_card, save_run, table_options, write_houses
from slow_cases import slow
from sweeps.making import job, write_sweep

from mlplab.sweeps.reading.sweep_reading import read_sweep

Script = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settings on three seeds: the second is the better one, but the first has the best run, and one failed."""
    folder = tmp_path_factory.mktemp("ensemble")
    losses = {("sgd", 0): 0.1, ("sgd", 1): 0.9, ("sgd", 2): None, ("adam", 0): 0.3, ("adam", 1): 0.2, ("adam", 2): 0.4}
    jobs = [
        job(number, {"optimizer": name, "seed": seed}, loss or 0.0, state="finished" if loss else "failed")
        for number, ((name, seed), loss) in enumerate(losses.items())
    ]
    directory = write_sweep(folder / "sweep", jobs)
    table = write_houses(folder / "houses.csv")
    for run in read_sweep(directory).runs:
        save_run(directory / run.entry.directory, table_options(table), hidden_dims=[4 + run.entry.number])
    return directory


@pytest.mark.parametrize(
    ("word", "numbers", "name"), [("seeds=true", [4, 3, 5], "seeds"), *slow(("top=3", [0, 4, 3], "top_3"))]
)
def test_members_are_the_best_runs_or_those_of_the_best_setting(
    sweep: Path, script: Script, word: str, numbers: list[int], name: str
) -> None:
    done = script("ensemble", str(sweep), word, "--json")
    assert (done.status, done.errors) == (0, "")
    told = json.loads(done.output)
    runs = {str(sweep / run.entry.directory): run.entry.number for run in read_sweep(sweep).runs}
    assert [runs[member] for member in told["members"]] == numbers
    assert told["directory"] == str(sweep / "ensembles" / name)
    evaluated = script("evaluate", f"run={told['directory']}", "--json")
    assert json.loads(evaluated.output)["metrics"] == told["test"]


def test_members_show_no_loss_that_is_another_function_than_that_of_the_ensemble(
    sweep: Path, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "sweeps").mkdir()
    mine = Path(shutil.copytree(sweep, tmp_path / "sweeps" / "mine"))
    shutil.rmtree(mine / "ensembles", ignore_errors=True)
    told = [json.loads(script("ensemble", str(mine), "top=2", f"out={mine / 'one'}", "--json").output)]
    for run in read_sweep(mine).runs:
        change_card(mine / run.entry.directory, ("loss", "name"), "focal")
    told.append(json.loads(script("ensemble", str(mine), "top=2", f"out={mine / 'two'}", "--json").output))
    assert ["loss" in one["mean_test_of_members"] for one in told] == [True, False]
    assert told[0]["test"] == told[1]["test"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["top=6"], "must have 6 finished runs with a value of val/loss, but it has 5; try top=5"),
        (["top=1"], "two members or more"),
        (["top=2", "seeds=true"], "members must be chosen in one way"),
    ],
)
def test_mistakes_are_told_in_one_line(sweep: Path, script: Script, words: list[str], message: str) -> None:
    done = script("ensemble", str(sweep), *words)
    assert done.status == 2
    assert message in done.errors
    assert done.errors.count("\n") == 1
