"""A signal while jobs run in other processes: they save first, and are told if they have not noticed."""

import json
import multiprocessing
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlplab.errors import RunStopped, UserError
from mlplab.runs.lock import Lock
from mlplab.runs.run_reading import State
from mlplab.runs.signals import HANDLED, TERMINATIONS
from mlplab.sweeps import launch
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.launch import letting_jobs_finish
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.sweep import jobs_at_once
from mlplab.sweeps.sweep_progress import SweepProgress


def job(directory: Path, *, notices: bool) -> None:
    """A run in another process, which is asked by the file of the sweep, or only by SIGTERM, and then saves."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    directory.mkdir()
    lock = Lock(directory / ".lock")
    lock.acquire()
    (directory / "status.json").write_text(json.dumps({"state": "running", "process": os.getpid()}))
    while not asked and not (notices and (directory.parent / STOPPING).exists()):
        time.sleep(0.02)
    time.sleep(0.2)
    (directory / "saved").touch()
    (directory / "status.json").write_text(json.dumps({"state": "stopped"}))
    lock.release()


def signalled(number: signal.Signals, sweep: Path, names: list[str]) -> None:
    """A launcher that is sent a signal while it waits."""
    with letting_jobs_finish(sweep, names):
        os.kill(os.getpid(), number)
        time.sleep(30)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in TERMINATIONS)],
    ids=lambda number: number.name,
)
def test_a_signal_waits_until_they_have_saved(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TERMINAL", 0.3)
    before = [signal.getsignal(handled) for handled in HANDLED]
    context = multiprocessing.get_context("forkserver")
    names = ["0_notices", "1_is_told"]
    jobs = [context.Process(target=job, args=(tmp_path / n,), kwargs={"notices": "notices" in n}) for n in names]
    for process in jobs:
        process.start()
    while not all((tmp_path / name / "status.json").exists() for name in names):
        assert all(process.is_alive() for process in jobs)
        time.sleep(0.02)
    with pytest.raises(RunStopped) as stopped:
        signalled(number, tmp_path, [*names, "2_waiting"])
    assert stopped.value.status == 128 + number
    assert all((tmp_path / name / "saved").exists() for name in names)
    assert not (tmp_path / STOPPING).exists()
    assert [signal.getsignal(handled) for handled in HANDLED] == before
    for process in jobs:
        process.join()


def test_a_second_signal_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(directories: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    monkeypatch.setattr(launch, "_wait", second)
    with pytest.raises(RunStopped, match="ended at once by a second signal"):
        signalled(signal.SIGINT, tmp_path, [])


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with letting_jobs_finish(tmp_path, []):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("n_deaths", [0, 1, 2])
@pytest.mark.parametrize("n_left", [0, 1])
def test_jobs_of_a_process_that_was_killed_are_launched_once_more_with_a_word(
    n_deaths: int, n_left: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [Entry(number, f"{number}_x", {}, []) for number in range(3)]
    launched = []

    def launch_once(jobs: Any, initial_job_idx: int) -> None:
        launched.append([int(words[-1].partition("=")[2][0]) for words in jobs])
        if len(launched) <= n_deaths:
            raise BrokenProcessPool("killed")

    def state(entry: Entry) -> State:
        return State("cut off" if entry.number < n_left else "finished")

    launcher, ledger = SimpleNamespace(launch=launch_once), SimpleNamespace(shared=["data=wine"])
    sweep: Any = SimpleNamespace(launcher=launcher, ledger=ledger, directory=tmp_path, state=state)
    progress: Any = SweepProgress(tmp_path, monitor="val/loss", mode="min")
    died = launch.launch_jobs(sweep, entries, progress)
    again = [0] if n_left else []
    is_again = bool(n_deaths and n_left)
    assert launched == [[0, 1, 2], *([again] if is_again else [])]
    assert [entry.number for entry in died] == (again if n_deaths == 2 else [])
    assert capsys.readouterr().out.count("killed  a process of 1 job: launched once more") == is_again


def test_jobs_at_once_are_those_that_the_launcher_says() -> None:
    launchers = (None, {"n_jobs": 3}, {"members": 64}, {"n_jobs": "?"}, {"array_parallelism": 16})
    assert [jobs_at_once(launcher) for launcher in launchers] == [1, 3, 64, 1, 16]
    assert jobs_at_once({"n_jobs": -1}) >= 1
    with pytest.raises(UserError, match=r"hydra\.launcher\.n_jobs must be a number of jobs"):
        jobs_at_once({"n_jobs": 0})
