"""What a process takes from SLURM's variables, and that it queues its job again."""

import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mlplab.config.resolvers import new_run_name
from mlplab.slurm import is_repetition, is_requeued, name_of_command, requeue


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Within job 42, which has been queued again once; scontrol notes what it is told."""
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr("sys.argv", ["train.py", "seed=1"])
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    answers = '[ $1 = show ] && cat state; [ $1 = show ] || [ $2 = 42 ] || { echo "no job $2" >&2; exit 1; }'
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncd {tmp_path}\n{answers}\n')
    (tmp_path / "state").write_text("JobState=COMPLETING PreemptTime=None")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return monkeypatch


def test_outside_of_slurm_nothing_is_queued_and_each_run_has_a_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not is_requeued()
    assert name_of_command(["seed=1"]) == ""
    assert requeue(signal.SIGUSR1) is None
    assert not is_repetition(signal.SIGTERM)
    assert not is_repetition(signal.SIGTERM)


def test_a_job_that_is_queued_again_takes_the_name_of_the_same_command(
    in_job: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, other = new_run_name(str(tmp_path)), name_of_command(["seed=2"])
    assert name.endswith(f"_{name_of_command(['seed=1'])}")
    assert new_run_name(str(tmp_path)) != name  # it has left no directory yet
    (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / f"{name[:26]}_{other}").mkdir()
    assert new_run_name(str(tmp_path)) == name
    config = OmegaConf.create({"paths": {"logs": str(tmp_path)}, "name": "${run_name:}"})
    assert config.name == name
    later = name.replace("20", "21", 1)
    (tmp_path / "sweeps" / f"study_{later}").mkdir(parents=True)  # as experiments name their sweeps
    assert new_run_name(str(tmp_path)) == later
    in_job.delenv("SLURM_RESTART_COUNT")
    assert new_run_name(str(tmp_path)) not in (name, later)


def test_the_first_process_queues_its_job_again_for_the_signals_that_ask_for_it(
    in_job: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert requeue(signal.SIGTERM) is None  # as scancel sends it
    (tmp_path / "state").write_text("JobState=RUNNING PreemptTime=2026-05-01T12:30:59")
    assert requeue(signal.SIGTERM) == "job 42 of SLURM is queued again, and goes on from here"
    (tmp_path / "asked").unlink()
    assert requeue(signal.SIGUSR1) == "job 42 of SLURM is queued again, and goes on from here"
    assert (tmp_path / "asked").read_text() == "requeue 42\n"
    in_job.setenv("SLURM_PROCID", "1")
    assert requeue(signal.SIGUSR1) is None
    in_job.setenv("SLURM_PROCID", "0")
    in_job.setenv("SLURM_JOB_ID", "43")
    assert requeue(signal.SIGUSR2) == (
        "job 43 of SLURM could not be queued again (no job 43); the same command by hand goes on"
    )


def test_only_ctrl_c_may_come_twice(in_job: pytest.MonkeyPatch) -> None:
    in_job.setattr("mlplab.slurm._has_been_told", False)
    numbers = [signal.SIGINT, signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT]
    assert [is_repetition(number) for number in numbers] == [False, False, True, True, False]
