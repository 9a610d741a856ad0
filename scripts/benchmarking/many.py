"""Ways to train many networks, each with its own seed and learning rate, timed from the first to the last file.

Each takes the settings and arrays of a workload, and gives what trains once, as those of `contestants` do: seconds,
steps over all networks, and the mean share of test rows that they get right. Those that train one network after the
other need not train all of a large sweep to show what one takes; `trained` says how many they do.
"""

import contextlib
import importlib
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarking.contestants import Arrays, Begin, Outcome, Train, best_loop, scikit_learn, skorch
from mlplab.parts import is_there

RATES = (0.0003, 0.001, 0.003, 0.01)
"""Learning rates, assigned to the networks of a sweep in turn."""


HELP = """
K is a sweep of 1, 8, 32, 128 and 512 networks, each with a seed and a learning rate of its own, in at most three
rounds: the time from the first to the last file, in a process that has imported what it needs. joblib and a stack have
all cores; who trains one network after the other has one thread, and of the two large sweeps trains a part. K takes
about fifteen minutes.
"""
"""For scripts/benchmark.py."""

PAGE = """
K1 to K512 are sweeps of so many networks, each with a seed and a learning rate of its own, trained at most three times:
from the first to the last file, in a process that has imported what it needs; µs are per network and step, and accuracy
is the mean. joblib has all cores. A stack has all cores, too. The others train one network after the other in one
thread, of K128 and K512 eight of them.
"""
"""For docs/benchmarks.md."""

IMPORTED = (
    "mlplab.training", "mlplab.cli.command_line", "mlplab.sweeps.grid",
    *(["mlplab.stacked.stacks"] if is_there("stacked") else []),
    "torch.utils.tensorboard", "tensorboard.summary.writer", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "hydra_plugins.mlplab_plugins", "rich.live",
)  # fmt: skip
"""Imports what a sweep needs, before its clock begins."""


def words_of(n_networks: int) -> list[str]:
    """Returns the command-line words of a sweep of so many networks."""
    rates = RATES if n_networks >= len(RATES) else RATES[1:2]
    seeds = n_networks // len(rates)
    return [f"seed={','.join(map(str, range(seeds)))}", f"optimizer.lr={','.join(map(str, rates))}"]


def _sweep(settings: dict[str, Any], launcher: list[str], n_networks: int) -> Train:
    """Runs `python train.py -m …` in a process forked from this one, which has imported what it needs."""
    from benchmarking.workloads import ROOT

    for name in IMPORTED:
        importlib.import_module(name)

    def run(folder: str) -> None:
        words = [*launcher, *settings["overrides"], *words_of(n_networks), f"paths.logs={folder}", "sweep.name=sweep"]
        sys.argv[:] = [str(ROOT / "train.py"), "-m", *words]
        with contextlib.suppress(SystemExit):
            runpy.run_path(sys.argv[0], run_name="__main__")

    def train(begin: Begin) -> Outcome:
        folder = tempfile.mkdtemp()  # not one that goes when a process ends: the child is to leave it
        began = begin()
        child = os.fork()
        if child == 0:
            run(folder)
            os._exit(1)
        os.waitpid(child, 0)
        seconds = time.perf_counter() - began
        results = [json.loads(path.read_bytes()) for path in Path(folder).glob("sweeps/sweep/*/result.json")]
        shutil.rmtree(folder)
        assert len(results) == n_networks
        right = sum(result["test"]["test/accuracy"] for result in results) / n_networks
        return seconds, sum(result["steps"] for result in results), right

    return train


def stacked(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Runs the sweep by `hydra/launcher=stacked`, with all directories, checkpoints, curves and results written."""
    return _sweep(settings, ["hydra/launcher=stacked", "trainer.threads=auto"], settings["networks"])


def serial(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Runs the same sweep, one job after the other."""
    return _sweep(settings, [], settings["trained"])


def joblib(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Runs the same sweep in two processes."""
    __import__("hydra_plugins.hydra_joblib_launcher")
    return _sweep(settings, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], settings["trained"])


def _in_turn(settings: dict[str, Any], arrays: Arrays, one: Callable[[dict[str, Any], Arrays], Train]) -> Train:
    trains = [one({**settings, "lr": lr}, arrays) for lr in RATES]

    def train(begin: Begin) -> Outcome:
        begin()
        outcomes = [trains[index % len(RATES)](time.perf_counter) for index in range(settings["trained"])]
        seconds, steps, right = (list(values) for values in zip(*outcomes, strict=True))
        return sum(seconds), sum(steps), sum(right) / len(right)

    return train


def loops(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by the best hand-written loop, one network after the other, nothing written."""
    return _in_turn(settings, arrays, best_loop)


def scikit_learns(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains scikit-learn's MLPClassifier, one after the other, nothing written."""
    return _in_turn(settings, arrays, scikit_learn)


def skorches(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains skorch's classifier, one after the other, nothing written."""
    return _in_turn(settings, arrays, skorch)


MANY: dict[str, tuple[str, Callable[[dict[str, Any], Arrays], Train]]] = {
    **({"stacked": ("hydra/launcher=stacked", stacked)} if is_there("stacked") else {}),
    "serial": ("this template, one by one", serial),
    "joblib": ("this template, joblib, 2 processes", joblib),
    "loops": ("best hand-written loop, one by one", loops),
    "scikit_learns": ("scikit-learn, one by one", scikit_learns),
    "skorches": ("skorch, one by one", skorches),
}
