"""Stacks that are cut off, grow, or have members that cannot go on."""

import itertools
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import difference, doubled
from launching import Signal, launch, run_program, start_program
from slow_cases import slow
from stacked.conftest import SMALL, STACKED, jobs_in, stacked
from torch import nn

from mlplab.models.mlp import MLP

ROUNDING = 1e-9
OFTEN = "callbacks.checkpoints.every_seconds=0"


@pytest.mark.parametrize(
    ("number", "updates", "schedule"),
    [
        (signal.SIGKILL, 9, "exponential"),  # the last checkpoint is that between two epochs
        pytest.param(signal.SIGKILL, 5, "plateau", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 6, "warmup_cosine", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 7, "none", marks=pytest.mark.slow),
    ],
)
def test_a_stack_that_is_stopped_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, number: int, updates: int, schedule: str
) -> None:
    words = ["seed=0,1,2", f"scheduler={schedule}", OFTEN]
    stacked(words, tmp_path / "whole")
    cut = launch([STACKED, *SMALL, *words], tmp_path / "cut", Signal(number, updates))
    assert cut.status == (-number if number == signal.SIGKILL else 128 + number)
    states = {json.loads((path / "status.json").read_text())["state"] for path in jobs_in(tmp_path / "cut")}
    assert states == ({"running"} if number == signal.SIGKILL else {"stopped"})
    done = stacked(words, tmp_path / "cut")
    assert done.status == 0, done.stderr
    assert "stack   3 networks at once" in done.stdout
    for one, other in zip(jobs_in(tmp_path / "whole"), jobs_in(tmp_path / "cut"), strict=True):
        assert difference(one, other, ROUNDING) == ""
        assert doubled(other) == {}
        assert json.loads((other / "status.json").read_text())["resumed"] == 1


@pytest.mark.slow
def test_members_that_stand_at_different_steps_are_stacked_apart(tmp_path: Path) -> None:
    words = ["seed=0,1", OFTEN]
    stacked(words, tmp_path / "whole")
    launch([STACKED, *SMALL, *words], tmp_path / "cut", Signal(signal.SIGKILL, 7))
    first, second = jobs_in(tmp_path / "cut")
    assert (second / "checkpoints" / "previous.ckpt").exists()
    (second / "checkpoints" / "last.ckpt").unlink()
    done = stacked(words, tmp_path / "cut")
    assert done.stdout.count("stack   1 network: ") == 2
    for one, other in zip(jobs_in(tmp_path / "whole"), (first, second), strict=True):
        assert difference(one, other, ROUNDING) == ""


@pytest.fixture
def pair(two: Path, tmp_path: Path) -> Path:
    """A copy of the logs of a stack of two."""
    shutil.copytree(two / "sweeps", tmp_path / "sweeps")
    return tmp_path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    stacked(["seed=0,1"], folder)
    return folder


@pytest.mark.slow
def test_a_member_goes_on_alone_and_further(pair: Path, tmp_path: Path) -> None:
    launch([*SMALL, "seed=0,1", "trainer.max_epochs=6"], tmp_path / "alone")
    first = jobs_in(pair)[0]
    done = run_program("train.py", [f"resume={first}", "trainer.max_epochs=6"], tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert difference(jobs_in(tmp_path / "alone")[0], first, ROUNDING) == ""


@pytest.mark.slow
def test_a_job_that_is_alone_of_its_kind_is_run_alone(tmp_path: Path) -> None:
    done = stacked(["model.hidden_dims=[4],[8]"], tmp_path)
    assert done.status == 0
    assert "alone   2 jobs, no other job is like it" in done.stdout


def test_a_stack_has_no_more_members_than_it_is_allowed(tmp_path: Path) -> None:
    done = stacked(["seed=range(0,5)", "hydra.launcher.members=2", "trainer.max_epochs=1"], tmp_path)
    assert done.stdout.count("stack   2 networks at once") == 2
    assert len(jobs_in(tmp_path)) == 5


@pytest.mark.slow
def test_a_stack_of_one_is_none_and_of_none_is_refused(tmp_path: Path) -> None:
    alone = stacked(["seed=0,1", "hydra.launcher.members=1"], tmp_path / "alone")
    assert "alone   2 jobs, hydra.launcher.members=1" in alone.stdout
    refused = stacked(["seed=0,1", "hydra.launcher.members=0"], tmp_path / "none")
    assert (refused.status, refused.stderr.count("\n")) == (2, 1)
    assert "hydra.launcher.members must be a positive number of networks" in refused.stderr


@pytest.mark.slow
def test_a_search_asks_for_as_many_trials_as_a_stack_has_members(tmp_path: Path) -> None:
    words = [
        "hydra/sweeper=optuna", "optimizer.lr=interval(0.001,0.1)", "hydra.sweeper.trials=6",
        "hydra.sweeper.pruner=median", "hydra.launcher.members=3",
    ]  # fmt: skip
    done = stacked(words, tmp_path)
    assert done.status == 0, done.stderr
    assert done.stdout.count("stack   3 networks at once") == 2
    states = [json.loads((path / "status.json").read_text()) for path in jobs_in(tmp_path)]
    assert [status["state"] for status in states] == ["finished"] * 6


@pytest.mark.slow
def test_a_directory_that_is_taken_is_left_and_told(tmp_path: Path) -> None:
    taken = tmp_path / "sweeps" / "study" / "1_seed-1"
    taken.mkdir(parents=True)
    (taken / "notes.txt").write_text("mine")
    done = stacked(["seed=0,1,2"], tmp_path)
    assert "1_seed-1 holds other files" in done.stderr
    assert "stack   2 networks at once: 0_seed-0, 2_seed-2" in done.stdout
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_member_whose_files_cannot_be_written_fails_and_the_others_go_on(tmp_path: Path) -> None:
    words = [
        "-m", STACKED, *SMALL, "seed=0,1,2", "trainer.max_epochs=40", "callbacks.early_stopping.patience=1000",
        "callbacks.checkpoints.every_n_epochs=1", f"paths.logs={tmp_path}",
    ]  # fmt: skip
    running = start_program("train.py", words, tmp_path)
    checkpoints = tmp_path / "sweeps" / "study" / "1_seed-1" / "checkpoints"
    while not (checkpoints / "last.ckpt").exists():
        assert running.said() is None
        time.sleep(0.01)
    checkpoints.rename(checkpoints.with_name("moved"))
    checkpoints.touch()
    assert running.end().status == 1
    states = [json.loads((path / "status.json").read_text()) for path in jobs_in(tmp_path)]
    assert [status["state"] for status in states] == ["finished", "failed", "finished"]
    assert "1_seed-1/checkpoints" in states[1]["reason"]


@pytest.mark.parametrize("name", ["Stackable", *slow("Unstackable")])
def test_a_network_of_ones_own_is_stacked_where_it_says_so(both: Callable[..., Any], name: str) -> None:
    alone, together, done = both("seed=0,1", "~model", f"+model={{_target_:own_networks.{name}}}")
    assert done.status == 0, done.stderr
    assert ("stack   2" in done.stdout) is (name == "Stackable")
    assert ("alone   2 jobs, its class Unstackable does not say stackable = True" in done.stdout) is (
        name == "Unstackable"
    )
    for one, other in zip(alone, together, strict=True):
        assert difference(one, other, ROUNDING) == ""


def test_jobs_whose_folders_hold_other_files_are_told_in_one_line_and_nothing_of_them_is_touched(
    tmp_path: Path,
) -> None:
    for name in ("0_seed-0", "1_seed-1"):
        folder = tmp_path / "sweeps" / "study" / name
        folder.mkdir(parents=True)
        (folder / "mine.txt").write_text("mine")
    done = stacked(["seed=range(0,4)", "trainer.max_epochs=1"], tmp_path)
    assert done.status == 1
    (alone,) = (line for line in done.stdout.splitlines() if line.startswith("alone"))
    assert "2 jobs, a run must have a directory of its own, but its directory holds other files" in alone
    assert "2 of 4 jobs have not finished" in done.stdout
    assert [path.name for run in jobs_in(tmp_path)[:2] for path in run.iterdir()] == ["mine.txt"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "reason"),
    [("Exits", "SystemExit: 0"), ("Leaves", "GeneratorExit: planted")],
)
def test_a_network_that_would_end_the_process_fails_its_jobs_alone_and_in_a_stack(
    both: Callable[..., Any], network: str, reason: str
) -> None:
    *directories, done = both("seed=0,1", "~model", f"+model={{_target_:own_networks.{network}}}")
    assert (done.status, done.stderr) == (1, "")
    assert "2 of 2 jobs failed" in done.stdout
    for run in itertools.chain(*directories):
        status = json.loads((run / "status.json").read_text())
        assert (status["state"], status["reason"]) == ("failed", reason)


def test_the_scripts_take_a_member_as_any_run_and_the_same_command_goes_on(pair: Path, tmp_path: Path) -> None:
    run = jobs_in(pair)[1]
    done = run_program("scripts/evaluate.py", [f"run={run}", "--json"], tmp_path)
    assert done.status == 0, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert json.loads(done.stdout)["metrics"]["accuracy"] == pytest.approx(result["test"]["test/accuracy"])
    done = stacked(["seed=0,1,2,3"], pair)
    assert "stack   2 networks at once: 2_seed-2, 3_seed-3" in done.stdout
    assert len(jobs_in(pair)) == 4


@pytest.mark.slow
def test_a_member_is_reproduced_alone_and_that_is_told(pair: Path, tmp_path: Path) -> None:
    run = jobs_in(pair)[1]
    assert "0 to do" in stacked(["seed=0,1"], pair).stdout
    done = run_program("scripts/reproduce.py", [f"run={run}", "--json"], tmp_path)
    assert json.loads(done.stdout)["changed"] == ["in a stack then, alone now"]


@pytest.mark.slow
def test_a_file_holds_one_member_and_no_more(tmp_path: Path) -> None:
    stacked(["seed=0,1"], tmp_path / "few")
    stacked(["seed=range(0,8)"], tmp_path / "many")
    sizes = [(jobs_in(tmp_path / n)[0] / "checkpoints" / "last.ckpt").stat().st_size for n in ("few", "many")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    content = torch.load(jobs_in(tmp_path / "few")[0] / "checkpoints" / "best.ckpt", weights_only=True)
    network: nn.Module = MLP(**content["card"]["model"]["architecture"])
    assert sum(p.numel() for p in network.parameters()) == sum(w.numel() for w in content["state_dict"].values())


def test_more_members_than_files_can_be_opened_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    from mlplab.errors import UserError
    from mlplab.stacked import launching

    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: given.append(limits))
    launching._allow_open_files(3 * 64)
    assert given == []
    launching._allow_open_files(3 * 1000)
    assert given == [(3300, 4096)]
    with pytest.raises(UserError, match=r"2,000 members need 6300, and the system allows 4096; try .*members=1265"):
        launching._allow_open_files(3 * 2000)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    with pytest.raises(UserError, match=r"8 members need 324, and the system allows 64; try hydra/launcher=basic"):
        launching._allow_open_files(3 * 8)
