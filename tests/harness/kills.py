"""Kills runs and sweeps at random moments, lets them go on, and compares them with those that were never killed.

    PYTHONPATH=tests python -m harness.kills [MINUTES] [CASE …] [--seed N]

goes through the cases again and again, and prints what differs.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.outcomes import STACKED, ended_otherwise
from launching import Done, Running

SMALL = ["data=wine", "trainer.log_every_n_steps=1", "logger=many", "callbacks.figures=null"]
OFTEN = "callbacks.checkpoints.every_seconds=0.02"
EPOCHS = "callbacks.checkpoints.every_n_epochs=1"

RUNS = {
    "nadam, exponential": ["optimizer=nadam", "scheduler=exponential", OFTEN, "trainer.max_epochs=40"],
    "adam, dropout": ["model.dropout=0.5", OFTEN, "trainer.max_epochs=40"],
    "momentum, one cycle": ["optimizer=momentum", "scheduler=one_cycle", EPOCHS, "trainer.max_epochs=30"],
    "plateau, batch normalization": [
        "scheduler=plateau", "scheduler.patience=0", "model.normalization=batch", OFTEN, "trainer.max_epochs=30",
    ],
    "rmsprop, within an epoch": ["optimizer=rmsprop", "trainer.val_check_interval=2", OFTEN, "trainer.max_epochs=30"],
    "lbfgs": ["optimizer=lbfgs", "optimizer.max_iter=3", OFTEN, "trainer.max_epochs=15"],
    "early stopping": [
        "callbacks.early_stopping.patience=2", "optimizer.lr=0.02", EPOCHS, "trainer.max_epochs=60",
    ],
    "accumulated gradients": ["trainer.accumulate_grad_batches=3", OFTEN, "trainer.max_epochs=40"],
    "regression, 64 bits": ["data=diabetes", "trainer.precision=64-true", "optimizer=adamw", OFTEN,
                            "trainer.max_epochs=25"],
    "muon, plain engine": ["optimizer=muon", "engine=plain", OFTEN, "trainer.max_epochs=20"],
    "every step": ["callbacks.checkpoints.every_seconds=0", "trainer.max_epochs=8"],
    "every other step is logged": ["trainer.log_every_n_steps=3", "trainer.check_val_every_n_epoch=2", OFTEN,
                                   "trainer.max_epochs=40"],
}  # fmt: skip

_SPACE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
_ARMS = "hydra.sweeper.arms={a:{optimizer:adam,optimizer.lr:'interval(1e-4,1e-2)'},b:{optimizer:sgd}}"
SWEEPS = {
    "grid": ["seed=0,1,2"],
    "stacked": ["seed=0,1,2,3", *STACKED],
    "stacked in two processes": ["seed=range(0,8)", *STACKED, "hydra.launcher.processes=2"],
    "joblib": ["seed=0,1,2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "optuna": ["hydra/sweeper=optuna", _SPACE, "hydra.sweeper.trials=5"],
    "comparison": ["hydra/sweeper=comparison", _ARMS, "hydra.sweeper.trials=2", "hydra.sweeper.seeds=[7]"],
}


PATIENCE = 20.0
"""Seconds that workers may take to end after their launcher."""


@dataclass
class Count:
    """What came of the kills of a case."""

    runs: int = 0
    kills: int = 0
    leftovers: int = 0
    wrong: list[str] = field(default_factory=list)


class Killer:
    """Runs cases in a folder.

    Args:
        folder: for their logs.
        seed: of the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self._seconds: dict[str, float] = {}

    def kill(self, name: str, most: int = 3) -> Count:
        """Kills a case up to `most` times, lets it end, and compares."""
        straight, seconds = self._never_killed(name)
        logs = self._empty()
        count = Count(runs=1)
        done: Done | None = None
        for _ in range(self.random.randint(1, most)):
            done = self._run(name, logs, self.random.uniform(0.0, seconds))
            count.wrong += [f"a traceback: {done.stderr[-800:]}"] if "Traceback" in done.stderr else []
            if done.status != -signal.SIGKILL:
                break
            count.kills += 1
        if done is None or done.status != 0:
            done = self._run(name, logs)
        if done.status != 0:
            count.wrong.append(f"it does not go on: {done.stderr[-800:]} {done.stdout[-800:]}")
        left = [str(path.relative_to(logs)) for path in logs.rglob(".*.tmp")]
        left += [str(path.relative_to(logs)) for path in logs.rglob("*.lock*.rename")]
        count.leftovers = len(left)
        count.wrong += [f"left {path}" for path in left]
        count.wrong += ended_otherwise(SWEEPS.get(name, []), straight, logs)
        return count

    def _empty(self) -> Path:
        logs = self.folder / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        return logs

    def _never_killed(self, name: str) -> tuple[Path, float]:
        straight = self.folder / "straight" / name
        if name not in self._seconds:
            seconds = []
            for _ in range(2):  # the first may wait for the disk
                logs = self._empty()
                began = time.monotonic()
                done = self._run(name, logs)
                assert done.status == 0, done
                seconds.append(time.monotonic() - began)
            shutil.copytree(logs, straight)
            self._seconds[name] = min(seconds)
        return straight, self._seconds[name]

    def _run(self, name: str, logs: Path, after: float | None = None) -> Done:
        """Begins a case, or goes on with it, and kills it after so many seconds."""
        if name in SWEEPS:
            small = ["data=wine", "callbacks=minimal", EPOCHS, "trainer.max_epochs=20", "logger=many"]
            words = ["-m", *small, *SWEEPS[name], f"paths.logs={logs}", "sweep.name=s"]
        elif (logs / "r" / ".hydra" / "config.yaml").exists():
            words = [f"resume={logs / 'r'}"]
        else:
            shutil.rmtree(logs, ignore_errors=True)  # nothing had been learned
            words = [*SMALL, *RUNS[name], f"hydra.run.dir={logs / 'r'}"]
        process = Running("train.py", words, self.folder / "scratch", None, XDG_STATE_HOME=str(self.folder / "state"))
        if after is not None:
            time.sleep(after)
            kill = os.kill if self.random.random() < 0.5 else os.killpg  # the launcher alone, or its workers too
            with contextlib.suppress(ProcessLookupError):
                kill(process.pid, signal.SIGKILL)
        process.process.join()
        self._let_workers_end(process.pid)  # before its output is read: theirs belongs to it
        return process.end()

    def _let_workers_end(self, session: int) -> None:
        """Waits until workers whose launcher was killed have finished their step and saved.

        joblib's own end after five minutes where they had not been given a job: these are not waited for.
        """
        began = time.monotonic()
        while pids := subprocess.run(["pgrep", "-s", str(session)], capture_output=True, text=True).stdout.split():
            if time.monotonic() - began > PATIENCE:
                for process in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
            time.sleep(0.1)


def main(words: Sequence[str]) -> None:
    seed = int(words[words.index("--seed") + 1]) if "--seed" in words else 0
    minutes = float(words[0]) if words and words[0].replace(".", "").isdecimal() else 5.0
    names = [word for word in words if word in RUNS or word in SWEEPS] or [*RUNS, *SWEEPS]
    total: dict[str, Count] = {name: Count() for name in names}
    ends = time.monotonic() + 60 * minutes
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), seed)
        while time.monotonic() < ends:
            for name in names:
                count, one = total[name], killer.kill(name)
                count.runs, count.kills = count.runs + 1, count.kills + one.kills
                count.leftovers += one.leftovers
                count.wrong += one.wrong
                for what in one.wrong[:5]:
                    print(f"{name}: {what}", flush=True)
                if time.monotonic() > ends:
                    break
    for name, count in total.items():
        print(f"{name}: {count.runs} runs, {count.kills} kills, {count.leftovers} left, {len(count.wrong)} wrong")
    print(f"all: {sum(c.runs for c in total.values())} runs, {sum(c.kills for c in total.values())} kills")


if __name__ == "__main__":
    main(sys.argv[1:])
