"""A sweep whose disk has no room: told in one line, nothing lost, and the same command goes on."""

import json
import subprocess
from pathlib import Path

import pytest
from launching import SMALL, run_program

ROOM = "a sweep must fit on the disk, but OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    "words", [[], pytest.param(["hydra/launcher=stacked"], marks=pytest.mark.slow)], ids=["basic", "stacked"]
)
def test_a_sweep_without_room_ends_in_one_line_and_goes_on(tmp_path: Path, words: list[str]) -> None:
    def room(size: str, how: str = "remount,") -> None:
        command = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", logs]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted")

    logs = tmp_path / "logs"
    logs.mkdir()
    room("64k", "")
    words = ["-m", *SMALL, "sweep.name=study", "seed=0,1", *words, f"paths.logs={logs}"]
    try:
        filling = logs / "filling"
        filling.write_bytes(bytes(64 * 1024))
        full = run_program("train.py", words, tmp_path)
        assert (full.status, full.stdout) == (1, ""), full
        (line,) = full.stderr.splitlines()
        assert line.startswith(f"train.py: {ROOM}")
        assert line.endswith("try freeing some space, then the same command, which goes on with the sweep")

        filling.unlink()
        scarce = run_program("train.py", words, tmp_path)  # room for its own file, and not for a run
        assert scarce.status == 1
        (line,) = scarce.stderr.splitlines()
        assert "the disk must have room for the run's checkpoints" in line
        assert line.endswith("goes on with the sweep")
        assert len(json.loads((logs / "sweeps/study/sweep.json").read_text())["jobs"]) == 2

        room("48m")
        done = run_program("train.py", words, tmp_path)
        assert done.status == 0, done.stderr
        states = [json.loads(path.read_text())["state"] for path in logs.rglob("status.json")]
        assert states == ["finished", "finished"]
        assert not list(logs.rglob(".*.tmp"))
    finally:
        subprocess.run(["umount", "--lazy", logs], check=True)
