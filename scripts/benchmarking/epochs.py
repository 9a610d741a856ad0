"""Measures the time of an epoch outside its steps: validation, scores, logs, and the work done once per run.

    python scripts/benchmarking/epochs.py

`python train.py` on digits, everything on, batches of 32 and of 128, one thread; processor time. Takes about half a
minute.
"""

import contextlib
import functools
import io
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector

from benchmarking.workloads import ROOT, composed
from mlplab import training
from mlplab.callbacks import Checkpoints, GradientNorms, Histograms, History, TrainingCurves
from mlplab.config.resolvers import register_resolvers
from mlplab.engine.epoch_loop import FastEpochLoop
from mlplab.engine.validation_loop import FastValidationLoop
from mlplab.learner import Learner
from mlplab.objectives.scores import Scores

PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "the steps": ((FastEpochLoop, "advance"),),
    "validation, all of it": ((FastValidationLoop, "run"),),
    "- the network and its loss": ((Learner, "validation_step"),),
    "- the scores": ((Scores, "compute"),),
    "- logging them": ((Learner, "log_dict"), (_LoggerConnector, "log_eval_end_metrics")),
    "- early stopping": ((EarlyStopping, "on_validation_end"),),
    "- the copy of the best weights": ((Checkpoints, "on_validation_end"),),
    "curves and gradient norms": ((TrainingCurves, "on_train_epoch_end"), (GradientNorms, "on_train_epoch_end")),
    "histograms, every tenth epoch": ((Histograms, "on_train_epoch_end"),),
    "history.jsonl": ((History, "on_validation_end"), (History, "on_train_epoch_end")),
}

EPOCHS = {32: 20, 128: 40}
"""Rows of a batch → epochs of a run, as in the workloads S and S128."""

ROUNDS = 7


def clocked(times: dict[str, float]) -> None:
    """Adds up the seconds of each part."""
    for name, calls in PARTS.items():
        for owner, method in calls:
            original = getattr(owner, method)

            @functools.wraps(original)
            def timed(*arguments: Any, _original: Any = original, _name: str = name, **options: Any) -> Any:
                began = time.process_time()
                try:
                    return _original(*arguments, **options)
                finally:
                    times[_name] += time.process_time() - began

            setattr(owner, method, timed)


def train(batch_size: int, epochs: int) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        overrides = ["data=digits", f"data.batch_size={batch_size}", "model.dropout=0", f"trainer.max_epochs={epochs}"]
        overrides += ["trainer=cpu", "trainer.threads=1", "callbacks.early_stopping.patience=1000"]
        training.train(composed([*overrides, f"paths.run={folder}"]))


def main() -> None:
    sys.argv = ["train.py"]
    register_resolvers(ROOT)
    fit = training._fit
    times: dict[str, float] = defaultdict(float)

    def timed_fit(*arguments: Any) -> Any:
        times.clear()
        began = time.process_time()
        outcome = fit(*arguments)
        whole.append({**times, "all": time.process_time() - began})
        return outcome

    training._fit = timed_fit
    clocked(times)
    for batch_size, epochs in EPOCHS.items():
        whole: list[dict[str, float]] = []
        for _ in range(ROUNDS):
            train(batch_size, 1)
            train(batch_size, epochs)
        short, long = whole[2::2], whole[3::2]  # without the first round
        once = statistics.median(run["all"] for run in short)
        everything = statistics.median(run["all"] for run in long)
        per_epoch = (everything - once) / (epochs - 1)
        found = {name: statistics.median(run[name] for run in long) / epochs for name in PARTS}
        found["the rest of an epoch"] = per_epoch - sum(t for name, t in found.items() if not name.startswith("-"))
        found["once in a run, as a share of an epoch"] = (once - per_epoch) / epochs
        print(f"batches of {batch_size}, {epochs} epochs of {everything / epochs * 1e3:.2f} ms")
        for name, seconds in found.items():
            print(f"  {name:40}{seconds * 1e3:7.2f} ms{seconds / everything * epochs:7.1%}")


if __name__ == "__main__":
    main()
