"""Rows for a trained run: of a new file, block by block, or of the data that it was trained on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.config.paths import require_file
from mlplab.data.bundled import bundled
from mlplab.data.idx import idx_images
from mlplab.data.module import DataModule, Source
from mlplab.data.preprocessing import ScalePixels
from mlplab.data.synthetic import synthetic
from mlplab.data.table.cells import present
from mlplab.data.table.columns import Column
from mlplab.data.table.files import text_file
from mlplab.data.table.preprocessing import TablePreprocessing
from mlplab.data.table.reading import BLOCK_ROWS, Reading, is_parquet, parquet_blocks, text_blocks
from mlplab.data.table.requirements import require_columns
from mlplab.data.table.source import table
from mlplab.data.table.target import Target, target_values
from mlplab.data.table.values import values
from mlplab.errors import Refusal
from mlplab.inference.trained import TrainedRun

SOURCES: dict[str, Callable[..., Source]] = {
    "mlplab.data.bundled.bundled": bundled,
    "mlplab.data.synthetic.synthetic": synthetic,
    "mlplab.data.idx.idx_images": idx_images,
    "mlplab.data.table.source.table": table,
}
"""The sources that a checkpoint can name. A name outside this table is never imported from a checkpoint."""


@dataclass(frozen=True)
class Block:
    """Some rows of a file, as the model takes them, beside the cells as they were read."""

    inputs: tuple[Tensor, ...]
    cells: pl.DataFrame
    first_row: int


@dataclass
class RowReader:
    """Reads files for a trained run: columns are found by name, and what is odd is counted.

    Attributes:
        run: whose model takes the rows.
        notes: what was noticed, for people; complete when a file has been read to its end.
    """

    run: TrainedRun
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._preprocessing = self.run.predictor.preprocessing
        reading = self.run.card["data"].get("reading")
        self._reading = Reading() if reading is None else Reading.from_dict(reading)
        self._is_nameless = reading is not None and bool(reading["is_nameless"])
        self._surprises: dict[str, int] = {}
        if isinstance(self._preprocessing, TablePreprocessing):
            self.columns = self._preprocessing.inputs.columns
        else:
            names = self.run.task.feature_names
            names = names or tuple(f"column_{number}" for number in range(1, self.run.task.n_features + 1))
            self.columns = tuple(Column(name, "numeric") for name in names)

    def target(self) -> Target:
        """How the target of the run is read from a file."""
        reading = self.run.card["data"].get("reading")
        if reading is not None:
            return Target.from_dict(reading["target"])
        task = self.run.task
        kind = "categorical" if task.class_names else "numeric"
        return Target(Column(task.target_name, kind), task.class_names)

    def blocks(self, path: Path, also: tuple[str, ...] = ()) -> Iterator[Block]:
        """All rows of a file in their order.

        Args:
            path: CSV, TSV, gzip of them, or Parquet.
            also: names of further columns that it must have.

        Raises:
            Refusal: the file cannot be read, lacks a column, or has a cell that is not of the column's kind.
        """
        require_file(path, "data.path")
        names = [column.name for column in self.columns]
        if is_parquet(path):
            yield from self._encoded(parquet_blocks(path), path, [*names, *also])
            return
        known = [*names, *also]
        with text_file(path, self._reading.text, known_names=known, usual_header=not self._is_nameless) as file:
            self.notes += file.notes
            yield from self._encoded(text_blocks(path, file), path, known)

    def _encoded(self, frames: Iterator[pl.DataFrame], path: Path, needed: list[str]) -> Iterator[Block]:
        first_row = 1
        for frame in frames:
            if first_row == 1:
                self.notes += require_columns(frame, needed, path, "data.path")
            yield Block(self._inputs(frame, first_row), frame, first_row)
            first_row += len(frame)
        if first_row == 1:
            raise Refusal("data.path must hold rows", f"{path} has none", "another file")
        self.notes += [f"{count:,} rows have {what}" for what, count in self._surprises.items()]
        self._surprises = {}

    def _inputs(self, frame: pl.DataFrame, first_row: int) -> tuple[Tensor, ...]:
        missing = self._reading.missing_values
        typed = pl.DataFrame([values(frame[c.name], c, missing, first_row) for c in self.columns])
        if isinstance(self._preprocessing, TablePreprocessing):
            self._count_surprises(typed, self._preprocessing)
            return self._preprocessing.inputs.encode(typed)
        for series in typed:
            if series.null_count():
                row = int(series.is_null().arg_true()[0]) + first_row
                raise Refusal(
                    f"column {series.name!r} must have a number in every row, as in training",
                    f"{series.null_count()} {'is' if series.null_count() == 1 else 'are'} missing, first in row {row}",
                    "filling them in",
                )
        numbers = typed.to_numpy()
        if isinstance(self._preprocessing, ScalePixels):
            if numbers.min() < 0 or numbers.max() > 255 or (numbers % 1 != 0).any():
                raise Refusal("pixels must be whole numbers from 0 to 255", "others are in the file", "another file")
            return (torch.from_numpy(numbers.astype(np.uint8)),)
        return (torch.from_numpy(np.ascontiguousarray(numbers)),)

    def _count_surprises(self, typed: pl.DataFrame, preprocessing: TablePreprocessing) -> None:
        for category in preprocessing.inputs.categorical:
            self._add(f"a level of {category.name!r} that training did not have", category.n_unknown(typed))
            if not category.has_missing:
                missing = typed[category.name].null_count()
                self._add(f"no value of {category.name!r}, of which training missed none", missing)
        indicated = {
            preprocessing.inputs.numeric[position].column.name for position in preprocessing.indicated.tolist()
        }
        for name in {number.column.name for number in preprocessing.inputs.numeric} - indicated:
            self._add(f"no value of {name!r}, of which training missed none", typed[name].null_count())

    def _add(self, what: str, count: int) -> None:
        if count:
            self._surprises[what] = self._surprises.get(what, 0) + count

    def targets(self, block: Block, target: Target) -> npt.NDArray[np.generic]:
        """Of a block that was read with the target's column: −1 or NaN where missing."""
        missing = self._reading.missing_values
        found, notes = target_values(
            present(block.cells[target.name], target.column.kept, missing), target, missing, block.first_row
        )
        for note in notes:
            count, _, what = note.partition(" rows have ")
            self._add(what, int(count.replace(",", "")))
        return found

    def id_cells(self, block: Block, name: str) -> pl.Series:
        """The cells of a column as they were read."""
        return block.cells[name]


def rows_of_training(run: TrainedRun, part: str) -> Iterator[tuple[tuple[Tensor, ...], npt.NDArray[np.generic]]]:
    """Inputs and targets of one part of the data that the run was trained on, read again and split again.

    Raises:
        Refusal: the data are gone, have changed, or come from code of one's own.
    """
    data: Mapping[str, Any] = run.card["data"]
    source = data.get("source")
    if source not in SOURCES:
        raise Refusal(
            "data that are read again must come from a source that mlplab brings",
            f"the run was trained on {source}",
            "data.path=rows.csv with the columns of that data",
        )
    try:
        module = DataModule(lambda: SOURCES[source](**data["options"]), **data["split"])
    except TypeError as error:
        raise Refusal("a checkpoint's data must be described", f"{run.checkpoint}: {error}", "data.path=…") from None
    dataset, split = module.read()
    if dataset.fingerprint != data.get("fingerprint"):
        raise Refusal(
            "the data that the run was trained on must be as they were",
            f"{dataset.name} has changed",
            "the file of then, or data.path=… to evaluate on another",
        )
    rows = getattr(split, part)
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        yield dataset.inputs(block, run.predictor.preprocessing), dataset.targets[block]
