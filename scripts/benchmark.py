"""Time per step of a whole run, against hand-written loops and other libraries on the same data and network.

    python scripts/benchmark.py ['workloads=[S,M]'] [rounds=5] [threads=1] [mnist=FOLDER] [json=FILE] [page=FILE.md]
                                [--json]

Each contestant has a process of its own, on as many cores as it has threads; they train in turn, so that a
machine that slows down slows all of them. The template runs as `python train.py` does, with TensorBoard,
checkpoints, validation, early stopping and progress; the loops and most others only train. The figure to quote
is the ratio to the best loop in the same round. M and L take MNIST from `mnist`, or images that are made.
skorch, Keras and JAX come with the extra `bench`; what is not installed is left out with a word. `page` puts
each workload, once measured, on a page with a picture, as docs/benchmarks.md; what it has of others stays. S
and S128, which take a fraction of a second, are trained three times as often as `rounds` says. S to T take
about half an hour on two cores.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarking.contestants import CONTESTANTS
from benchmarking.report import MANY, figures_of, print_table, write_page
from benchmarking.workloads import ROOT, WORKLOADS, prepare, read_settings

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.config.suggestions import nearest_name
from mlplab.errors import RunFailed, UserError
from mlplab.parts import is_there
from mlplab.runs.files import write_bytes

if is_there("sweeps"):
    from benchmarking.many import HELP
else:
    HELP = ""

EVERYBODY = {**CONTESTANTS, **MANY}
SWEEPS = [name for name, workload in WORKLOADS.items() if workload.networks]
ALL = [*(name for name in WORKLOADS if name not in SWEEPS), *(["K"] if SWEEPS else [])]
"""Workloads as they are typed; a single sweep, K32 for example, can be as well."""

MOST_ROUNDS = 3
"""Most rounds of a sweep."""

SHORT = ("S", "S128")
TIMES = 3
"""As many rounds of those: they take a fraction of a second, in which other work on the machine shows."""

ON_ALL_CORES = ("stacked", "joblib")

OPTIONS = {
    "workloads": Option("text", f"[{','.join(ALL)}]", example="[S,M]"),
    "contestants": Option("text", f"[{','.join(EVERYBODY)}]", example="[template,best_loop]"),
    "rounds": Option("count", 5, example="5"),
    "threads": Option("count", 1, example="1"),
    "mnist": Option("path", ROOT.parent / "shared" / "data" / "mnist", example="mnist"),
    "json": Option("path", example="figures.json"),
    "page": Option("path", example="docs/benchmarks.md"),
    **JSON,
}

Figures = dict[str, dict[str, dict[str, float]]]
"""Workload → contestant → figure."""


class Worker:
    """Process of one contestant, which trains when it is asked to."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if name in ON_ALL_CORES:
            threads = len(cores) or os.cpu_count() or 1
        cores = cores[:threads]
        pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))] if cores else []
        variables = {
            f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB")
        }
        command = [*pinned, sys.executable, str(ROOT / "scripts" / "benchmarking" / "worker.py"), name, str(folder)]
        self.name = name
        self.process = subprocess.Popen(
            [*command, str(time.time())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("BENCHMARK_ERRORS") else None,
            text=True,
            env={**os.environ, **variables},
        )

    def train(self) -> dict[str, Any]:
        """Trains once.

        Raises:
            RunFailed: the process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("train\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it may have said why
        line = self.process.stdout.readline()
        if not line:
            raise RunFailed(f"the process of {self.name} ended; try BENCHMARK_ERRORS=1 python scripts/benchmark.py …")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Lets the process go, and waits for it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def worker(name: str, folder: Path, threads: int) -> Iterator[Worker]:
    process = Worker(name, folder, threads)
    try:
        yield process
    finally:
        process.end()


def measure(folder: Path, contestants: list[str], rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """One workload: each contestant is started and trains once, which is not counted; then all train in turn.

    The first contestant is the one that all are measured by.
    """
    figures: dict[str, dict[str, float]] = {}
    times: dict[str, list[float]] = {}
    with ExitStack() as stack:
        workers = []
        for name in contestants:
            process = stack.enter_context(worker(name, folder, threads))
            first = process.train()
            if "missing" in first:
                print(f"  {EVERYBODY[name][0]} is left out: {first['missing']} is not installed", flush=True)
                continue
            workers.append(process)
            times[name] = []
            figures[name] = {"command_seconds": first["since_start_seconds"]}
        for _ in range(rounds):
            for process in workers:
                answer = process.train()
                times[process.name].append(answer.pop("us_per_step"))
                del answer["since_start_seconds"]
                figures[process.name].update(answer)
    if "template" in figures:
        figures["template"]["command_seconds"] = command_seconds(folder)
    for name, values in times.items():
        ratios = sorted(value / best for value, best in zip(values, times[contestants[0]], strict=True))
        us_per_step = statistics.median(values)
        steps = figures[name].pop("samples_per_second")  # of the last round
        figures[name] = {
            "us_per_step": us_per_step,
            "ratio": statistics.median(ratios),
            "ratio_least": ratios[0],
            "ratio_most": ratios[-1],
            "samples_per_second": steps * values[-1] / us_per_step,
            **figures[name],
        }
    return figures


def command_seconds(folder: Path) -> float:
    """Measures the command that a user types, from its start to its end."""
    with tempfile.TemporaryDirectory() as logs:
        overrides = [*read_settings(folder)["overrides"], f"paths.logs={logs}"]
        began = time.perf_counter()
        subprocess.run([sys.executable, str(ROOT / "train.py"), *overrides], check=True, capture_output=True, cwd=logs)
        return time.perf_counter() - began


def chosen(name: str, text: str, known: list[str], also: Sequence[str] = ()) -> list[str]:
    """Parses the names in `[A,B]` or `A,B`; returns them in the order of those that are known.

    Raises:
        UserError: one is not known.
    """
    names = [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    for given in names:
        if given not in (*known, *also):
            near = nearest_name(given, known) or known[0]
            raise UserError(f"{name} must be of {', '.join(known)}", f"{name}={text}", f"{name}=[{near}]")
    if not names:
        raise UserError(f"{name} must name at least one", f"{name}={text}", f"{name}=[{known[0]}]")
    return [given for given in (*known, *also) if given in names]


def rounds_of(workload: str, rounds: int) -> int:
    """Returns how often a workload is trained, where `rounds` is given."""
    if workload in SWEEPS:
        return min(rounds, MOST_ROUNDS)
    return rounds * TIMES if workload in SHORT else rounds


def measured_by(workload: str, contestants: list[str]) -> list[str]:
    """Returns who trains a workload: first the loop that all are measured by."""
    known, best = (MANY, "loops") if WORKLOADS[workload].networks else (CONTESTANTS, "best_loop")
    return [best, *(name for name in contestants if name in known and name != best)]


def main(settings: dict[str, Any]) -> Result:
    workloads = chosen("workloads", settings["workloads"], ALL, SWEEPS)
    workloads = list(dict.fromkeys(part for name in workloads for part in (SWEEPS if name == "K" else [name])))
    contestants = chosen("contestants", settings["contestants"], list(EVERYBODY))
    for path in (settings["json"], settings["page"]):
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError("files must be written to a folder that exists", str(path), path.name)
    if settings["json"] and settings["page"] and settings["page"].with_suffix(".json") == settings["json"]:
        raise UserError(
            "json must be another file than the one that a page keeps its figures in",
            str(settings["json"]),
            "json=figures.json",
        )
    if settings["page"]:
        figures_of(settings["page"])  # refused now, and not when something has been measured
    # Absolute, as runs are started from another folder.
    mnist = settings["mnist"].absolute() if settings["mnist"].is_dir() else None
    figures: Figures = {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in workloads:
            (part := Path(folder) / name).mkdir()
            # In a process of its own, so that the data's memory is given back before anybody is measured.
            subprocess.run(
                [sys.executable, __file__, "prepare", name, str(part), str(mnist or ""), str(settings["threads"])],
                check=True,
            )
            print(f"{name}: {WORKLOADS[name].title}", flush=True)
            rounds, at = rounds_of(name, settings["rounds"]), time.perf_counter()
            figures[name] = measure(part, measured_by(name, contestants), rounds, settings["threads"])
            print_table(figures[name])
            if settings["json"]:
                write_bytes(settings["json"], (json.dumps(figures, indent=2) + "\n").encode())
            if settings["page"]:
                measured = {**settings, "rounds": rounds}
                write_page(settings["page"], name, figures[name], measured, time.perf_counter() - at)
    return Result(f"{time.perf_counter() - began:.0f} s in all", figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        from mlplab.config.resolvers import register_resolvers

        register_resolvers(ROOT)
        prepare(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4] else None, int(sys.argv[5]))
        sys.exit(0)
    sys.exit(run_script(main, OPTIONS, f"{__doc__}{HELP}"))
