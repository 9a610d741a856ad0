"""Loss curves of four short runs, as they must stay: written anew by `python tests/golden/record.py`.

A change that should not alter what is learned must not alter these; one that should is seen in the file's history.
"""

import csv
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from mlplab.config.resolvers import register_resolvers
from mlplab.training import train

ROOT = Path(__file__).resolve().parents[2]

FILE = Path(__file__).with_name("curves.json")

RUNS = {
    "digits, as it is": ["data=digits", "trainer.max_epochs=4"],
    "diabetes, huber, batch normalisation, plateau": [
        "data=diabetes", "loss=huber", "model.normalization=batch", "optimizer=rmsprop", "scheduler=plateau",
        "scheduler.patience=1", "trainer.max_epochs=8",
    ],
    "spirals, tanh, penalties, dropout, cosine": [
        "data=spirals", "model.activation=tanh", "model.dropout=0.2", "regularization.l1=0.0001",
        "regularization.l2=0.001", "optimizer=momentum", "scheduler=cosine", "trainer.max_epochs=8",
    ],
    "wine, lbfgs on the full batch": [
        "data=wine", "optimizer=lbfgs", "data.batch_size=full", "optimizer.max_iter=2",
        "trainer.max_epochs=4",
    ],
}  # fmt: skip

FIXED = ["callbacks=minimal", "logger=csv", "trainer=cpu", "trainer.threads=1"]


def machine() -> dict[str, str]:
    """What the last bits depend on."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    wanted = ("cpu family", "model", "model name", "stepping")
    processor = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        **{name: processor.get(name, "unknown") for name in wanted},
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "system": platform.system(),
        "torch": torch.__version__.partition("+")[0],
    }


def curves(overrides: list[str]) -> dict[str, list[float]]:
    """The loss of every epoch of a run, in training and in validation."""
    with tempfile.TemporaryDirectory() as folder:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("config", overrides=[*overrides, *FIXED, f"paths.run={folder}"])
        train(config)
        with (Path(folder) / "csv" / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row.get(name)] for name in ("train/loss", "val/loss")}


def main() -> None:
    """Writes the file."""
    sys.argv = ["train.py"]
    register_resolvers(ROOT)
    content: dict[str, Any] = {"machine": machine(), "curves": {name: curves(words) for name, words in RUNS.items()}}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
