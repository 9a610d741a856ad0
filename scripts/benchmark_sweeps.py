"""A sweep with several jobs at once against the same sweep one job after the other.

    python scripts/benchmark_sweeps.py [rounds=3] [jobs=12] [n_jobs=CORES] [unshared=true] [--json]

Each round runs all of them in turn, as `python train.py -m …` in a process of its own, so that a machine that slows
down slows all of them; the figure to quote is the ratio. `begun` is the time until the first job begins, with
PyTorch imported: each process of a launcher takes it once. Three rounds take about five minutes on two cores;
unshared=true adds jobs that each use all cores, which takes long.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from joblib import cpu_count

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.errors import RunFailed

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {
    "rounds": Option("count", 3, example="3"),
    "jobs": Option("count", 12, example="12"),
    "n_jobs": Option("count", cpu_count(), example="2"),
    "unshared": Option("switch", False),
    **JSON,
}
ALIKE = ["logger=none", "callbacks.early_stopping=null"]
NETWORKS = {
    "64-128-64-10, batches of 32": ["trainer.max_epochs=60"],
    "64-1024-1024-10, batches of 512": [
        "model.hidden_dims=[1024,1024]",
        "data.batch_size=512",
        "trainer.max_epochs=20",
    ],
}


def launchers(n_jobs: int, *, unshared: bool) -> dict[str, list[str]]:
    """Returns name → overrides of the ways to run the jobs."""
    at_once = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}"]
    ways = {"one after the other": [], f"{n_jobs} at once": at_once}
    if unshared:
        ways[f"{n_jobs} at once, each with all cores"] = [*at_once, f"trainer.threads={cpu_count()}"]
    return ways


def seconds_of(words: list[str], jobs: int) -> tuple[float, float]:
    """Measures the seconds of a whole sweep, and until its first job begins.

    Raises:
        RunFailed: the sweep failed.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        seeds = ",".join(map(str, range(jobs)))
        command = [sys.executable, str(ROOT / "train.py"), "-m", *ALIKE, *words, f"seed={seeds}"]
        began, clock = time.time(), time.monotonic()
        done = subprocess.run([*command, f"paths.logs={folder}"], capture_output=True, text=True, check=False)
        seconds = time.monotonic() - clock
        if done.returncode:
            raise RunFailed(done.stderr.strip() or done.stdout.strip())
        statuses = [json.loads(path.read_bytes()) for path in Path(folder).rglob("status.json")]
        first = min(datetime.fromisoformat(status["started"]).timestamp() for status in statuses)
    return seconds, first - began


def measure(rounds: int, jobs: int, ways: dict[str, list[str]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Seconds of each network and launcher, a pair for each round."""
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {
        network: {name: [] for name in ways} for network in NETWORKS
    }
    for _ in range(rounds):
        for network, words in NETWORKS.items():
            for name, launcher in ways.items():
                figures[network][name].append(seconds_of([*words, *launcher], jobs))
    return figures


def report(figures: dict[str, dict[str, list[tuple[float, float]]]], jobs: int) -> Result:
    """Medians, and the ratio of one after the other to each, with the range over the rounds."""
    table: dict[str, Any] = {}
    lines = []
    for network, by_launcher in figures.items():
        head = f"{jobs} jobs, {network}"
        lines.append(f"{head:43}{'s':>6}{'begun':>7}{'faster':>8}  (range)")
        serial = [seconds for seconds, _ in by_launcher["one after the other"]]
        for name, pairs in by_launcher.items():
            ratios = [one / seconds for one, (seconds, _) in zip(serial, pairs, strict=True)]
            row = {
                "seconds": statistics.median(seconds for seconds, _ in pairs),
                "until_begun": statistics.median(begun for _, begun in pairs),
                "times_as_fast": statistics.median(ratios),
            }
            table.setdefault(network, {})[name] = row
            lines.append(
                f"{name:43}{row['seconds']:6.1f}{row['until_begun']:7.1f}{row['times_as_fast']:8.2f}"
                f"  ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    return Result("\n".join(lines), table)


def main(settings: dict[str, Any]) -> Result:
    ways = launchers(settings["n_jobs"], unshared=settings["unshared"])
    return report(measure(settings["rounds"], settings["jobs"], ways), settings["jobs"])


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
