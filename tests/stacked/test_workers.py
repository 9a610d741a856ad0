"""Stacks that are trained by several processes at the same time."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from comparing import difference
from launching import Done, Signal, launch
from stacked.conftest import SMALL, STACKED, jobs_in, stacked

from mlplab.errors import RunFailed, RunStopped, UserError
from mlplab.stacked.workers import HAS_FORKS, Say, in_processes

pytestmark = pytest.mark.skipif(not HAS_FORKS, reason="stacks are trained by one process here")

TWO = "hydra.launcher.processes=2"
EIGHT = ["seed=range(0,8)", "callbacks.checkpoints.every_seconds=0"]
ROUNDING = 1e-9


def from_outside(work: Callable[[int, Say], Any], n_units: int, lines: list[str]) -> list[Any]:
    return in_processes(work, n_units, 2, lines.append)


# --- units of work -----------------------------------------------------------------------------------------


def test_answers_come_in_order_and_from_other_processes() -> None:
    lines: list[str] = []

    def work(unit: int, say: Say) -> tuple[int, int]:
        say(f"unit {unit}")
        time.sleep(0.05 * (unit == 0))  # which is done after the next ones
        return unit, os.getpid()

    units, processes = zip(*from_outside(work, 5, lines), strict=True)
    assert units == (0, 1, 2, 3, 4)
    assert os.getpid() not in processes
    assert len(set(processes)) == 2
    assert sorted(lines) == [f"unit {unit}" for unit in range(5)]


def test_one_process_needs_no_other() -> None:
    assert in_processes(lambda unit, say: os.getpid(), 2, 1, print) == [os.getpid()] * 2


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplab.stacked.workers.available_cores", lambda: 6)
    assert in_processes(lambda unit, say: os.environ["OMP_NUM_THREADS"], 2, 2, print) == ["3", "3"]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (UserError("a must", "given", "remedy"), UserError, "a must, got given; try remedy"),
        (RunStopped("stopped by Ctrl-C", 130), RunStopped, "stopped by Ctrl-C"),
        (KeyError("lost"), RunFailed, "a stack could not be trained: KeyError: 'lost'"),
    ],
)
def test_what_is_raised_in_one_is_raised_here_once_the_others_are_done(
    error: BaseException, expected: type[BaseException], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(unit: int, say: Say) -> None:
        if unit == 0:
            raise error
        time.sleep(0.3)
        (tmp_path / f"{unit}").touch()

    with pytest.raises(expected) as raised:
        from_outside(work, 4, [])
    assert str(raised.value) == message
    assert [path.name for path in tmp_path.iterdir()] == ["1"]  # none was begun after the error
    assert ("Traceback" in capfd.readouterr().err) is (expected is RunFailed)


def test_a_process_that_is_killed_is_told_of() -> None:
    def work(unit: int, say: Say) -> None:
        os.kill(os.getpid(), signal.SIGKILL if unit else 0)

    with pytest.raises(BrokenProcessPool):
        from_outside(work, 2, [])


# --- sweeps ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What one process makes of the sweep."""
    folder = tmp_path_factory.mktemp("one")
    stacked([*EIGHT, "hydra.launcher.processes=1"], folder)
    return jobs_in(folder)


def require_same(by_one: list[Path], folder: Path) -> None:
    for one, other in zip(by_one, jobs_in(folder), strict=True):
        assert difference(one, other, ROUNDING) == ""


def states_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((path / "status.json").read_text()) for path in jobs_in(folder)]


def test_two_processes_come_to_what_one_does(by_one: list[Path], tmp_path: Path) -> None:
    done = stacked([*EIGHT, TWO], tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.count("stack   4 networks at once") == 2
    assert len({status["process"] for status in states_in(tmp_path)}) == 2
    require_same(by_one, tmp_path)


def cut_off(folder: Path, at: Signal) -> Done:
    return launch([STACKED, *SMALL, *EIGHT, TWO], folder, at)


@pytest.mark.parametrize(
    ("number", "to_command"),
    [
        pytest.param(signal.SIGINT, True, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, False, id="SIGTERM to each worker", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, False, id="SIGINT to each worker", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_what_all_have_reached(
    by_one: list[Path], tmp_path: Path, number: signal.Signals, *, to_command: bool
) -> None:
    cut = cut_off(tmp_path, Signal(number, 7, to_command))
    assert cut.status == 128 + number
    assert cut.stderr.count("\n") == 1
    assert cut.stdout.count("stopping after this step") == to_command
    assert "all that was reached is saved; the same command goes on with the sweep" in cut.stderr
    assert {status["state"] for status in states_in(tmp_path)} <= {"stopped", "finished", "waiting"}
    done = stacked([*EIGHT, TWO], tmp_path)
    assert done.status == 0, done.stderr
    require_same(by_one, tmp_path)


def test_workers_do_not_outlive_the_command(tmp_path: Path) -> None:
    assert cut_off(tmp_path, Signal(signal.SIGKILL, 7, to_command=True)).status == -signal.SIGKILL
    workers = {status["process"] for status in states_in(tmp_path)}
    assert workers  # of the two, one may not have begun yet
    began = time.monotonic()
    while any(Path(f"/proc/{worker}/status").exists() for worker in workers):
        assert time.monotonic() - began < 30
        time.sleep(0.05)


@pytest.mark.slow
def test_a_worker_that_is_killed_again_and_again_is_given_up(by_one: list[Path], tmp_path: Path) -> None:
    cut = cut_off(tmp_path, Signal(signal.SIGKILL, 3))  # not so late that the second try comes to the end
    assert cut.status == 1
    assert "the process of 8 jobs was killed 2 times" in cut.stderr
    done = stacked([*EIGHT, TWO], tmp_path)
    assert done.status == 0, done.stderr
    require_same(by_one, tmp_path)


@pytest.mark.slow
def test_a_search_asks_two_processes(tmp_path: Path) -> None:
    words = [
        "hydra/sweeper=optuna", "optimizer.lr=interval(0.001,0.1)", "hydra.sweeper.trials=16", "trainer.max_epochs=1",
        "hydra.launcher.members=8", TWO,
    ]  # fmt: skip
    done = stacked(words, tmp_path)
    assert done.status == 0, done.stderr
    assert done.stdout.count("stack   4 networks at once") == 4
    assert {status["state"] for status in states_in(tmp_path)} == {"finished"}


@pytest.mark.slow
def test_groups_that_are_small_share_the_processes(tmp_path: Path) -> None:
    done = stacked(["model.hidden_dims=[4],[5]", "seed=range(0,4)", "trainer.max_epochs=1", TWO], tmp_path)
    assert done.status == 0, done.stderr
    assert done.stdout.count("stack   4 networks at once") == 2
    assert len({status["process"] for status in states_in(tmp_path)}) == 2


def test_a_number_of_processes_that_is_none_is_refused(tmp_path: Path) -> None:
    for given in ("0", "many"):
        refused = stacked(["seed=0,1", f"hydra.launcher.processes={given}"], tmp_path)
        assert (refused.status, refused.stderr.count("\n")) == (2, 1)
        assert f"must be auto or a positive number of processes, got {given}" in refused.stderr


def test_forks_are_for_linux() -> None:
    assert (sys.platform == "linux") is HAS_FORKS
