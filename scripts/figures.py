"""Draws the pictures of the README and of docs/pictures.md from runs made for them. Takes two or three minutes.

python scripts/figures.py
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mlplab.cli.script import Option, run_script
from mlplab.runs.files import write_atomically, write_bytes
from mlplab.runs.run_reading import read_history
from mlplab.sweeps.reading.sweep_reading import read_sweep

ROOT = Path(__file__).resolve().parents[1]
OPTIONS: dict[str, Option] = {}
OPTIMIZERS = {"sgd": "#4477aa", "momentum": "#228833", "adam": "#ee6677", "rmsprop": "#ccbb44", "adagrad": "#aa3377"}
SEEDS = 5
EPOCHS = 30

PICTURES = {
    "spirals.gif": ("learned_function.gif", ["experiment=spirals"]),
    "wave.gif": ("learned_function.gif", ["experiment=wave"]),
    "weights_of_digits.png": (
        "weight_images.png",
        ["callbacks=pictures", "model.hidden_dims=[16]", "regularization.l1=0.001", "trainer.max_epochs=60"],
    ),
}
"""Name in docs/figures → the file in the figures/ of a run, and the words of its command."""


def run_sweep(logs: Path) -> None:
    """Trains every optimizer with every seed, for the same number of epochs."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", f"optimizer={','.join(OPTIMIZERS)}"]
    command += [f"seed={','.join(str(seed) for seed in range(SEEDS))}", f"trainer.max_epochs={EPOCHS}"]
    command += ["callbacks=minimal", "~callbacks.early_stopping", "sweep.name=curves", f"paths.logs={logs}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read_curves(logs: Path, metric: str) -> dict[str, list[list[float]]]:
    """Returns optimizer → a curve for each seed, with a value for each epoch."""
    sweep = read_sweep(logs / "sweeps" / "curves")
    curves: dict[str, list[list[float]]] = {name: [] for name in OPTIMIZERS}
    for run in sweep.runs:
        assert run.epochs == EPOCHS
        lines = read_history(sweep.directory / run.entry.directory)
        curves[run.entry.values["optimizer"]].append([line[metric] for line in lines if metric in line])
    return curves


def draw(logs: Path, target: Path) -> None:
    """Draws validation loss and accuracy by epoch: the median over seeds as a line, the range as a band."""
    figure = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, metric, label in zip(
        panels, ("val/loss", "val/accuracy"), ("validation loss", "validation accuracy"), strict=True
    ):
        for name, curves in read_curves(logs, metric).items():
            epochs = range(1, EPOCHS + 1)
            by_epoch = list(zip(*curves, strict=True))
            middle = [statistics.median(values) for values in by_epoch]
            axes.plot(epochs, middle, color=OPTIMIZERS[name], label=name, linewidth=1.8)
            low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
            axes.fill_between(epochs, low, high, color=OPTIMIZERS[name], alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[0].set(yscale="log")
    panels[1].set(ylim=(0.75, 1.0))
    panels[1].legend(frameon=False, loc="lower right")
    figure.suptitle(f"digits, five optimizers with their default settings, median and range of {SEEDS} seeds", size=10)
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, lambda path: figure.savefig(path, format="png", metadata={"Software": None}))


def copy_pictures(logs: Path, target: Path) -> None:
    """Makes the run of each of `PICTURES`, and copies its picture."""
    for name, (file, words) in PICTURES.items():
        run = logs / "pictures" / name
        command = [sys.executable, str(ROOT / "train.py"), *words, f"paths.run={run}", f"paths.logs={logs}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        write_bytes(target / name, (run / "figures" / file).read_bytes())


def main(settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_sweep(Path(folder))
        draw(Path(folder), ROOT / "docs" / "figures" / "optimizers.png")
        copy_pictures(Path(folder), ROOT / "docs" / "figures")


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
