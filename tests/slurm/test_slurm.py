"""Sweeps and runs on a real SLURM: whatever it does to a job, the job comes to the same, in its own directory."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import difference
from launching import ROOT, SMALL, Done, Running, launch, start_program
from slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ON_SLURM = "hydra/launcher=submitit_slurm"
LONG = [
    *SMALL[:-1], "trainer.max_epochs=1500", "callbacks.early_stopping=null", "callbacks.checkpoints.every_seconds=0.2",
    "logger=csv",
]  # fmt: skip


def start(cluster: Cluster, folder: Path, *words: str) -> Running:
    words = ("-m", ON_SLURM, "sweep.name=study", *words, f"paths.logs={folder}")
    return start_program("train.py", words, folder, **cluster.environment)


def finished(cluster: Cluster, folder: Path, *words: str) -> Done:
    done = start(cluster, folder, *words).end()
    assert done.status == 0, done
    return done


def until(holds: Callable[[], object], seconds: float = 200.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


def jobs_of(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "sweeps" / "study").glob("*/status.json"))


def status(run: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((run / "status.json").read_text() or "{}")
    return content


def trains(folder: Path, seed: int) -> bool:
    return (folder / "sweeps" / "study" / f"{seed}_seed-{seed}" / "checkpoints" / "last.ckpt").exists()


def array_of(cluster: Cluster) -> str:
    """The number of the one array that is there."""
    (number,) = {number.partition("_")[0] for number in cluster.jobs()}
    return number


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of the long jobs, one after the other, without a cluster."""
    folder = tmp_path_factory.mktemp("never_stopped")
    assert launch([*LONG, "sweep.name=study", "seed=0,1,2"], folder).status == 0
    return folder


def require_same(folder: Path, never_stopped: Path, n: int) -> None:
    alone = jobs_of(never_stopped)[:n]
    assert [run.name for run in jobs_of(folder)] == [run.name for run in alone]
    for run, other in zip(jobs_of(folder), alone, strict=True):
        assert difference(run, other) == ""


def test_jobs_that_reach_a_limit_or_are_queued_again_go_on(slurm: Cluster, tmp_path: Path, never_stopped: Path) -> None:
    sweep = start(slurm, tmp_path, *LONG, "seed=0,1,2")
    # As before a time limit; by Lightning's convention; as after a failure of the machine.
    events = {0: ["scancel", "--signal=USR2"], 1: ["scancel", "--signal=USR1"], 2: ["scontrol", "requeue"]}
    while events:
        for seed in [seed for seed in events if trains(tmp_path, seed)]:
            slurm.ask(*events.pop(seed), f"{array_of(slurm)}_{seed}")
        time.sleep(0.05)
    done = sweep.end()
    assert (done.status, done.stderr) == (0, "")
    assert "queued  3 jobs as " in done.stdout
    assert done.stdout.count("] finished ") == 3
    require_same(tmp_path, never_stopped, 3)
    assert [status(run)["resumed"] for run in jobs_of(tmp_path)] == [1, 1, 1]


def test_ctrl_c_leaves_jobs_to_the_cluster_and_scancel_ends_them(
    slurm: Cluster, tmp_path: Path, never_stopped: Path
) -> None:
    words = [*LONG, "seed=0,1", "hydra.launcher.array_parallelism=1"]
    first = start(slurm, tmp_path, *words)
    until(lambda: trains(tmp_path, 0))
    first.send_signal(signal.SIGINT)
    done = first.end()
    array = array_of(slurm)
    assert done.status == 130
    assert "stopped by Ctrl-C; 2 jobs stay with SLURM" in done.stderr
    assert f"`scancel {array}` makes them save and ends them" in done.stderr
    second = start(slurm, tmp_path, *words)
    out = tmp_path / f"{second.pid}.out"
    until(lambda: out.exists() and "2 jobs of an earlier launch: waiting" in out.read_text())
    assert len(slurm.jobs()) == 2  # neither the one that runs nor the one that waits is queued twice
    slurm.ask("scancel", array)
    done = second.end()
    assert done.status == 128 + signal.SIGTERM
    assert "2 jobs did not come to an end: 0_seed-0, 1_seed-1 (stopped by SIGTERM" in done.stderr
    assert [status(run)["state"] for run in jobs_of(tmp_path)] == ["stopped"]
    finished(slurm, tmp_path, *words)
    require_same(tmp_path, never_stopped, 2)


def test_searches_and_comparisons_come_to_the_same_as_without_a_cluster(slurm: Cluster, tmp_path: Path) -> None:
    search = [
        *SMALL, "hydra/sweeper=optuna", "hydra.sweeper.trials=4", "hydra.sweeper.batch=2",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    ]  # fmt: skip
    comparison = [
        *SMALL, "hydra/sweeper=comparison", "hydra.sweeper.trials=2", "hydra.sweeper.seeds=[100]",
        "hydra.sweeper.arms={sgd: {optimizer: sgd, optimizer.lr: 'tag(log,interval(1e-3,1))'}}",
    ]  # fmt: skip
    for name, words in (("search", search), ("comparison", comparison)):
        finished(slurm, tmp_path / name, *words)
        assert launch([*words, "sweep.name=study"], tmp_path / f"{name}_alone").status == 0
        require_same(tmp_path / name, tmp_path / f"{name}_alone", len(jobs_of(tmp_path / f"{name}_alone")))


def test_a_job_whose_process_is_killed_is_queued_once_more(slurm: Cluster, tmp_path: Path, never_stopped: Path) -> None:
    sweep = start(slurm, tmp_path, *LONG, "seed=0,1")
    until(lambda: trains(tmp_path, 0))
    os.kill(int(str(status(jobs_of(tmp_path)[0])["process"])), signal.SIGKILL)  # as where memory runs out
    done = sweep.end()
    assert done.status == 0, done
    assert "killed  0_seed-0" in done.stdout
    assert "launched once more" in done.stdout
    require_same(tmp_path, never_stopped, 2)


def test_what_a_job_of_higher_priority_preempts_goes_on_after_it(
    slurm: Cluster, tmp_path: Path, never_stopped: Path
) -> None:
    sweep = start(slurm, tmp_path, *LONG, "seed=0")
    words = " ".join([*LONG, "seed=1", f"paths.logs={tmp_path}"])
    slurm.ask("sbatch", f"--output={tmp_path}/out", f"--wrap=srun {sys.executable} {ROOT}/train.py {words}")

    def runs() -> list[Path]:
        return [*jobs_of(tmp_path), *(path.parent for path in tmp_path.glob("runs/*/status.json"))]

    until(lambda: len(runs()) == 2 and all((run / "checkpoints" / "last.ckpt").exists() for run in runs()))
    slurm.ask("sbatch", "--partition=urgent", "--exclusive", f"--output={tmp_path}/urgent", "--wrap=sleep 1")
    done = sweep.end()
    assert (done.status, done.stderr) == (0, "")
    until(lambda: not slurm.jobs())
    for run, other in zip(runs(), jobs_of(never_stopped), strict=False):
        assert [status(run)[name] for name in ("state", "resumed")] == ["finished", 1]
        assert difference(run, other) == ""


def test_a_run_in_a_batch_script_goes_on_in_its_directory(slurm: Cluster, tmp_path: Path) -> None:
    words = " ".join([*LONG, f"paths.logs={tmp_path}"])
    script = tmp_path / "job.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --open-mode=append --output={tmp_path}/out\n"
        f"srun {sys.executable} {ROOT}/train.py {words} seed=1 trainer.max_epochs=2\n"
        f"srun {sys.executable} {ROOT}/train.py {words} seed=0\n"
    )
    number = slurm.ask("sbatch", "--parsable", str(script)).strip()

    def runs() -> list[Path]:
        return sorted(path.parent for path in tmp_path.glob("runs/*/status.json"))

    until(lambda: len(runs()) == 2 and (runs()[1] / "checkpoints" / "last.ckpt").exists())
    slurm.ask("scancel", "--signal=USR1", number)  # by Lightning's convention: it is queued again
    until(lambda: status(runs()[1])["state"] == "stopped")
    until(lambda: status(runs()[1])["state"] == "running")
    slurm.ask("scontrol", "requeue", number)  # as after a failure of the machine
    until(lambda: status(runs()[1])["state"] == "stopped")
    until(lambda: number not in slurm.jobs())
    assert [status(run)["state"] for run in runs()] == ["finished", "finished"]
    assert status(runs()[1])["resumed"] == 2
    assert f"_slurm-{number}-" in runs()[0].name
    alone = tmp_path / "alone"
    assert launch([*LONG, "sweep.name=study", "seed=0"], alone).status == 0
    assert difference(runs()[1], jobs_of(alone)[0]) == ""
