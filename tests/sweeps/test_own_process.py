"""Jobs of several processes: each is a command of its own, and comes to the same as a run alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from comparing import difference
from launching import ROOT, launch, run_program
from omegaconf import OmegaConf
from sweeps.test_launchers import until

from mlplab.errors import ProcessKilled, RunFailed, RunStopped
from mlplab.sweeps import own_process
from mlplab.sweeps.own_process import n_processes, needs_own_process, train_in_own_process

DDP = ["data=iris", "trainer=ddp", "trainer.accelerator=cpu", "callbacks=minimal", "logger=none"]
LONG = ["trainer.max_epochs=60", "callbacks.early_stopping=null", "callbacks.checkpoints.every_seconds=0.2"]


@pytest.mark.parametrize(
    ("trainer", "needs", "n"),
    [
        ({"devices": 1, "strategy": "auto"}, False, 1),
        ({"devices": 2, "strategy": "auto"}, True, 2),
        ({"devices": 1, "strategy": "ddp"}, True, 1),
        ({"devices": "auto", "strategy": "auto", "accelerator": "cpu"}, False, 1),
        ({"devices": "auto", "strategy": "auto", "accelerator": "gpu"}, True, 1),
        ({"devices": [0, 1]}, True, 1),
        ({}, False, 1),
    ],
)
def test_a_job_that_may_start_processes_has_one_of_its_own(trainer: dict[str, Any], needs: bool, n: int) -> None:
    config = OmegaConf.create({"trainer": trainer})
    assert (needs_own_process(config), n_processes(config)) == (needs, n)


def test_the_command_of_a_job_may_have_the_name_of_its_sweep(tmp_path: Path) -> None:
    words = ["data=iris", "trainer.max_epochs=1", "callbacks=minimal", "logger=none", f"paths.logs={tmp_path}"]
    done = run_program("train.py", [*words, "sweep.name=study", "hydra.mode=RUN"], tmp_path, MLPLAB_JOB="begin")
    assert done.status == 0, done


@pytest.mark.parametrize(
    ("program", "error", "told"),
    [
        ("import sys; sys.exit('train.py: data must be there, got nothing')", RunFailed, "data must be there"),
        ("import os; os.kill(os.getpid(), 9)", ProcessKilled, "ended by signal 9"),
        ("import sys; sys.exit(143)", RunStopped, "stopped by SIGTERM"),
        ("import sys; sys.exit(3)", RunFailed, "exit status 3"),
    ],
)
def test_what_ends_a_command_is_told_by_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, error: type[BaseException], told: str
) -> None:
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(sys, "argv", ["program.py"])
    runtime = {"output_dir": str(tmp_path / "job"), "cwd": str(tmp_path)}
    hydra = OmegaConf.create(
        {"runtime": runtime, "overrides": {"hydra": ["hydra/launcher=joblib"], "task": ["seed=1"]}}
    )
    monkeypatch.setattr(own_process, "HydraConfig", SimpleNamespace(get=lambda: hydra))
    with pytest.raises(error, match=told):
        train_in_own_process(OmegaConf.create({}))
    words = own_process._words(hydra, Path("/it's here"))
    assert words == ["seed=1", "hydra.mode=RUN", "hydra.run.dir='/it\\'s here'"]


@pytest.mark.slow
def test_its_jobs_come_to_what_runs_of_several_processes_come_to(tmp_path: Path) -> None:
    words = [*DDP, "trainer.max_epochs=2"]
    done = launch([*words, "sweep.name=study", "seed=0,1"], tmp_path / "sweep")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.count("] finished   ") == 2
    assert run_program("train.py", [*words, "seed=1", f"paths.logs={tmp_path / 'alone'}"], tmp_path).status == 0
    (alone,) = (tmp_path / "alone" / "runs").iterdir()
    assert difference(tmp_path / "sweep" / "sweeps" / "study" / "1_seed-1", alone) == ""
    again = launch([*words, "sweep.name=study", "seed=0,1", "trainer.threads=1"], tmp_path / "sweep")
    assert "2 jobs (2 finished), 0 to do" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "launcher"),
    [(signal.SIGINT, []), (signal.SIGKILL, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])],
    ids=["serial, Ctrl-C", "joblib, killed"],
)
def test_a_signal_ends_all_processes_and_the_sweep_goes_on(
    tmp_path: Path, number: signal.Signals, launcher: list[str]
) -> None:
    words = ["-m", *DDP, *LONG, "sweep.name=study", "seed=0,1", f"paths.logs={tmp_path}", *launcher]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    study = tmp_path / "sweeps" / "study"
    until(lambda: process.poll() is not None or any(study.glob("*/checkpoints/last.ckpt")))
    process.send_signal(number)
    told = process.communicate(timeout=300)[1].decode()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert told.endswith("the same command goes on with the sweep\n")
    until(lambda: not _of_session(process.pid))
    states = [json.loads(path.read_text())["state"] for path in study.glob("*/status.json")]
    assert set(states) == {"stopped"}
    done = launch(words[1:], tmp_path)
    assert done.status == 0, done.stderr
    assert run_program("train.py", [*DDP, *LONG, f"paths.logs={tmp_path / 'alone'}"], tmp_path).status == 0
    (alone,) = (tmp_path / "alone" / "runs").iterdir()
    assert difference(study / "0_seed-0", alone) == ""


def _of_session(session: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z" and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
