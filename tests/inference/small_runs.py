"""Runs for the tests of inference: a table with every kind of column, and checkpoints made in a moment."""

import gzip
import json
import resource
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from composing import composed
from parts import skip_without

from mlplab.config.resolvers import register_resolvers
from mlplab.data.module import DataModule
from mlplab.inference.training_rows import source_named
from mlplab.models import MLP
from mlplab.models.inputs import WithInputs, build_inputs
from mlplab.objectives.objective import build_objective, n_outputs
from mlplab.runs.checkpoint import model_card

ROOT = Path(__file__).resolve().parents[2]
TABLE = "mlplab.data.table.table_source.table"
TOWNS = [f"town {letter}" for letter in "ABCDEFGHIJKLMN"]
FEATURES = ("length", "gap", "colour", "town", "when", "flag")


def houses(n_rows: int = 200, seed: int = 0) -> pl.DataFrame:
    """Numbers with and without gaps, few levels, many levels with gaps, dates, truth values; text cells throughout.

    Targets: `kind` with three classes, one with a comma; `binary`; `price`, a number.
    """
    generator = np.random.default_rng(seed)
    length = generator.normal(50, 20, n_rows)
    gap = generator.exponential(3, n_rows)
    colour = generator.choice(["red", "green", "blue"], n_rows)
    town = generator.choice(TOWNS, n_rows)
    price = 10 * length + 40 * (colour == "red") + gap
    kind = np.select([price > 600, price > 450], ["large, old", "medium"], "small")
    return pl.DataFrame(
        {
            "row": [f"r {number:05}" for number in range(n_rows)],
            "length": [f"{value:.4f}" for value in length],
            "gap": ["" if generator.random() < 0.2 else f"{value:.4f}" for value in gap],
            "colour": colour,
            "town": ["NA" if generator.random() < 0.15 else name for name in town],
            "when": [
                f"2024-{1 + n % 12:02}-{1 + n % 28:02} {n % 24:02}:00" for n in generator.integers(0, 999, n_rows)
            ],
            "flag": generator.choice(["yes", "no"], n_rows),
            "kind": kind,
            "binary": np.where(price > 500, "dear", "cheap"),
            "price": [f"{value:.3f}" for value in price],
        }
    )


def write_houses(path: Path, n_rows: int = 200, seed: int = 0, **columns: list[str]) -> Path:
    """The table as CSV, with some columns as they are given."""
    houses(n_rows, seed).with_columns(**{name: pl.Series(cells) for name, cells in columns.items()}).write_csv(path)
    return path


def table_options(path: Path, target: str = "kind", **more: Any) -> dict[str, Any]:
    """Of `table`, with only one target left in."""
    drop = [name for name in ("row", "kind", "binary", "price") if name != target]
    return {"path": str(path), "target": target, "drop": drop, **more}


def save_run(
    directory: Path,
    options: Mapping[str, Any],
    *,
    source: str = TABLE,
    loss: str = "auto",
    class_weights: Any = None,
    **model_options: Any,
) -> Path:
    """A run's directory with a checkpoint as training leaves it, of a network that was never trained."""
    if source == TABLE:
        skip_without("tables")
    split = {"batch_size": 32, "validation_fraction": 0.15, "test_fraction": 0.15, "split_seed": 0}
    data = DataModule(lambda: source_named(source)(**options), **split)
    data.origin = {"source": source, "options": dict(options), "split": split}
    data.setup()
    torch.manual_seed(0)
    objective = build_objective(loss, data.task, class_counts=data.class_counts, class_weights=class_weights)
    encoding = data.preprocessor.input_encoding()
    inputs = None if encoding is None else build_inputs(encoding, data.task.n_features)
    network = MLP(
        in_features=data.task.n_features if inputs is None else inputs.out_features,
        out_features=n_outputs(objective.name, data.task),
        **{"hidden_dims": [8, 8], "bias_initialization": "normal", **model_options},
    )
    model = network if inputs is None else WithInputs(inputs, network)
    with torch.no_grad():
        for _ in range(3):
            model(data.part("train")[0])  # moves the running statistics
    card = model_card(
        model, {}, task=data.task, preprocessing=data.preprocessor, objective=objective, data=data.as_dict()
    )
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    (directory / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": weights, "epoch": 1, "card": card}, directory / "checkpoints" / "best.ckpt")
    return directory


def predict_file(*arguments: Any, **options: Any) -> Any:
    """Predicts the rows of a file."""
    skip_without("tables")
    from mlplab.inference import predicting

    return predicting.predict_file(*arguments, **options)


def change_card(directory: Path, place: tuple[str, ...], value: Any) -> None:
    """Writes another value into the card of a run; with the value `...` it is taken out."""
    path = directory / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    part = content["card"]
    for key in place[:-1]:
        part = part[key]
    if value is ...:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    torch.save(content, path)


def train_run(directory: Path, *overrides: str) -> dict[str, Any]:
    """Trains two epochs as train.py does, and gives result.json."""
    from mlplab.training import train

    register_resolvers(ROOT)
    quick = ("trainer=cpu", "trainer.max_epochs=2", "callbacks=minimal", "logger=none")
    train(composed(*quick, *overrides, f"paths.run={directory}"))
    return json.loads((directory / "result.json").read_text())  # type: ignore[no-any-return]


def write_images(folder: Path, n_train: int = 120, n_test: int = 40) -> Path:
    """Four idx files of images of 5×4 pixels in three classes; one of them packed."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, n_rows in (("train", n_train), ("t10k", n_test)):
        labels = (np.arange(n_rows) % 3).astype(np.uint8)
        images = generator.integers(0, 120, (n_rows, 5, 4), dtype=np.uint8) + (60 * labels)[:, None, None]
        content = struct.pack(">4B3I", 0, 0, 8, 3, n_rows, 5, 4) + images.astype(np.uint8).tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        content = struct.pack(">4BI", 0, 0, 8, 1, n_rows) + labels.tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(content)
    return folder


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Within it, writing more to a file fails, as on a full disk; whoever writes it, and in whatever language."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))  # Python ignores the signal that comes with it
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
