import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from mlplab.errors import UserError
from mlplab.runs import directory as module
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import flushed_together, write_atomically
from mlplab.runs.lock import Lock
from mlplab.runs.run_reading import read_status


def claimed(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    directory.claim()
    return directory


def status(path: Path) -> dict[str, Any]:
    return json.loads((path / "status.json").read_text())  # type: ignore[no-any-return]


def test_a_claim_makes_the_directory_and_says_that_the_run_is_on(tmp_path: Path) -> None:
    directory = claimed(tmp_path / "deep" / "run")
    assert directory.checkpoints.is_dir()
    assert directory.figures.is_dir()
    said = status(directory.path)
    assert (said["state"], said["process"], said["epoch"], said["step"]) == ("running", os.getpid(), 0, 0)
    assert said["reason"] is None
    assert datetime.fromisoformat(said["started"]).tzinfo is not None


def test_a_directory_that_exists_with_other_files_can_be_claimed_and_keeps_them(tmp_path: Path) -> None:
    # Hydra has written .hydra/ there before.
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("seed: 0\n")
    claimed(tmp_path)
    assert (tmp_path / ".hydra" / "config.yaml").read_text() == "seed: 0\n"


@pytest.mark.parametrize("status_text", ["", '{"state": "running", "process": 1}'])
def test_what_a_run_killed_before_its_manifest_left_is_no_hindrance(tmp_path: Path, status_text: str) -> None:
    for name in ("status.json", ".hydra/.config.yaml.0a.tmp", "csv/hparams.yaml", "tensorboard/events", ".lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(status_text if name == "status.json" else "")
    (tmp_path / ".notes").mkdir()
    claimed(tmp_path)
    assert status(tmp_path)["process"] == os.getpid()
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == [".lock", ".notes", "checkpoints", "figures", "status.json"]


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/last.ckpt", "result.json", "history.jsonl"])
def test_a_killed_run_that_has_more_than_a_beginning_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "status.json").write_text('{"state": "running"}')
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="holds another run"):
        RunDirectory(tmp_path).claim()
    assert (tmp_path / name).read_text() == "mine"


def test_a_directory_that_is_claimed_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    claimed(tmp_path).end("finished", "epoch limit")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as refusal:
        RunDirectory(tmp_path).claim()
    assert refusal.value.requirement == "a run must have a directory of its own"
    assert str(tmp_path) in refusal.value.actual
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_status_alone_is_a_claim_while_its_owner_lives(tmp_path: Path) -> None:
    # So it looks between the second and the third thing that the owner of the directory makes.
    lock = Lock(tmp_path / ".lock")
    lock.acquire()
    (tmp_path / "status.json").touch()
    with pytest.raises(UserError, match="in use by process"):
        RunDirectory(tmp_path).claim()
    lock.release()


def test_the_same_object_cannot_claim_twice(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        directory.claim()
    directory.end("finished", "epoch limit")
    with pytest.raises(UserError, match="must have a directory of its own"):
        directory.claim()


def test_a_path_below_a_file_is_refused_as_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError) as refusal:
        RunDirectory(tmp_path / "file" / "run").claim()
    assert refusal.value.requirement == "the run's directory must be writable"
    assert refusal.value.hint == "paths.logs=SOMEWHERE_ELSE"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_that_is_a_file_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        RunDirectory(tmp_path / "file").claim()
    assert (tmp_path / "file").read_text() == "mine"


def test_of_fifty_threads_exactly_one_gets_the_directory(tmp_path: Path) -> None:
    start = Barrier(50)

    def claim(_: int) -> bool:
        start.wait()
        try:
            claimed(tmp_path / "run")
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(claim, range(50))) == 1
    assert status(tmp_path / "run")["state"] == "running"


def test_an_update_changes_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    before = status(tmp_path)
    directory.update(epoch=3, step=120)
    after = status(tmp_path)
    assert (after["epoch"], after["step"]) == (3, 120)
    unchanged = before.keys() - {"epoch", "step", "updated"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert after["updated"] >= before["updated"]


def test_the_end_says_how_and_why(tmp_path: Path) -> None:
    claimed(tmp_path).end("failed", "because")
    said = status(tmp_path)
    assert (said["state"], said["reason"]) == ("failed", "because")
    assert said["ended"] >= said["started"]


def test_phases_follow_each_other_and_have_their_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    directory = claimed(tmp_path)
    directory.begin_phase("data")
    now = 101.5
    directory.begin_phase("training")
    now = 111.5
    directory.end("finished", "epoch limit")
    assert status(tmp_path)["seconds"] == {"data": 1.5, "training": 10.0}


def test_paths_are_absolute_so_that_a_change_of_directory_does_not_move_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = claimed(Path("run"))
    monkeypatch.chdir("/")
    directory.update(epoch=1)
    assert status(tmp_path / "run")["epoch"] == 1
    assert directory.checkpoints == tmp_path / "run" / "checkpoints"
    assert directory.tensorboard == tmp_path / "run" / "tensorboard"
    assert directory.figures == tmp_path / "run" / "figures"


FIFTY = """
import os, sys
from pathlib import Path
from mlplab.config.resolvers import new_run_name
from mlplab.runs.directory import RunDirectory
go, start = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.close(start)
        os.read(go, 1)
        RunDirectory(Path(sys.argv[1]) / new_run_name()).claim()
        os._exit(0)
os.close(start)
sys.exit(sum(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(50)))
"""


def test_fifty_processes_that_start_together_get_fifty_directories(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FIFTY, str(tmp_path)], check=True)
    directories = list(tmp_path.iterdir())
    assert len(directories) == 50
    assert len({status(directory)["process"] for directory in directories}) == 50
    assert {path.name for directory in directories for path in directory.iterdir()} == {
        ".lock", "checkpoints", "figures", "status.json",
    }  # fmt: skip


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small file system of its own, in memory; skips where mounting is not permitted."""
    place = tmp_path / "mounted"
    place.mkdir()

    def make(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not permitted")
        return place

    yield make
    if os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder: Path) -> None:
    """Leaves no byte free."""
    with (folder / "filling").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_disk_without_room_is_refused_and_left_empty(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    with pytest.raises(UserError) as refusal:
        RunDirectory(disk / "run").claim(room=2_000_000)
    assert refusal.value.requirement == "the disk must have room for the run's checkpoints"
    assert refusal.value.actual == f"{disk / 'run'} has 1.0 MB free, and they need about 2.0 MB"
    assert list((disk / "run").iterdir()) == []


def test_a_run_that_goes_on_needs_room_too(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    claimed(disk / "run").end("stopped", "Ctrl-C")
    with pytest.raises(UserError, match=r"1\.0 MB free, and they need about 2\.0 MB; try freeing some space, then the"):
        RunDirectory(disk / "run").reopen(room=2_000_000)
    assert status(disk / "run")["state"] == "stopped"
    RunDirectory(disk / "run").reopen()  # by the next process, or by this one: it is free


def test_how_a_run_ended_is_written_on_a_full_disk(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    directory = claimed(disk / "run")
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        directory.update(epoch=1)
    directory.end("failed", "the disk was full", infeasible=True)
    said = status(disk / "run")
    assert (said["state"], said["reason"], said["infeasible"]) == ("failed", "the disk was full", True)
    assert {path.name for path in (disk / "run").iterdir()} == {".lock", "checkpoints", "figures", "status.json"}


def test_a_shorter_end_than_beginning_is_whole_json_on_a_full_disk(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    directory = claimed(disk / "run")
    directory.update(reason="long " * 300)
    fill(disk)
    directory.end("failed", "short")
    assert status(disk / "run")["reason"] == "short"


def test_a_folder_for_logs_that_is_read_only_is_refused(mount: Callable[[str], Path]) -> None:
    logs = mount("size=1m,ro")
    with pytest.raises(UserError) as refusal:
        RunDirectory(logs / "runs" / "name").claim()
    assert refusal.value.requirement == "the run's directory must be writable"
    assert refusal.value.actual == f"{logs / 'runs' / 'name'}: Read-only file system"
    assert refusal.value.hint == "paths.logs=SOMEWHERE_ELSE"


def test_a_run_in_a_folder_that_became_read_only_cannot_go_on(mount: Callable[[str], Path]) -> None:
    logs = mount("size=1m")
    claimed(logs / "run").end("stopped", "Ctrl-C")
    subprocess.run(["mount", "-o", "remount,ro", str(logs)], check=True)
    with pytest.raises(UserError, match=r"Read-only file system; try chmod -R u.w"):
        RunDirectory(logs / "run").reopen()
    with pytest.raises(UserError, match="Read-only file system"):
        RunDirectory(logs / "run").claim()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            RunDirectory(tmp_path / "run").claim()
    finally:
        tmp_path.chmod(0o700)


def test_a_claim_that_fails_leaves_the_directory_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path / "run")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", refuse)
    with pytest.raises(UserError, match="No space left on device"):
        directory.claim()
    assert list((tmp_path / "run").iterdir()) == []
    monkeypatch.undo()
    claimed(tmp_path / "run")


def test_a_claim_that_comes_second_does_not_keep_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another run comes between the look into the directory and the claim, and ends.
    def come_between(path: Path, room: int, hint: str) -> None:
        monkeypatch.undo()
        claimed(path).end("finished", "epoch limit")

    monkeypatch.setattr(module, "require_room", come_between)
    with pytest.raises(UserError, match="must have a directory of its own"):
        RunDirectory(tmp_path).claim()
    assert status(tmp_path)["state"] == "finished"
    assert (tmp_path / ".lock").read_text() == ""
    RunDirectory(tmp_path).reopen()


def test_a_run_that_is_on_cannot_be_claimed_or_gone_on_with(tmp_path: Path) -> None:
    claimed(tmp_path)
    for refused in (RunDirectory(tmp_path).claim, RunDirectory(tmp_path).reopen):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
            refused()


def test_a_run_that_goes_on_is_running_again_and_counts_how_often(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    directory.add_seconds("fit", 1.5)
    directory.end("failed", "diverged", infeasible=True)
    started = status(tmp_path)["started"]
    for times in (1, 2):
        again = RunDirectory(tmp_path)
        again.reopen()
        said = status(tmp_path)
        assert (said["state"], said["reason"], said["resumed"]) == ("running", None, times)
        assert (said["started"], said["seconds"]) == (started, {"fit": 1.5})
        assert not {"ended", "infeasible"} & said.keys()
        assert again.taken_over is None
        again.end("stopped", "Ctrl-C")


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_finished_run_whose_resumption_fails_before_it_saves_stays_finished(tmp_path: Path, state: str) -> None:
    run = RunDirectory(tmp_path / "run")
    run.claim()
    (run.checkpoints / "last.ckpt").write_bytes(b"1")
    run.end("finished", "epoch limit")
    before = status(run.path)
    again = RunDirectory(run.path)
    again.reopen()
    assert again.has_finished
    again.add_seconds("fit", 3.0)
    again.end(state, "an error")
    assert status(run.path) == before
    again.reopen()
    (run.checkpoints / "last.ckpt").write_bytes(b"22")
    os.utime(run.checkpoints / "last.ckpt", ns=(1, 1))
    again.end(state, "an error")
    assert (status(run.path)["state"], status(run.path)["reason"]) == (state, "an error")


def test_a_run_whose_resumption_is_refused_keeps_its_state(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.claim()
    run.end("stopped", "Ctrl-C")
    for is_refused, expected in ((True, "stopped"), (False, "failed")):
        again = RunDirectory(run.path)
        again.reopen()
        again.end("failed", "other data", is_refused=is_refused)
        assert status(run.path)["state"] == expected


def test_going_on_takes_away_what_is_half_written_and_nothing_else(tmp_path: Path) -> None:
    claimed(tmp_path).end("stopped", "Ctrl-C")
    half_written = [".status.json", ".hydra/.config.yaml", "checkpoints/.last.ckpt", "exports/.model.onnx"]
    others = ["notes.tmp", ".mine.tmp", "checkpoints/last.ckpt"]
    for name in (*(f"{name}.0123456789abcdef.tmp" for name in half_written), *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with ThreadPoolExecutor() as pool:  # another process exports meanwhile
        exporting, done = threading.Event(), threading.Event()

        def write(path: Path) -> None:
            exporting.set()
            assert done.wait(60)
            path.write_text("whole")

        export = pool.submit(write_atomically, tmp_path / "exports" / "model.pt2", write)
        assert exporting.wait(60)
        RunDirectory(tmp_path).reopen()
        done.set()
        export.result()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {".lock", "status.json", "exports/model.pt2", *others}


def test_a_run_whose_process_was_killed_says_who_had_it(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from mlplab.runs.directory import RunDirectory; "
    code += "RunDirectory(Path(sys.argv[1])).claim(); os.kill(os.getpid(), 9)"
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")])
    assert killed.wait() == -9
    assert status(tmp_path / "run")["state"] == "running"
    directory = RunDirectory(tmp_path / "run")
    directory.reopen()
    assert directory.taken_over == f"process {killed.pid} on {socket.gethostname()}"


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "3", "{}", '{"state": 3}', '{"state": "failed", "resumed": "x"}',
     '{"state": "failed", "seconds": {"fit": "long"}}', '{"state": "failed", "seconds": []}', "[" * 100_000, "\udcff"],
)  # fmt: skip
def test_a_status_that_no_run_writes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as refusal:
        read_status(tmp_path)
    assert refusal.value.requirement == "the directory of a run must have its status.json"
    assert "\n" not in str(refusal.value)


def test_a_directory_without_a_status_is_refused_and_an_empty_one_is_a_run_that_died_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_status(tmp_path)
    (tmp_path / "status.json").touch()
    assert read_status(tmp_path) == {"state": "running"}


# --- what reaches the disk, and when -----------------------------------------------------------------------


def test_what_is_noted_is_written_with_the_next_change(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    directory.note(epoch=3)
    assert read_status(tmp_path / "run")["epoch"] == 0
    directory.end("finished", "converged")
    assert read_status(tmp_path / "run")["epoch"] == 3


def test_a_directory_is_given_back_when_its_end_is_on_the_disk(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    with flushed_together():
        directory.end("finished", "converged")
        assert read_status(tmp_path / "run")["state"] == "running"
        with pytest.raises(UserError, match="one process at a time"):
            RunDirectory(tmp_path / "run").reopen()
    assert read_status(tmp_path / "run")["state"] == "finished"
    RunDirectory(tmp_path / "run").reopen()
