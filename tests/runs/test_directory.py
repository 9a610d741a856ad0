import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from mlplab.errors import Refusal
from mlplab.runs import directory as module
from mlplab.runs.directory import RunDirectory


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


def test_a_directory_that_is_claimed_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    claimed(tmp_path).end("finished", "epoch limit")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(Refusal) as refusal:
        RunDirectory(tmp_path).claim()
    assert refusal.value.must == "a run's directory must be its own"
    assert str(tmp_path) in refusal.value.given
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_status_alone_is_a_claim(tmp_path: Path) -> None:
    # So it looks between the first and the second thing that the owner of the directory makes.
    (tmp_path / "status.json").touch()
    with pytest.raises(Refusal, match="must be its own"):
        RunDirectory(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_the_same_object_cannot_claim_twice(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    with pytest.raises(Refusal, match=f"in use by process {os.getpid()} on"):
        directory.claim()
    directory.end("finished", "epoch limit")
    with pytest.raises(Refusal, match="must be its own"):
        directory.claim()


def test_a_path_below_a_file_is_refused_as_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal) as refusal:
        RunDirectory(tmp_path / "file" / "run").claim()
    assert refusal.value.must == "the run's directory must be writable"
    assert refusal.value.remedy == "paths.logs=SOMEWHERE_ELSE"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_that_is_a_file_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal):
        RunDirectory(tmp_path / "file").claim()
    assert (tmp_path / "file").read_text() == "mine"


def test_of_fifty_threads_exactly_one_gets_the_directory(tmp_path: Path) -> None:
    start = Barrier(50)

    def claim(_: int) -> bool:
        start.wait()
        try:
            claimed(tmp_path / "run")
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(claim, range(50))) == 1
    assert status(tmp_path / "run")["state"] == "running"


CLAIM = """
import sys
from pathlib import Path
from mlplab.errors import Refusal
from mlplab.runs.directory import RunDirectory
directory = RunDirectory(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    directory.claim()
    print("claimed")
except Refusal:
    print("refused")
"""


def test_of_several_processes_exactly_one_gets_the_directory_and_its_status_is_that_ones(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM, str(tmp_path / "run")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in processes]
    assert sorted(said) == ["claimed"] + ["refused"] * 7
    assert status(tmp_path / "run")["process"] == processes[said.index("claimed")].pid


def test_an_update_changes_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    before = status(tmp_path)
    directory.update(epoch=3, step=120)
    after = status(tmp_path)
    assert (after["epoch"], after["step"]) == (3, 120)
    unchanged = before.keys() - {"epoch", "step", "updated"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert after["updated"] >= before["updated"]


def test_a_status_is_whole_also_when_writing_it_fails(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    before = (tmp_path / "status.json").read_text()
    with pytest.raises(TypeError):
        directory.update(epoch=object())
    assert (tmp_path / "status.json").read_text() == before


@pytest.mark.parametrize("state", ["finished", "failed", "stopped"])
def test_the_end_says_how_and_why(tmp_path: Path, state: str) -> None:
    claimed(tmp_path).end(state, "because")
    said = status(tmp_path)
    assert (said["state"], said["reason"]) == (state, "because")
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


def test_ending_a_phase_when_none_is_on_changes_nothing(tmp_path: Path) -> None:
    directory = claimed(tmp_path)
    directory.end_phase()
    directory.end("failed", "no data")
    assert "seconds" not in status(tmp_path)


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
