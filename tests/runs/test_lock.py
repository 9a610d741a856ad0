"""One process at a time, with real processes: held, given back, killed."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplab.errors import UserError
from mlplab.runs import files as module
from mlplab.runs.lock import Lock, require_free

HOLD = """
import sys
from pathlib import Path
from mlplab.runs.lock import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
if sys.stdin.readline() == "release\\n":
    lock.release()
"""

RACE = """
import sys
from pathlib import Path
from mlplab.errors import UserError
from mlplab.runs.lock import Lock
print("ready", flush=True)
sys.stdin.readline()
try:
    Lock(Path(sys.argv[1])).acquire()
    print("goes on", flush=True)
except UserError as refusal:
    print(refusal.actual, flush=True)
sys.stdin.readline()
"""


class Process(subprocess.Popen[str]):
    """A Python process that is told and asked by lines."""

    def __init__(self, code: str, path: Path) -> None:
        super().__init__(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line: str) -> None:
        assert self.stdin is not None
        self.stdin.write(f"{line}\n")
        self.stdin.flush()

    def says(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().rstrip()


@pytest.fixture
def start() -> Iterator[Callable[[str, Path], Process]]:
    processes: list[Process] = []

    def begin(code: str, path: Path) -> Process:
        processes.append(Process(code, path))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(params=["no such locks on the system", "no such locks in the file system"])
def without_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "on the system" in request.param:
        monkeypatch.setattr(module, "fcntl", None)
        return

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refuse)


def held_by(path: Path, **changes: Any) -> None:
    """Leaves the lock as a process has that never gave it back."""
    path.write_text(json.dumps({"process": 1, "host": socket.gethostname(), "since": "2026-01-01", **changes}))


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_process_is_refused_with_the_first_ones_number_and_host(
    tmp_path: Path, start: Callable[[str, Path], Process]
) -> None:
    first = start(HOLD, tmp_path / "lock")
    assert first.says() == "None"
    for refused in (Lock(tmp_path / "lock").acquire, lambda: require_free(tmp_path / "lock")):
        with pytest.raises(UserError) as refusal:
            refused()
        assert refusal.value.requirement == "a run's directory must be used by one process at a time"
        named = f"{tmp_path} is in use by process {first.pid} on {socket.gethostname()}, since 20"
        assert refusal.value.actual.startswith(named)
        assert f"`kill {first.pid}`:" in refusal.value.hint
        assert json.loads((tmp_path / "lock").read_text())["process"] == first.pid  # it stays with its owner


def test_a_process_that_was_killed_leaves_a_lock_that_is_taken_over(
    tmp_path: Path, start: Callable[[str, Path], Process]
) -> None:
    first = start(HOLD, tmp_path / "lock")
    first.says()
    first.kill()
    assert first.wait() == -signal.SIGKILL
    require_free(tmp_path / "lock")
    lock = Lock(tmp_path / "lock")
    last = lock.acquire()
    assert last is not None
    assert (last["process"], last["host"]) == (first.pid, socket.gethostname())
    assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    lock.release()


def test_what_was_given_back_is_taken_without_a_word(tmp_path: Path, start: Callable[[str, Path], Process]) -> None:
    first = start(HOLD, tmp_path / "lock")
    first.says()
    first.tell("release")
    assert first.wait() == 0
    assert (tmp_path / "lock").read_bytes() == b""
    lock = Lock(tmp_path / "lock")
    assert lock.acquire() is None
    lock.release()
    assert lock.acquire() is None
    lock.release()


def test_of_several_processes_at_once_exactly_one_goes_on(
    tmp_path: Path, start: Callable[[str, Path], Process]
) -> None:
    processes = [start(RACE, tmp_path / "lock") for _ in range(6)]
    assert [process.says() for process in processes] == ["ready"] * 6
    for process in processes:
        process.tell("go")
    said = [process.says() for process in processes]
    assert said.count("goes on") == 1
    assert all("is in use by" in line for line in said if line != "goes on")


def test_of_several_processes_exactly_one_takes_over_from_one_that_was_killed(
    tmp_path: Path, start: Callable[[str, Path], Process]
) -> None:
    held_by(tmp_path / "lock", process=dead_process())
    processes = [start(RACE, tmp_path / "lock") for _ in range(6)]
    assert [process.says() for process in processes] == ["ready"] * 6
    for process in processes:
        process.tell("go")
    assert [process.says() for process in processes].count("goes on") == 1


def test_looking_whether_it_is_free_neither_takes_nor_makes_it(
    tmp_path: Path, start: Callable[[str, Path], Process]
) -> None:
    require_free(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lock").touch()
    require_free(tmp_path / "lock")
    assert start(HOLD, tmp_path / "lock").says() == "None"


def test_releasing_what_is_not_held_changes_nothing(tmp_path: Path) -> None:
    held_by(tmp_path / "lock")
    Lock(tmp_path / "lock").release()
    assert json.loads((tmp_path / "lock").read_text())["process"] == 1


def test_no_descriptor_is_left_open(tmp_path: Path, start: Callable[[str, Path], Process]) -> None:
    start(HOLD, tmp_path / "lock").says()
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    for _ in range(5):
        with pytest.raises(UserError):
            Lock(tmp_path / "lock").acquire()
        with pytest.raises(UserError):
            require_free(tmp_path / "lock")
    if n_open is not None:
        assert len(os.listdir("/proc/self/fd")) == n_open


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe\x00", b"x" * 10_000])
def test_what_is_no_holder_holds_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    lock = Lock(tmp_path / "lock")
    assert lock.acquire() is None
    lock.release()


def test_a_folder_that_is_not_there_is_the_callers_to_tell(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "missing" / "lock").acquire()


# --- where the file system knows no locks ----------------------------------------------------------------------


@pytest.mark.usefixtures("without_flock")
def test_without_locks_a_process_that_lives_is_respected(tmp_path: Path, start: Callable[[str, Path], Process]) -> None:
    first = start(HOLD, tmp_path / "lock")
    first.says()
    for refused in (Lock(tmp_path / "lock").acquire, lambda: require_free(tmp_path / "lock")):
        with pytest.raises(UserError, match=f"in use by process {first.pid} on"):
            refused()


@pytest.mark.usefixtures("without_flock")
def test_without_locks_a_process_that_has_died_is_followed(tmp_path: Path) -> None:
    process = dead_process()
    held_by(tmp_path / "lock", process=process)
    lock = Lock(tmp_path / "lock")
    last = lock.acquire()
    assert last is not None
    assert last["process"] == process
    lock.release()
    assert lock.acquire() is None
    lock.release()


@pytest.mark.usefixtures("without_flock")
def test_without_locks_a_process_of_another_machine_cannot_be_looked_for(tmp_path: Path) -> None:
    held_by(tmp_path / "lock", process=dead_process(), host="elsewhere")
    with pytest.raises(UserError, match="on elsewhere"):
        Lock(tmp_path / "lock").acquire()


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("process", ["many", None, 10**30])
def test_without_locks_what_is_no_process_is_dead(tmp_path: Path, process: Any) -> None:
    held_by(tmp_path / "lock", process=process)
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    lock.release()
