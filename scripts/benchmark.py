"""Time per step of a whole run against hand-written loops: same data, network, batches, optimizer and epochs.

    python scripts/benchmark.py [rounds=5] [epochs=40] [json=FILE] [--json]

All take turns in one process, on one thread, so that a machine that slows down slows all of them; the figure to
quote is the ratio. The template runs as `python train.py` does, with TensorBoard, checkpoints, validation, early
stopping and progress; the loops only train. Five rounds take about half a minute.
"""

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from mlplab.building import build_data, build_learner
from mlplab.config.resolvers import register_resolvers
from mlplab.config.words import JSON, Answer, Word, run_script
from mlplab.runs.files import write_json
from mlplab.training import train

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "rounds": Word("count", 5, example="5"),
    "epochs": Word("count", 40, example="40"),
    "json": Word("path", example="figures.json"),
    **JSON,
}


def template(overrides: list[str]) -> float:
    """Seconds per step of `trainer.fit`, with everything on."""
    with tempfile.TemporaryDirectory() as directory, initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[*overrides, f"paths.run={directory}"])
        with contextlib.redirect_stdout(io.StringIO()):
            train(config)
        status, result = (json.loads((Path(directory) / f"{name}.json").read_text()) for name in ("status", "result"))
    return float(status["seconds"]["fit"]) / int(result["steps"])


def explicit_loop(
    overrides: list[str], make_batches: Callable[[Tensor, Tensor], Callable[[], object]], **options: bool
) -> float:
    """Seconds per step of the textbook's loop, over the batches that `make_batches` gives for each epoch."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    data = build_data(config)
    data.setup()
    network = build_learner(config, data).model.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.optimizer.lr, **options)
    epoch_of_batches = make_batches(*data.part("train"))
    steps = 0
    began = time.perf_counter()
    for _ in range(config.trainer.max_epochs):
        for features, targets in epoch_of_batches():  # type: ignore[attr-defined]
            loss = cross_entropy(network(features), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    return (time.perf_counter() - began) / steps


def from_data_loader(features: Tensor, targets: Tensor) -> Callable[[], object]:
    loader = DataLoader(TensorDataset(features, targets), batch_size=32, shuffle=True)
    return lambda: loader


def from_memory(features: Tensor, targets: Tensor) -> Callable[[], object]:
    return lambda: ((features[rows], targets[rows]) for rows in torch.randperm(len(targets)).split(32))


def measure(rounds: int, epochs: int) -> dict[str, list[float]]:
    """Microseconds per step, one figure for each round."""
    overrides = [f"trainer.max_epochs={epochs}", "callbacks.early_stopping.patience=1000", "trainer.threads=1"]
    contestants: dict[str, Callable[[], float]] = {
        "template, everything on": lambda: template(overrides),
        "loop with a DataLoader, Adam as it comes": lambda: explicit_loop(overrides, from_data_loader),
        "loop with a DataLoader, fused Adam": lambda: explicit_loop(overrides, from_data_loader, fused=True),
        "best loop: tensors in memory, fused Adam": lambda: explicit_loop(overrides, from_memory, fused=True),
    }
    torch.set_num_threads(1)
    for run in contestants.values():  # the first of each pays for what is set up once
        run()
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            figures[name].append(run() * 1e6)
    return figures


def report(figures: dict[str, list[float]]) -> Answer:
    """Medians, and the template's ratio to each in the median round, with the range over the rounds."""
    mine = figures["template, everything on"]
    table = {}
    lines = [f"{'digits, 64-128-64-10, batches of 32':44}{'µs per step':>12}{'template / this':>17}  (range)"]
    for name, values in figures.items():
        ratios = [a / b for a, b in zip(mine, values, strict=True)]
        row = {"us_per_step": statistics.median(values), "template_ratio": statistics.median(ratios)}
        table[name] = row
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"{name:44}{row['us_per_step']:12.0f}{row['template_ratio']:17.2f}  {spread}")
    return Answer("\n".join(lines), table)


def main(settings: dict[str, Any]) -> Answer:
    register_resolvers(ROOT)
    answer = report(measure(settings["rounds"], settings["epochs"]))
    if settings["json"]:
        write_json(settings["json"], dict(answer.content))
    return answer


if __name__ == "__main__":
    sys.exit(run_script(main, WORDS, __doc__))
