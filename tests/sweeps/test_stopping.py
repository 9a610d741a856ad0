"""A signal while jobs run in other processes: they save first, and are told if they have not noticed."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from mlplab.errors import RunStopped
from mlplab.runs.lock import Lock
from mlplab.runs.signals import HANDLED
from mlplab.sweeps import stopping
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.stopping import letting_jobs_finish


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


@pytest.mark.parametrize("number", HANDLED, ids=lambda number: number.name)
def test_a_signal_waits_until_they_have_saved(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "TERMINAL", 0.3)
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

    monkeypatch.setattr(stopping, "_wait", second)
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
