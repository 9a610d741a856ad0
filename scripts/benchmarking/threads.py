"""Measures how large a step must be for two threads to pay, on an idle machine and on a busy one.

    python scripts/benchmarking/threads.py [seconds]

The same steps on one thread, on as many as there are cores with a passive waiting policy (threads that wait sleep, as
`train.py` sets it), and with OpenMP's own (they spin); with 0, 1, 2 and 4 processes beside them that do nothing but
compute. A process for each, in turn, three times over; each case runs for `seconds` (0.5). The mean time of a step
counts, since it is the few very long steps that a busy machine makes. Takes about ten minutes.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CASES = (
    (64, (128, 64), 10, 32),
    (64, (128, 64), 10, 128),
    (784, (256, 128), 10, 32),
    (784, (64, 128, 64), 10, 128),
    (64, (256, 256), 10, 128),
    (784, (256, 128), 10, 64),
    (784, (256, 128), 10, 128),
    (784, (256, 128), 10, 256),
    (784, (256, 128), 10, 1024),
)
"""Inputs, hidden layers, classes, rows of a batch. The first two are S and S128 of the benchmark, the last M and L."""

ROUNDS = 3
LOADS = (0, 1, 2, 4)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WAYS = {"1 thread": (1, "PASSIVE"), "passive": (CORES, "PASSIVE"), "spinning": (CORES, "")}


def microseconds(n_threads: int, seconds: float) -> list[float]:
    """Measures the mean time of a step of each case, in this process."""
    import torch

    from benchmarking.steps import learner_of
    from mlplab.engine.fused_adam import FusedAdam
    from mlplab.engine.fused_step import FusedStep

    torch.set_num_threads(n_threads)
    found = []
    for n_inputs, hidden, n_classes, n_rows in CASES:
        learner = learner_of(n_inputs, n_classes, hidden_dims=hidden)
        optimizer, fused = FusedAdam(learner.model.parameters(), lr=0.001, fused=True), FusedStep(learner)
        features, targets = torch.randn(8, n_rows, n_inputs), torch.randint(0, n_classes, (8, n_rows))
        began, n_steps = time.perf_counter(), -10  # the first ones are not counted
        while n_steps < 10 or time.perf_counter() - began < seconds:
            if n_steps == 0:
                began = time.perf_counter()
            optimizer.zero_grad()
            _, backward = fused((features[n_steps % 8], targets[n_steps % 8]))
            backward()
            optimizer.step()
            n_steps += 1
        found.append((time.perf_counter() - began) / n_steps * 1e6)
    return found


@contextmanager
def busy(n_processes: int) -> Iterator[None]:
    """Keeps this many other processes computing."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(n_threads: int, policy: str, seconds: float) -> list[float]:
    """Runs `microseconds` in a process with a waiting policy; empty stands for none."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": policy}
    if not policy:  # OpenMP's own, but for a number that tells mlplab that somebody has decided
        variables |= {"GOMP_SPINCOUNT": "300000"}
        del variables["OMP_WAIT_POLICY"]
    command = [sys.executable, __file__, str(seconds), str(n_threads)]
    done = subprocess.run(command, env=variables, check=True, capture_output=True)
    found: list[float] = json.loads(done.stdout)
    return found


def main(seconds: float) -> None:
    times: dict[tuple[int, str], list[list[float]]] = {(load, way): [] for load in LOADS for way in WAYS}
    for _ in range(ROUNDS):
        for load in LOADS:
            with busy(load):
                for way, (n_threads, policy) in WAYS.items():
                    times[load, way].append(measured(n_threads, policy, seconds))
    columns = "".join(f"{load:>3} busy: 1, µs{'passive':>9}{'spinning':>9}" for load in LOADS)
    print(f"{'':28}{'million':>8}{columns}")
    for index, (n_inputs, hidden, n_classes, n_rows) in enumerate(CASES):
        widths = [n_inputs, *hidden, n_classes]
        million = n_rows * sum((n + 1) * m for n, m in itertools.pairwise(widths)) / 1e6
        name = f"{'-'.join(map(str, widths))}, {n_rows}"
        line = f"{name:28}{million:8.2f}"
        for load in LOADS:
            one, *others = ([found[index] for found in times[load, way]] for way in WAYS)
            line += f"{statistics.median(one):16.0f}"
            for other in others:
                line += f"{statistics.median(theirs / mine for theirs, mine in zip(other, one, strict=True)):9.2f}"
        print(line)


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    if len(sys.argv) > 2:
        print(json.dumps(microseconds(int(sys.argv[2]), seconds)))
    else:
        main(seconds)
