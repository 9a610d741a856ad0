"""Draws the picture of docs/stacked-sweeps.md from its sweep: test accuracy against the learning rate.

    python train.py experiment=learning_rates
    python scripts/learning_rates.py logs/sweeps/learning_rates

A run that diverged before it was validated has no test accuracy, and counts as guessing.

    sweep=DIRECTORY    of the sweep; its name may be left out
    out=FILE           the picture; docs/figures/learning_rates.png by itself
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import OPTIMIZERS
from matplotlib.figure import Figure

from mlplab.cli.script import Option, Result, run_script
from mlplab.config.commands import command
from mlplab.errors import UserError, printable
from mlplab.report.sweep_reading import read_sweep
from mlplab.report.sweep_records import as_number
from mlplab.runs.files import write_atomically

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "learning_rates.png"
MARKERS = dict(zip(OPTIMIZERS, "osD^v", strict=True))
GUESSING = 0.1
"""Accuracy of guessing one of ten classes."""

Seeds = Mapping[float, Sequence[float]]
"""Learning rate → test accuracy of each seed."""

OPTIONS = {
    "sweep": Option("path", example="logs/sweeps/learning_rates", is_required=True, is_first=True),
    "out": Option("path", PICTURE, example="learning_rates.png"),
}


def read(sweep: Path) -> tuple[dict[str, Seeds], int]:
    """Reads the accuracies by optimizer, and how many runs have none.

    Raises:
        UserError: it is another sweep, or has jobs that have not ended.
    """
    accuracies: dict[str, dict[float, list[float]]] = {name: defaultdict(list) for name in OPTIMIZERS}
    diverged = 0
    for run in read_sweep(sweep).runs:
        optimizer, rate = str(run.entry.values.get("optimizer")), as_number(run.entry.values.get("optimizer.lr"))
        if optimizer not in OPTIMIZERS or rate is None:
            raise UserError(
                f"the picture must be made of a sweep over optimizer={','.join(OPTIMIZERS)} and optimizer.lr",
                printable(f"{run.entry.directory} was given {', '.join(run.entry.values) or 'nothing'}"),
                command("train.py", "experiment=learning_rates"),
            )
        if run.state not in ("finished", "infeasible"):
            raise UserError(
                "the picture must be made of a finished sweep", printable(f"{run.entry.directory} is {run.state}"),
                "the sweep's own command, which goes on",
            )  # fmt: skip
        accuracy = run.test.get("test/accuracy")
        diverged += accuracy is None
        accuracies[optimizer][rate].append(GUESSING if accuracy is None else accuracy)
    return {name: seeds for name, seeds in accuracies.items() if seeds}, diverged


def draw(accuracies: Mapping[str, Seeds], title: str) -> Figure:
    """Draws a line for each optimizer, the mean over seeds, and a band from 10 to 90 % of them."""
    figure = Figure(figsize=(7.2, 4.4), dpi=200, layout="constrained")
    axes = figure.subplots()
    for name, seeds in accuracies.items():
        rates = sorted(seeds)
        low, high = np.array([np.quantile(seeds[rate], [0.1, 0.9]) for rate in rates]).T
        axes.fill_between(rates, low, high, color=OPTIMIZERS[name], alpha=0.18, linewidth=0)
        means = [float(np.mean(seeds[rate])) for rate in rates]
        axes.plot(rates, means, color=OPTIMIZERS[name], label=name, marker=MARKERS[name], markersize=4, linewidth=1.8)
    axes.axhline(GUESSING, color="0.4", linewidth=0.8, linestyle=":")
    axes.annotate("guessing", (0.012, GUESSING), (0, 3), textcoords="offset points", color="0.3", size=9)
    axes.set(xscale="log", xlabel="learning rate", ylabel="test accuracy", ylim=(0, 1.02))
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.suptitle(title, size=10)
    figure.legend(loc="outside lower center", ncols=len(OPTIMIZERS), frameon=False)
    return figure


def main(settings: dict[str, Any]) -> Result:
    accuracies, diverged = read(settings["sweep"])
    counts = [len(runs) for seeds in accuracies.values() for runs in seeds.values()]
    title = f"digits, {sum(counts):,} networks: mean and 10 to 90 % of {max(counts)} seeds"
    figure, ending = draw(accuracies, title), settings["out"].suffix.removeprefix(".") or "png"
    write_atomically(settings["out"], lambda path: figure.savefig(path, format=ending, metadata={"Software": None}))
    lines = [f"{diverged} of {sum(counts):,} runs diverged before they were validated, and count as guessing"]
    for name, seeds in accuracies.items():
        means = {rate: float(np.mean(runs)) for rate, runs in sorted(seeds.items())}
        best = max(means, key=lambda rate: means[rate])
        near = [rate for rate, mean in means.items() if mean > means[best] - 0.01]
        lines.append(f"{name:<10}{means[best]:.3f} at {best:g}, within 0.01 of it from {near[0]:g} to {near[-1]:g}")
    return Result("\n".join([*lines, str(settings["out"])]), {})


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
