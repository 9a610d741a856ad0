"""Measures the time from a table's file to the first training step, against polars reading the same file.

    python scripts/benchmarking/first_step.py [rows=1000000] [columns=50] [rounds=5] [--json]

Files of numbers alone, and of numbers, text and missing cells, each as CSV and as Parquet; in turn, each time in a
fresh process, with the file in the system's cache. The first step is that of `python train.py` with everything on: the
time from the start of the process to it, without the imports. polars reads the file and does nothing else.
A million rows of 50 columns take about three minutes on two cores.
"""

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.engine.startup import quick_imports

OPTIONS = {
    "rows": Option("count", 1_000_000, example="1000000"),
    "columns": Option("count", 50, example="50"),
    "rounds": Option("count", 5, example="5"),
    **JSON,
}


def make_files(folder: Path, n_rows: int, n_columns: int) -> list[Path]:
    """Writes the files; their column `target` is a number, or one of three classes where there is text."""
    import polars as pl

    files = []
    for kind in ("numbers", "mixed"):
        generator = np.random.default_rng(0)
        n_text = n_columns // 6 if kind == "mixed" else 0
        columns: dict[str, Any] = {
            f"number_{position}": generator.normal(size=n_rows).astype(np.float32)
            for position in range(n_columns - n_text)
        }
        signal = columns["number_0"] + generator.normal(size=n_rows).astype(np.float32)
        for position in range(n_text):
            columns[f"text_{position}"] = np.array(list("abcdefghij"))[generator.integers(0, 3 + position % 8, n_rows)]
        names = list(columns)
        columns["target"] = np.array(["low", "middle", "high"])[np.digitize(signal, [-1, 1])] if n_text else signal
        frame = pl.DataFrame(columns)
        if n_text:
            gaps = [pl.Series(generator.random(n_rows) < 0.05) for _ in names[::10]]
            frame = frame.with_columns(
                pl.when(~gap).then(name).alias(name) for name, gap in zip(names[::10], gaps, strict=True)
            )
        for suffix in ("csv", "parquet"):
            files.append(folder / f"{kind}.{suffix}")
            (frame.write_csv if suffix == "csv" else frame.write_parquet)(files[-1])
    return files


def tell(seconds: float, processor_seconds: float) -> None:
    """Prints the time and memory that this process took."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": seconds, "processor_seconds": processor_seconds, "peak_memory_mb": peak}
    print(json.dumps(found), flush=True)


def read(path: Path) -> None:
    """Reads a file with polars."""
    import polars as pl

    began, busy = time.perf_counter(), time.process_time()
    (pl.read_csv if path.suffix == ".csv" else pl.read_parquet)(path)
    tell(time.perf_counter() - began, time.process_time() - busy)


def train(path: Path, started: float) -> None:
    """Trains up to the first step, and ends the process."""
    with quick_imports():
        import lightning.pytorch as pl

        importlib.import_module("mlplab.data.table.table_source")  # which comes with the data otherwise
        from benchmarking.workloads import ROOT, composed
        from mlplab import training
        from mlplab.config.resolvers import register_resolvers

    imported, busy = time.time() - started, time.process_time()
    sys.argv = ["train.py"]
    register_resolvers(ROOT)
    build_callbacks = training.build_callbacks

    class FirstStep(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            tell(time.time() - started - imported, time.process_time() - busy)
            os._exit(0)

    training.build_callbacks = lambda config: [*build_callbacks(config), FirstStep()]
    overrides = ["data=table", f"data.path={path}", "data.target=target", "data.batch_size=1024", "trainer=cpu"]
    training.train(composed([*overrides, f"paths.run={path.parent}/run_{os.getpid()}"]))


def measured(what: str, path: Path) -> dict[str, float]:
    """Runs this script in a process of its own and returns the figures in its last line."""
    command = [sys.executable, __file__, what, str(path), str(time.time())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(settings: dict[str, Any]) -> Result:
    n_rounds, figures, lines = settings["rounds"], {}, []
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), settings["rows"], settings["columns"])
        rounds = [{path: (measured("read", path), measured("train", path)) for path in files} for _ in range(n_rounds)]
        for path in files:
            theirs, ours = ([one[path][side] for one in rounds] for side in (0, 1))
            medians = {
                f"{who}_{name}": statistics.median(one[name] for one in side)
                for who, side in (("polars", theirs), ("first_step", ours))
                for name in ("seconds", "processor_seconds", "peak_memory_mb")
            }
            ratios = sorted(one["seconds"] / other["seconds"] for one, other in zip(ours, theirs, strict=True))
            figures[path.name] = {**medians, "ratio": statistics.median(ratios), "ratios": ratios}
            lines.append(
                f"{path.name:18}{path.stat().st_size / 1e6:6.0f}{medians['polars_seconds']:10.2f}"
                f"{medians['first_step_seconds']:12.2f}{statistics.median(ratios):8.1f}{ratios[0]:7.1f}{ratios[-1]:7.1f}"
                f"{medians['polars_processor_seconds']:10.2f}{medians['first_step_processor_seconds']:8.2f}"
                f"{medians['polars_peak_memory_mb']:10.0f}{medians['first_step_peak_memory_mb']:7.0f}"
            )
    heading = (
        f"{'':18}{'MB':>6}{'polars, s':>10}{'to a step':>12}{'ratio':>8}{'least':>7}{'most':>7}"
        f"{'processor':>10}{'':8}{'peak, MB':>10}"
    )
    return Result("\n".join([heading, *lines]), figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        sys.exit(run_script(main, OPTIONS, __doc__))
