"""A job in whichever process: what it takes up, what it clears away, and that it does not outlive its launcher."""

import json
import math
import multiprocessing
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mlplab.errors import RunStopped, UserError
from mlplab.runs.directory import RunDirectory
from mlplab.runs.earlier_launch import begun_before, objective_of_finished
from mlplab.runs.signals import HANDLED
from mlplab.sweeps.job import STOPPING, JobOfSweep

CONFIG = OmegaConf.create({"seed": 0, "optimizer": {"lr": "${seed}"}, "paths": {"run": "here"}})


def begun(directory: Path, **also: str) -> Path:
    """A job's directory as a run leaves it."""
    (directory / ".hydra").mkdir(parents=True)
    OmegaConf.save(CONFIG, directory / ".hydra" / "config.yaml")
    for name, text in {"status.json": '{"state": "stopped"}', "manifest.json": "{}", **also}.items():
        (directory / name).write_text(text)
    return directory


def test_a_job_that_was_begun_goes_on(tmp_path: Path) -> None:
    assert begun_before(begun(tmp_path / "job"), CONFIG)
    elsewhere = OmegaConf.merge(CONFIG, {"paths": {"run": "there"}})
    assert isinstance(elsewhere, DictConfig)
    assert begun_before(tmp_path / "job", elsewhere)


def test_nothing_there_begins(tmp_path: Path) -> None:
    assert not begun_before(tmp_path / "job", CONFIG)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    other = OmegaConf.merge(CONFIG, {"seed": 1})
    assert isinstance(other, DictConfig)
    with pytest.raises(UserError, match="job: seed=1 instead of 0"):
        begun_before(begun(tmp_path / "job"), other)


@pytest.mark.parametrize("status", ["", '{"state": "failed"}', '{"state": "stopped"}'])
def test_what_a_job_left_that_never_began_is_cleared_away_when_it_begins(tmp_path: Path, status: str) -> None:
    job = tmp_path / "job"
    for name in (
        "status.json",
        ".lock",
        ".status.json.0123456789abcdef.tmp",
        ".hydra/config.yaml",
        "csv/hparams.yaml",
        "data.json",
    ):
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_text(status if name == "status.json" else "")
    assert not begun_before(job, CONFIG)
    run = RunDirectory(job)
    run.claim()
    run.release()
    assert sorted(path.name for path in job.iterdir()) == [".lock", "checkpoints", "figures", "status.json"]


@pytest.mark.parametrize("name", ["notes.txt", "history.jsonl", "checkpoints/last.ckpt"])
@pytest.mark.parametrize("lost", ["manifest.json", ".hydra/config.yaml"])
def test_a_job_that_has_lost_its_manifest_is_told_and_kept(tmp_path: Path, name: str, lost: str) -> None:
    job = begun(tmp_path / "job")
    (job / name).parent.mkdir(exist_ok=True)
    (job / name).write_text("")
    (job / lost).unlink()
    before = sorted(job.rglob("*"))
    with pytest.raises(UserError, match=r"must have its manifest\.json and .*to let it begin again"):
        begun_before(job, CONFIG)
    assert sorted(job.rglob("*")) == before


@pytest.mark.parametrize(
    ("status", "result", "objective"),
    [
        ({"state": "finished"}, {"objective": 0.5}, 0.5),
        ({"state": "finished", "pruned": True}, {"objective": 0.5}, 0.5),
        ({"state": "finished"}, {"objective": None}, math.nan),
        ({"state": "finished"}, None, math.nan),
        ({"state": "stopped"}, {"objective": 0.5}, None),
        ({"state": "failed", "infeasible": True}, {"objective": 0.5}, None),
        ({"state": "running"}, None, None),
    ],
)
def test_only_what_has_finished_is_not_run_again(
    tmp_path: Path, status: dict[str, Any], result: dict[str, Any] | None, objective: float | None
) -> None:
    (tmp_path / "status.json").write_text(json.dumps(status))
    if result is not None:
        (tmp_path / "result.json").write_text(json.dumps(result))
    assert objective_of_finished(tmp_path) == pytest.approx(objective, nan_ok=True)


def speak(config: DictConfig) -> Any:
    print("to be seen nowhere")
    return config.seed


def test_a_job_says_nothing_and_none_begins_while_the_sweep_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobOfSweep(speak, tmp_path, tmp_path)
    assert job(CONFIG) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / STOPPING).touch()
    with pytest.raises(RunStopped):
        job(CONFIG)


def test_within_the_process_it_was_made_in_it_changes_no_signal(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in HANDLED]
    pickle.loads(pickle.dumps(JobOfSweep(speak, tmp_path, tmp_path)))
    assert [signal.getsignal(number) for number in HANDLED] == handlers


def slowly(config: DictConfig) -> None:
    """A run in small: it answers SIGTERM by saving, and writes who it is."""
    folder = Path(config.folder)

    def save(number: int, frame: object) -> None:
        (folder / "saved").touch()
        raise SystemExit

    signal.signal(signal.SIGTERM, save)
    (folder / "begun").touch()
    while True:
        time.sleep(0.05)


def worker(job: bytes, folder: Path, when: str) -> None:
    """What a launcher's process does: it unpickles the job and calls it."""
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
    launcher = os.getppid()

    def outlive() -> None:
        (folder / "begun").touch()
        while os.getppid() == launcher:
            time.sleep(0.01)

    if when == "before a job":
        outlive()  # while it imports what the job needs
        while os.path.exists(f"/proc/{launcher}"):
            time.sleep(0.01)
    loaded = pickle.loads(job)
    (folder / "argv").write_text(" ".join(sys.argv))
    print("heard", file=sys.stderr, flush=True)
    if when == "idle":
        outlive()
        raise BrokenPipeError  # as the queue between them has it
    loaded(OmegaConf.create({"folder": str(folder)}))


def launcher(folder: Path, when: str) -> None:
    job = pickle.dumps(JobOfSweep(slowly, folder, folder))
    process = multiprocessing.get_context("fork").Process(target=worker, args=(job, folder, when))
    process.start()
    (folder / "worker").write_text(str(process.pid))
    (folder / "worker").rename(folder / "worker.pid")
    process.join()


@pytest.mark.parametrize(
    "when", ["with a job", *(pytest.param(when, marks=pytest.mark.slow) for when in ("idle", "before a job"))]
)
def test_a_worker_ends_when_its_launcher_was_killed(tmp_path: Path, when: str) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=launcher, args=(tmp_path, when))
    process.start()
    _until(lambda: all((tmp_path / name).exists() for name in ("begun", "worker.pid")))
    worker = int((tmp_path / "worker.pid").read_text())
    process.kill()
    process.join()
    _until(lambda: not _is_alive(worker))
    assert (tmp_path / "saved").exists() == (when == "with a job")
    assert (tmp_path / "said").read_text() == ("" if when == "before a job" else "heard\n")
    if when != "before a job":
        assert (tmp_path / "argv").read_text() == "train.py"  # as the command was typed, for the manifest


def test_a_job_on_another_machine_is_asked_to_stop_by_the_file_of_the_sweep(tmp_path: Path) -> None:
    job = JobOfSweep(slowly, tmp_path, tmp_path)
    job.host = "elsewhere"
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=worker, args=(pickle.dumps(job), tmp_path, "with a job"))
    process.start()
    _until((tmp_path / "begun").exists)
    (tmp_path / STOPPING).touch()
    process.join(30)
    assert (tmp_path / "saved").exists()


def _is_alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


def _until(holds: Any) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < 30
        time.sleep(0.05)
