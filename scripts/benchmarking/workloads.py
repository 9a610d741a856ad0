"""The workloads: data as files, and the settings that all contestants share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mlplab.parts import is_there

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workload:
    """Describes a network, its data and how long it is trained.

    Attributes:
        title: for tables.
        overrides: of the template's configuration.
        epochs: for a run of about a second.
        networks: that are trained, each with a seed and a learning rate of its own; 0 is a single run.
        part: of the project that it needs; None if it needs none.
    """

    title: str
    overrides: tuple[str, ...]
    epochs: int
    networks: int = 0
    part: str | None = None


IMAGES = ("data=mnist", "model.hidden_dims=[256,128]", "data.validation_fraction=0.1")

_ALL = {
    "S": Workload("digits 64-128-64-10, batch 32", ("data=digits",), 20),
    "S128": Workload("digits 64-128-64-10, batch 128", ("data=digits", "data.batch_size=128"), 40),
    "M": Workload("60,000 images 784-256-128-10, batch 128", (*IMAGES, "data.batch_size=128"), 2),
    "L": Workload("60,000 images 784-256-128-10, batch 1024", (*IMAGES, "data.batch_size=1024"), 2),
    "T": Workload(
        "table of 1,000,000 x 50 with categories, 128-64, batch 1024",
        ("data=table", "data.target=label", "data.task=classification", "data.batch_size=1024"),
        1,
        part="tables",
    ),
    **{
        f"K{k}": Workload(f"{k} networks 64-128-64-10 on digits, batch 32", ("data=digits",), 20, k, part="sweeps")
        for k in (1, 8, 32, 128, 512)
    },
}

WORKLOADS = {name: workload for name, workload in _ALL.items() if workload.part is None or is_there(workload.part)}

MOST_TRAINED = 32
"""Networks that are trained of a larger sweep by those who train one after the other: enough to know the time."""


def prepare(name: str, folder: Path, mnist: Path | None, threads: int) -> None:
    """Writes settings.json and the arrays for the workers, made by the template's own reading of the data."""
    from mlplab.building import build_data, build_learner

    workload = WORKLOADS[name]
    overrides = [*workload.overrides, f"trainer.max_epochs={workload.epochs}", f"trainer.threads={threads}"]
    overrides += ["model.dropout=0", "callbacks.early_stopping.patience=1000", "trainer=cpu"]
    if name in ("M", "L"):
        overrides.append(f"data.directory={mnist or make_images(folder.parent / 'images')}")
    if name == "T":
        overrides.append(f"data.path={make_table(folder.parent)}")
    config = composed(overrides)
    data = build_data(config)
    data.setup()
    network = build_learner(config, data).model
    for part in ("train", "test"):
        features, targets = data.part(part)  # type: ignore[arg-type]
        if hasattr(network, "inputs"):  # levels spread out, pixels scaled: what others would have in memory
            features = network.inputs(features).detach()
        np.save(folder / f"{part}_features.npy", features.numpy())
        np.save(folder / f"{part}_targets.npy", targets.numpy())
    settings = {
        "overrides": overrides,
        "epochs": workload.epochs,
        "batch_size": config.data.batch_size,
        "hidden_dims": list(config.model.hidden_dims),
        "n_classes": data.task.n_classes,
        "lr": config.optimizer.lr,
        "threads": threads,
        "n_rows": len(data.part("train")[1]),
        "n_validation_rows": len(data.part("val")[1]),
        "steps_per_epoch": len(data.train_dataloader()),
        "networks": workload.networks,
        "trained": workload.networks if workload.networks <= MOST_TRAINED else MOST_TRAINED // 4,
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def composed(overrides: list[str]) -> DictConfig:
    """Composes the template's configuration."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=overrides)


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads the settings that all contestants share."""
    settings: dict[str, Any] = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    return settings


def read_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads the features and targets of the training and the test part, by name."""
    names = [f"{part}_{what}" for part in ("train", "test") for what in ("features", "targets")]
    return {name: np.load(folder / f"{name}.npy") for name in names}


def make_images(folder: Path) -> Path:
    """Writes 70,000 grey images of ten kinds as four idx files, for a machine without MNIST."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    kinds = generator.integers(0, 256, (10, 784)) * (generator.random((10, 784)) < 0.3)
    for name, n in (("train", 60_000), ("t10k", 10_000)):
        labels = generator.integers(0, 10, n, dtype=np.uint8)
        shares = generator.uniform(0.3, 1, (n, 1)).astype(np.float32)
        images = (kinds[labels] * shares + generator.normal(0, 60, (n, 784)).astype(np.float32)).clip(0, 255)
        head = bytes([0, 0, 8, 3]) + np.array([n, 28, 28], ">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.astype(np.uint8).tobytes())
        head = bytes([0, 0, 8, 1]) + np.array([n], ">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    return folder


def make_table(folder: Path, n_rows: int = 1_000_000) -> Path:
    """Writes a table of 42 numeric and 8 categorical columns, and a label that follows from some of both."""
    import polars as pl

    generator = np.random.default_rng(0)
    columns: dict[str, npt.NDArray[Any]] = {
        f"number_{index}": generator.normal(0, 1, n_rows).astype(np.float32) for index in range(42)
    }
    levels = {f"level_{index}": generator.integers(0, 3 + index, n_rows) for index in range(8)}
    signal = columns["number_0"] * columns["number_1"] + columns["number_2"]
    signal += np.where(levels["level_3"] % 2 == 0, columns["number_3"], -columns["number_3"])
    signal += (levels["level_7"] > 4) + generator.normal(0, 0.5, n_rows)
    columns.update({name: np.array(list("abcdefghij"))[values] for name, values in levels.items()})
    columns["label"] = np.array(["low", "middle", "high"])[np.digitize(signal, [-0.5, 1.2])]
    path = folder / "table.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path
