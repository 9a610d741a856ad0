import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import change_card, save_run

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "diabetes", {"name": "diabetes"}, source="mlplab.data.bundled.bundled")


def test_files_are_in_the_directory_of_the_run(run: Path, script: Script) -> None:
    done = script("loss_surface", str(run), "points=3")
    assert (done.status, done.errors) == (0, "")
    (directory,) = (run / "loss_surface").iterdir()
    assert {path.name for path in directory.iterdir()} == {"loss_surface.csv", "loss_surface.png"}
    assert done.output.rstrip().endswith(directory.name)
    assert done.output.startswith("train   loss ")


def test_two_runs_as_json(run: Path, tmp_path: Path, script: Script) -> None:
    done = script("loss_surface", str(run), str(run), "points=5", f"out={tmp_path / 'out'}", "--json")
    found = json.loads(done.output)
    assert found["losses"].keys() == {"train", "val"}
    assert len(found["positions"]) == len(found["losses"]["val"]) == 5
    # Between a run and itself there is no barrier: every loss is the same.
    assert found["losses"]["val"] == pytest.approx([found["at_runs"]["val"][0]] * 5)
    assert all(Path(file).exists() for file in found["files"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{run}s"], ["run must be the directory of a run", "diabetes"]),
        ([], ["run must be given"]),
        (["{run}", "points=2"], ["points must be 3 or more", "try points=31"]),
        (["{run}", "part=training"], ["one of train, val, test", "try part=train"]),
        (["{run}", "reach=0"], ["reach must be a positive number"]),
        (["{run}", "{run}", "part=val"], ["part must be given for one run alone"]),
        (["{run}", "{run}", "{run}"], ["one run or two"]),
        (["{run}", "points=3", "out={run}"], ["out must be a new directory"]),
        (["{run}", "point=3"], ["try points=3"]),
    ],
)
def test_a_mistake_is_one_line(mistake: Mistake, run: Path, words: list[str], parts: list[str]) -> None:
    message = mistake("loss_surface", *(word.format(run=run) for word in words))
    assert all(part in message for part in parts), message
    assert not (run / "loss_surface").exists()


def test_a_run_of_a_module_of_ones_own_is_refused(mistake: Mistake, run: Path) -> None:
    change_card(run, ("model",), {"name": "own module", "architecture": {"_target_": "somebody.Net"}})
    assert "the project's own learner" in mistake("loss_surface", str(run))
