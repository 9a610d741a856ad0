"""How large a step must be for all cores to share it: the same steps on one thread and on as many as there are cores.

    python scripts/benchmarking/threads.py

A process for each number of threads, in turn, three times over. The fastest twentieth of the steps shows what threads
bring where the machine has nothing else to do, the median what they bring here. Takes a minute, and several minutes
where there is other work.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CASES = (
    (64, (128, 64), 10, 32),
    (64, (128, 64), 10, 128),
    (64, (256, 256), 10, 32),
    (784, (128,), 10, 32),
    (64, (128, 64), 10, 256),
    (784, (256, 128), 10, 32),
    (64, (128, 64), 10, 512),
    (64, (256, 256), 10, 128),
    (784, (256, 128), 10, 64),
    (784, (256, 128), 10, 128),
)
"""Inputs, hidden layers, classes, rows of a batch."""

ROUNDS, STEPS = 3, 600


def microseconds(n_threads: int) -> list[tuple[float, float]]:
    """The fastest twentieth and the median of the steps of each case, in this process."""
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
        times = []
        for step in range(STEPS):
            began = time.perf_counter()
            optimizer.zero_grad()
            _, backward = fused((features[step % 8], targets[step % 8]))
            backward()
            optimizer.step()
            times.append((time.perf_counter() - began) * 1e6)
        found.append((statistics.quantiles(times, n=20)[0], statistics.median(times)))
    return found


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    times: dict[int, list[list[tuple[float, float]]]] = {1: [], cores: []}
    for _ in range(ROUNDS):
        for n_threads, rounds in times.items():
            variables = {**os.environ, "OMP_NUM_THREADS": str(n_threads)}
            command = [sys.executable, __file__, str(n_threads)]
            rounds.append(json.loads(subprocess.run(command, env=variables, check=True, capture_output=True).stdout))
    print(f"{'':28}multiplications   µs on 1   on {cores}  ratio   ratio of medians")
    for index, (n_inputs, hidden, n_classes, n_rows) in enumerate(CASES):
        widths = [n_inputs, *hidden, n_classes]
        weights = sum((n + 1) * m for n, m in itertools.pairwise(widths))
        (one, many), (median, of_many) = (
            [statistics.median(found[index][kind] for found in times[n_threads]) for n_threads in (1, cores)]
            for kind in (0, 1)
        )
        name = f"{'-'.join(map(str, widths))}, batch {n_rows}"
        print(
            f"{name:28}{n_rows * weights / 1e6:13.2f} M{one:10.0f}{many:7.0f}{many / one:7.2f}{of_many / median:19.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(microseconds(int(sys.argv[1]))))
    else:
        main()
