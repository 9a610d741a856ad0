"""Jobs by submitit on this machine, and what is said where a cluster or its package is missing."""

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from comparing import difference
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_store import ConfigStore
from launching import SMALL, launch, run_program, start_program
from omegaconf import OmegaConf
from sweeps.test_launchers import until

from hydra_plugins.mlplab_plugins import OwnLaunchers
from mlplab.errors import RunFailed
from mlplab.runs.run_reading import read_state
from mlplab.sweeps import submitted_jobs
from mlplab.sweeps.submitted_jobs import SubmittedJobs

LOCAL = ["hydra/launcher=submitit_local", "hydra.launcher.n_jobs=2"]
LONG = [
    *SMALL, "sweep.name=study", "seed=0,1", "trainer.max_epochs=1500", "callbacks.early_stopping=null",
    "callbacks.checkpoints.every_seconds=0.2",
]  # fmt: skip


@pytest.mark.slow  # its processes import all that a run needs
def test_jobs_go_on_after_ctrl_c_and_at_their_time_limit(tmp_path: Path) -> None:
    alone, folder = tmp_path / "alone", tmp_path / "submitted"
    assert launch(LONG, alone).status == 0
    words = ["-m", *LOCAL, *LONG, f"paths.logs={folder}"]
    runs = [folder / "sweeps" / "study" / name for name in ("0_seed-0", "1_seed-1")]
    first = start_program("train.py", words, folder)
    until(lambda: all((run / "checkpoints" / "last.ckpt").exists() for run in runs), 200)
    first.send_signal(signal.SIGINT)
    done = first.end()
    assert done.status == 130
    assert done.stderr.endswith("all that was reached is saved; the same command goes on with the sweep\n")
    assert [read_state(run).name for run in runs] == ["stopped", "stopped"]
    second = start_program("train.py", words, folder)
    for run in runs:
        until(lambda run=run: read_state(run).name == "running", 200)  # type: ignore[misc]
        os.kill(read_state(run).status["process"], signal.SIGUSR2)  # as submitit does before a time limit
    done = second.end()
    assert (done.status, done.stderr) == (0, "")
    for run in runs:
        assert difference(run, alone / "sweeps" / "study" / run.name) == ""
        assert read_state(run).status["resumed"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["hydra/launcher=submitit_slurm"],
            "SLURM's commands, but there is no sbatch here; try a login node",
        ),
        (["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=0"], "hydra.launcher.timeout_min must be a"),
    ],
)
def test_what_cannot_be_launched_is_refused_in_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    done = run_program("train.py", ["-m", "seed=0,1", f"paths.logs={tmp_path}", *words], tmp_path, PATH=str(tmp_path))
    assert done.status == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "sweeps").exists()


def submitted(cluster: str, folder: Path, **settings: Any) -> SubmittedJobs:
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    task = SimpleNamespace()
    return SubmittedJobs(None, config, task, cluster, {**settings, "submitit_folder": str(folder)})  # type: ignore[arg-type]


@pytest.mark.parametrize(("cluster", "name"), [("slurm", "array_parallelism"), ("local", "n_jobs")])
def test_as_many_run_at_once_as_a_search_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str, name: str
) -> None:
    monkeypatch.setattr(submitted_jobs.shutil, "which", lambda name: name)
    assert submitted(cluster, tmp_path, **{name: 3}).n_at_once == 3


def test_a_time_limit_in_which_nothing_is_saved_is_told_as_such(tmp_path: Path) -> None:
    jobs = submitted("local", tmp_path, n_jobs=2, timeout_min=1)
    jobs._numbers = {"0_a": "12", "1_b": "13"}
    for number, line in ((12, "UncompletedJobError: Job not requeued because: timed-out too many times."), (13, "")):
        (tmp_path / f"{number}_0_log.err").write_text(f"Traceback\n{line}\n")
    with pytest.raises(RunFailed, match=r"but 0_a saved none in any attempt; try hydra.launcher.timeout_min=2$"):
        jobs._require_done(["0_a", "1_b"])
    with pytest.raises(BrokenProcessPool, match="the process of 1_b died"):
        jobs._require_done(["1_b"])


def test_without_its_package_the_launcher_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "submitit").mkdir()
    (tmp_path / "submitit" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'submitit'\")")
    words = ["-m", "hydra/launcher=submitit_local", "seed=0,1", f"paths.logs={tmp_path}"]
    done = run_program("train.py", words, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.status == 2
    assert done.stderr == (
        "train.py: hydra/launcher=submitit_local must have its package installed, but No module named 'submitit'; "
        'try pip install -c constraints.txt -e ".[slurm]"\n'
    )


def test_schemas_of_another_package_do_not_stand_in_the_way_of_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.config")
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {})
    store.store(group="hydra/launcher", name="submitit_slurm", node=config.SlurmQueueConf)
    store.store(group="hydra/launcher", name="joblib", node={})
    OwnLaunchers().manipulate_search_path(ConfigSearchPathImpl())
    assert list(store.repo["hydra"]["launcher"]) == ["joblib.yaml"]
