"""Formats the text that a run prints on the terminal before and after training."""

import logging
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.profilers import Profiler, SimpleProfiler
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from mlplab.config.experiment_heads import Entries, as_lines, chosen_heads
from mlplab.config.paths import shortest
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import counted, printable, rounded
from mlplab.learner import Learner
from mlplab.models.tabm import MemberLinear
from mlplab.task import Task

log = logging.getLogger("mlplab")

SLOWEST = 12
"""Number of a profile's actions to print; its file lists all."""


def print_if_verbose(config: DictConfig, text: str) -> None:
    """Prints a message of the run, unless `verbose` is false."""
    if config.get("verbose", True):  # configurations of earlier releases have none
        print(text, flush=True)


def describe_before(data: DataModule | OwnData, model: nn.Module, directory: Path, *, resume: bool = False) -> str:
    """Describes the experiment, a table's columns, data, network and directory, a line or more each."""
    # A resumed run's configuration may have come from elsewhere, so no path in it is followed.
    experiment = [] if resume else as_lines(experiment_head())
    # Only tables have columns of different kinds.
    table = [] if data.description is None else [data.description.as_text(), ""]
    return "\n".join(
        [
            *experiment,
            *([""] if experiment else []),
            *table,
            *data_and_model(data, model),
            f"run     {shortest(directory)}",
        ]
    )


def experiment_head() -> Entries:
    """Reads the head comment of the chosen experiment; empty without one, and outside of train.py."""
    return chosen_heads(HydraConfig.get()) if HydraConfig.initialized() else []


def data_and_model(data: DataModule | OwnData, model: nn.Module) -> list[str]:
    """Describes data and network, a line each."""
    rows = "/".join("?" if number is None else str(number) for number in data.n_rows.values())
    count = sum(parameter.numel() for parameter in model.parameters())
    if (isinstance(model, pl.LightningModule) and not isinstance(model, Learner)) or isinstance(data, OwnData):
        network = model.model if isinstance(model, Learner) else model
        network = getattr(network, "network", network) if isinstance(model, Learner) else model
        return [
            f"data    {printable(data.name)}: {rows} rows to train/validate/test",
            f"model   {type(network).__name__}, {count:,} parameters",
        ]
    task, model = data.task, getattr(model, "model", model)
    if task.kind == "classification":
        learned = f"{task.n_classes} classes of {printable(task.target_name)}"
    elif task.kind == "multilabel":
        learned = f"{len(task.target_names)} labels: {printable(task.target_name)}"
    else:
        learned = printable(", ".join(_with_unit(one) for one in task.of_each_target() or [task]))
    # The widths of an MLP are the inputs of its linear layers, and the outputs of the last one.
    # For an ensemble, those of one member.
    layers = [
        layer for layer in getattr(model, "network", model).modules() if isinstance(layer, nn.Linear | MemberLinear)
    ]
    widths, last = [layer.in_features for layer in layers], [layer.out_features for layer in layers[-1:]]
    shape = "-".join(str(width) for width in widths + last)
    return [
        f"data    {printable(data.name)}: {counted(task.n_features, 'feature')} -> {learned}; {rows} rows to "
        "train/validate/test",
        # A network behind an input layer has its own name.
        f"model   {type(getattr(model, 'network', model)).__name__} {shape}, {count:,} parameters",
    ]


def _with_unit(task: Task) -> str:
    return f"{task.target_name}{f' [{task.unit}]' if task.unit else ''}"


def describe_after(result: dict[str, Any], directory: Path, *, has_curves: bool) -> str:
    """Describes the result: metrics, why the run ended, its directory, and how to show its curves."""
    best = result["best_epoch"]
    validation = "validation" if best is None else f"validation (epoch {best})"
    columns = {
        validation: {re.sub("^val[/_]", "", name): value for name, value in result["validation"].items()},
        "test": {re.sub("^test[/_]", "", name): value for name, value in result["test"].items()},
    }
    columns = {heading: metrics for heading, metrics in columns.items() if metrics}  # such as no test, with test=false
    lines = [
        *([describe_metrics(columns)] if columns else []),
        f"ended   {how_it_ended(result)}",
        f"run     {shortest(directory)}",
    ]
    if has_curves:
        program = Path(sys.executable).with_name("tensorboard")  # not on the PATH if no environment is activated
        command = shortest(program) if program.exists() else "tensorboard"
        lines.append(f"curves  {command} --logdir {shortest(logs_of(directory))}")
    return "\n".join(lines)


def how_it_ended(result: Mapping[str, Any]) -> str:
    """Says why a run ended, and after how long: `converged, after 32 epochs and 1,280 steps`."""
    return f"{result['ended']}, after {counted(result['epochs'], 'epoch')} and {counted(result['steps'], 'step')}"


def log_result(result: Mapping[str, Any]) -> None:
    """Logs the outcome of a run to train.log."""
    log.info(f"ended   {how_it_ended(result)}")
    for part, where in (("validation", f"best, in epoch {result['best_epoch']}"), ("test", "test")):
        metrics = "  ".join(f"{name} {rounded(value)}" for name, value in result[part].items())
        if metrics:
            log.info(f"{where}: {metrics}")


def describe_profile(profiler: Profiler, directory: Path) -> str:
    """Lists a profile's slowest actions and its folder; empty without a profiler."""
    folder = directory / "profile"
    if not folder.is_dir():
        return ""
    lines = [f"profile {type(profiler).__name__}, in {shortest(folder)}"]
    # Other profilers keep no list of durations; their file has everything.
    if isinstance(profiler, SimpleProfiler):
        seconds = {action: sum(times) for action, times in profiler.recorded_durations.items()}
        table = Table(title=None)
        table.add_column("action", overflow="fold")
        for heading in ("calls", "seconds", "ms per call"):
            table.add_column(heading, justify="right")
        for action in sorted(seconds, key=seconds.__getitem__, reverse=True)[:SLOWEST]:
            n_calls = len(profiler.recorded_durations[action])
            row = (f"{n_calls:,}", f"{seconds[action]:.3f}", f"{1000 * seconds[action] / n_calls:.3f}")
            # Actions contain names of callbacks, which may be the user's.
            table.add_row(escape(printable(action)), *row)
        lines.insert(0, _as_text(table))
    return "\n".join(lines)


def describe_metrics(columns: dict[str, dict[str, float]], rows: str = "metric") -> str:
    """Formats a table with a row for each metric and a column for each of `columns`; `rows` heads the first column."""
    table = Table(title=None)
    table.add_column(rows, overflow="fold")
    for heading in columns:
        table.add_column(escape(printable(heading)), justify="right")
    for name in dict.fromkeys(name for metrics in columns.values() for name in metrics):
        # Scores of several targets contain names of columns.
        table.add_row(escape(printable(name)), *(_number(metrics.get(name)) for metrics in columns.values()))
    return _as_text(table)


def _as_text(table: Table) -> str:
    # In a pipe, rich does not know any width.
    # As text also in a notebook, where rich would show HTML.
    console = Console(width=80, file=sys.stdout, emoji=False, force_jupyter=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def logs_of(directory: Path) -> Path:
    """Returns the folder of all runs: logs/ of logs/runs/NAME and of logs/sweeps/NAME/0."""
    for parent in directory.parents:
        if parent.name in ("runs", "sweeps"):
            return parent.parent
    return directory


def _number(value: float | None) -> str:
    # An undefined score, such as the auroc of a single class, is left empty.
    return "" if value is None or math.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
