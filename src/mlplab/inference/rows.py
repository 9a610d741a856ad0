"""Rows for a trained run: of a new file, block by block, or of the data that it was trained on."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.config.paths import require_file
from mlplab.config.suggestions import nearest_name
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
from mlplab.errors import UserError
from mlplab.inference.trained import TrainedRun
from mlplab.runs.checkpoint import explain_bad_card

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
        written: how files are written, where that is not to be detected: fields of `TextOptions`.
        notes: what was noticed, for people; complete when a file has been read to its end.
    """

    run: TrainedRun
    written: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._preprocessing = self.run.predictor.preprocessing
        with explain_bad_card(self.run.checkpoint):
            reading = self.run.card["data"].get("reading")
            self._reading = Reading() if reading is None else Reading.from_dict(reading)
            self._text = replace(self._reading.text, **self.written)
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
            with explain_bad_card(self.run.checkpoint):
                return Target.from_dict(reading["target"])
        task = self.run.task
        kind = "categorical" if task.class_names else "numeric"
        return Target(Column(task.target_name, kind), task.class_names)

    def blocks(self, path: Path, also: Mapping[str, str] = {}) -> Iterator[Block]:
        """All rows of a file in their order.

        Args:
            path: CSV, TSV, gzip of them, or Parquet.
            also: what a further column is for → its name.

        Raises:
            UserError: the file cannot be read, lacks a column, or has a cell that is not of the column's kind.
        """
        require_file(path, "data.path")
        if is_parquet(path):
            with _remedies_for_a_run():
                yield from self._encoded(parquet_blocks(path), path, also)
            return
        known = [*(column.name for column in self.columns), *also.values()]
        usual = not self._is_nameless
        with _remedies_for_a_run(), text_file(path, self._text, known_names=known, usual_header=usual) as file:
            self.notes += [note.partition("; data.")[0] for note in file.notes]
            yield from self._encoded(text_blocks(path, file), path, also)

    def _encoded(self, frames: Iterator[pl.DataFrame], path: Path, also: Mapping[str, str]) -> Iterator[Block]:
        needed = [*(column.name for column in self.columns), *also.values()]
        first_row = 1
        for frame in frames:
            if first_row == 1:
                for purpose, name in also.items():
                    _require_further_column(frame, purpose, name, path)
                self.notes += require_columns(frame, needed, path, "data.path")
            with _counted_in(first_row, len(frame)):
                inputs = self._inputs(frame, first_row)
            yield Block(inputs, frame, first_row)
            first_row += len(frame)
        if first_row == 1:
            raise UserError("data.path must hold rows", f"{path} has none", "another file")
        self.notes += [
            f"{count:,} {'row has' if count == 1 else 'rows have'} {what}" for what, count in self._surprises.items()
        ]
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
                raise UserError(
                    f"column {series.name!r} must have a number in every row, as in training",
                    f"{series.null_count()} {'is' if series.null_count() == 1 else 'are'} missing, first in row {row}",
                    "filling them in",
                )
        numbers = typed.to_numpy()
        if isinstance(self._preprocessing, ScalePixels):
            if numbers.min() < 0 or numbers.max() > 255 or (numbers % 1 != 0).any():
                raise UserError("pixels must be whole numbers from 0 to 255", "others are in the file", "another file")
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
        for name in dict.fromkeys(number.column.name for number in preprocessing.inputs.numeric):
            if name not in indicated:
                self._add(f"no value of {name!r}, of which training missed none", typed[name].null_count())

    def _add(self, what: str, count: int) -> None:
        if count:
            self._surprises[what] = self._surprises.get(what, 0) + count

    def targets(self, block: Block, target: Target) -> npt.NDArray[np.generic]:
        """Of a block that was read with the target's column: −1 or NaN where missing."""
        missing = self._reading.missing_values
        cells = present(block.cells[target.name], target.column.kept, missing)
        with _remedies_for_a_run(), _counted_in(block.first_row, len(cells)):
            found, notes = target_values(cells, target, missing, block.first_row)
        for note in notes:
            count, _, _, what = note.split(" ", 3)  # "3 rows have …", "1 row has …"
            self._add(what, int(count.replace(",", "")))
        return found


@contextmanager
def _remedies_for_a_run() -> Iterator[None]:
    """Within it, no refusal proposes a setting of training: how columns are read is fixed by then."""
    try:
        yield
    except UserError as refusal:
        if "data." not in refusal.hint or "data.path" in refusal.hint:
            raise
        raise UserError(refusal.requirement, refusal.actual, "mending the file") from None


@contextmanager
def _counted_in(first_row: int, n_rows: int) -> Iterator[None]:
    """Within it, a refusal says which rows it has counted in, where they may not be all of the file."""
    try:
        yield
    except UserError as refusal:
        if first_row == 1 and n_rows < BLOCK_ROWS:
            raise
        given = f"{refusal.actual}, counted in rows {first_row:,} to {first_row + n_rows - 1:,}"
        raise UserError(refusal.requirement, given, refusal.hint) from None


def _require_further_column(frame: pl.DataFrame, purpose: str, name: str, path: Path) -> None:
    if name in frame.columns:
        return
    near = nearest_name(name, frame.columns)
    shown = ", ".join(frame.columns[:8]) + (", …" if len(frame.columns) > 8 else "")
    remedy = "a file that has it" if purpose != "id" else f"id={near if near is not None else frame.columns[0]}"
    raise UserError(f"data.path must have the column of the {purpose}, {name!r}", f"{path.name} has {shown}", remedy)


def rows_of_training(run: TrainedRun, part: str) -> Iterator[tuple[tuple[Tensor, ...], npt.NDArray[np.generic]]]:
    """Inputs and targets of one part of the data that the run was trained on, read again and split again.

    Raises:
        UserError: the data are gone, have changed, or come from code of one's own.
    """
    with explain_bad_card(run.checkpoint):
        data: Mapping[str, Any] = run.card["data"]
        source, expected = str(data.get("source")), data["fingerprint"]
    if source not in SOURCES:
        raise UserError(
            "data that are read again must come from a source that mlplab brings",
            f"the run was trained on {source}",
            "data.path=rows.csv with the columns of that data",
        )
    with explain_bad_card(run.checkpoint):
        call = inspect.signature(SOURCES[source]).bind(**data["options"])
        module = DataModule(lambda: SOURCES[source](*call.args, **call.kwargs), **data["split"])
    try:
        with explain_bad_card(run.checkpoint):
            dataset, split = module.read()
    except UserError as refusal:
        # Whatever was proposed, such as another file of a like name, would be other rows.
        raise UserError(
            f"the data that the run was trained on must be there as they were: {refusal.requirement}",
            refusal.actual,
            "putting them back, or data.path=… to take other rows",
        ) from None
    if dataset.fingerprint != expected:
        raise UserError(
            "the data that the run was trained on must be as they were",
            f"{dataset.name} has changed",
            "the file of then, or data.path=… to take other rows",
        )
    rows = getattr(split, part)
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        yield dataset.inputs(block, run.predictor.preprocessing), dataset.targets[block]
