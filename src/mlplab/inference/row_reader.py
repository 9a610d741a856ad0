"""Reads rows for a trained run: of a new file, block by block, or of the data that it was trained on."""

import functools
import inspect
from collections import Counter
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

from mlplab.config.differing import RENAMED
from mlplab.config.suggestions import nearest_name
from mlplab.data.bundled import bundled
from mlplab.data.idx import idx_images
from mlplab.data.module import DataModule, Source
from mlplab.data.preprocessing import ScalePixels
from mlplab.data.synthetic import synthetic
from mlplab.data.table.column_inference import Column
from mlplab.data.table.column_values import column_values
from mlplab.data.table.file_formats import read_once
from mlplab.data.table.strings import null_missing
from mlplab.data.table.table_checks import first_of, require_columns
from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.data.table.table_reading import BLOCK_ROWS, Reading, open_table, table_blocks
from mlplab.data.table.table_source import table
from mlplab.data.table.target_column import Target, rows_have, target_values
from mlplab.errors import UserError
from mlplab.inference.trained import TrainedRun
from mlplab.runs.checkpoint import explain_bad_card

SOURCES: dict[str, Callable[..., Source]] = {
    "mlplab.data.bundled.bundled": bundled,
    "mlplab.data.synthetic.synthetic": synthetic,
    "mlplab.data.idx.idx_images": idx_images,
    "mlplab.data.table.table_source.table": table,
}
"""The sources that a checkpoint can name. A name outside this table is never imported from a checkpoint."""


SAID_OF_A_FILE = ("path", "delimiter", "quote", "header", "encoding", "skip_lines", "sheet")
"""Options on a new file."""


@dataclass(frozen=True)
class Block:
    """Some rows of a file.

    Attributes:
        inputs: as the preprocessing takes them.
        frame: as they were read.
        first_row: the number of the first one, from 1.
    """

    inputs: tuple[Tensor, ...]
    frame: pl.DataFrame
    first_row: int


@dataclass
class RowReader:
    """Reads files for a trained run: finds columns by name, and counts what training did not have.

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
            card = self.run.card["data"].get("reading")
            self._reading = Reading() if card is None else Reading.from_dict(card)
            # New files are read by the options of training, except for those that are given now.
            self._text = replace(self._reading.text, **self.written)
        if isinstance(self._preprocessing, TablePreprocessing):
            self.columns = self._preprocessing.inputs.columns
        else:
            names = self.run.task.feature_names
            # Data without names, such as images: files without a header line have these names.
            names = names or tuple(f"column_{number}" for number in range(1, self.run.task.n_features + 1))
            self.columns = tuple(Column(name, "numeric") for name in names)
        # Summed up over the blocks, so that each note is made once for a file.
        self._noticed: Counter[str] = Counter()

    @functools.cached_property
    def target(self) -> Target:
        """Returns how the target of the run is read from a file."""
        card = self.run.card["data"].get("reading")
        if card is not None:
            with explain_bad_card(self.run.checkpoint):
                return Target.from_dict(card["target"])
        task = self.run.task
        kind = "categorical" if task.class_names else "numeric"
        return Target(Column(task.target_name, kind), task.class_names)

    def blocks(self, path: Path, also: Mapping[str, str] = {}) -> Iterator[Block]:
        """Yields all rows of a file in their order.

        Args:
            path: a table in any format that training takes.
            also: purpose of a further column → its name.

        Raises:
            UserError: the file cannot be read, lacks a column, or has a value that is not of the column's kind.
        """
        path = read_once(path, "data.path")
        with _errors_of_a_run():
            # A first line with any of these names is a header, even if it looks like values.
            known = [*(column.name for column in self.columns), *also.values()]
            with open_table(path, self._text, known_names=known) as opened:
                noticed: list[str] = []
                yield from self._encoded(table_blocks(path, opened, noticed), path, also)
                # The hint after it names a setting of training, which can no longer be chosen.
                self.notes[:0] = [note.partition("; data.")[0] for note in noticed]

    def _encoded(self, frames: Iterator[pl.DataFrame], path: Path, also: Mapping[str, str]) -> Iterator[Block]:
        first_row = 1
        for frame in frames:
            # Once, as all blocks of a file have the same columns.
            if first_row == 1:
                for purpose, name in also.items():
                    _require_further_column(frame, purpose, name, path)
                needed = [*(column.name for column in self.columns), *also.values()]
                self.notes += require_columns(frame, needed, path, "data.path")
            with _errors_of_a_run(first_row, len(frame)):
                inputs = self._inputs(frame, first_row)
            yield Block(inputs, frame, first_row)
            first_row += len(frame)
        if first_row == 1:
            raise UserError("data.path must hold rows", f"{path} has none", "another file")
        self.notes += [rows_have(count, what) for what, count in self._noticed.items() if count]
        # A further file has counts of its own.
        self._noticed.clear()

    def _inputs(self, frame: pl.DataFrame, first_row: int) -> tuple[Tensor, ...]:
        missing_values = self._reading.missing_values
        values = pl.DataFrame(
            [column_values(self._known(frame, c), c, missing_values, first_row) for c in self.columns]
        )
        if isinstance(self._preprocessing, TablePreprocessing):
            self._notice(values, self._preprocessing)
            return self._preprocessing.inputs.encode(values)
        for series in values:
            # Only the preprocessing of tables has a value to put in place of a missing number.
            if series.null_count():
                row = int(series.is_null().arg_true()[0]) + first_row
                raise UserError(
                    f"column {series.name!r} must have a number in every row, as in training",
                    f"{series.null_count()} {'is' if series.null_count() == 1 else 'are'} missing, first in row {row}",
                    "filling them in",
                )
        numbers = values.to_numpy()
        if isinstance(self._preprocessing, ScalePixels):
            # Refused, as the conversion to bytes would wrap 256 to 0.
            if numbers.min() < 0 or numbers.max() > 255 or (numbers % 1 != 0).any():
                raise UserError(
                    "pixels must be whole numbers from 0 to 255", "the file has other values", "another file"
                )
            return (torch.from_numpy(numbers.astype(np.uint8)),)
        return (torch.from_numpy(np.ascontiguousarray(numbers)),)

    def _known(self, frame: pl.DataFrame, column: Column) -> pl.Series:
        return null_missing(frame[column.name], column.kept, self._reading.missing_values)

    def _notice(self, values: pl.DataFrame, preprocessing: TablePreprocessing) -> None:
        """Counts unknown categories, and missing values in columns where training had none."""
        inputs = preprocessing.inputs
        # Inputs with an indicator are those of which training had missing values.
        may_miss = {inputs.numeric[position].column.name for position in preprocessing.indicated.tolist()}
        may_miss |= {category.name for category in inputs.categorical if category.has_missing}
        for category in inputs.categorical:
            self._noticed[f"a category of {category.name!r} that training did not have"] += category.n_unknown(values)
        for series in values:
            if series.name not in may_miss:
                self._noticed[f"no value of {series.name!r}, of which training missed none"] += series.null_count()

    def targets(self, block: Block) -> npt.NDArray[np.generic]:
        """Returns the targets of a block that was read with the target's column: −1 or NaN where missing."""
        series = self._known(block.frame, self.target.column)
        with _errors_of_a_run(block.first_row, len(series)):
            targets, noticed = target_values(series, self.target, self._reading.missing_values, block.first_row)
        self._noticed.update(noticed)
        return targets


@contextmanager
def _errors_of_a_run(first_row: int = 1, n_rows: int = 0) -> Iterator[None]:
    """Adapts errors to new rows: hints name no setting of training, and counts say of which rows, if not of all."""
    try:
        yield
    except UserError as error:
        # How columns are read is fixed by training; how the file is written can be said for each file.
        is_fixed = "data." in error.hint and not any(f"data.{name}=" in error.hint for name in SAID_OF_A_FILE)
        counted_in = f", counted in rows {first_row:,} to {first_row + n_rows - 1:,}"
        # A single block that is not full is the whole file, and its counts need no range of rows.
        is_part = first_row > 1 or n_rows >= BLOCK_ROWS
        if not is_fixed and not is_part:
            raise
        raise UserError(
            error.requirement,
            error.actual + counted_in * is_part,
            "mending the file" if is_fixed else error.hint,
        ) from None


def _require_further_column(frame: pl.DataFrame, purpose: str, name: str, path: Path) -> None:
    if name in frame.columns:
        return
    hint = "a file that has it"
    if purpose == "id":
        hint = f"id={nearest_name(name, frame.columns) or frame.columns[0]}"
    shown = first_of(frame.columns, 8)
    raise UserError(f"data.path must have the column of the {purpose}, {name!r}", f"{path.name} has {shown}", hint)


def rows_of_training(run: TrainedRun, part: str) -> Iterator[tuple[tuple[Tensor, ...], npt.NDArray[np.generic]]]:
    """Reads and splits the data of the training again; yields inputs and targets of one part.

    Raises:
        UserError: the data are gone, have changed, or come from code of one's own.
    """
    with explain_bad_card(run.checkpoint):
        data: Mapping[str, Any] = run.card["data"]
        source, expected = str(data.get("source")), data["fingerprint"]
        # Checkpoints of earlier versions name the source by its former place.
        source = RENAMED.get(source, source)
    if source not in SOURCES:
        raise UserError(
            "data that are read again must come from a source that mlplab brings",
            f"the run was trained on {source}",
            "data.path=rows.csv with the columns of that data",
        )
    with explain_bad_card(run.checkpoint):
        # Bound now: options that the source does not take are a fault of the card, and not of the data.
        call = inspect.signature(SOURCES[source]).bind(**data["options"])
        module = DataModule(lambda: SOURCES[source](*call.args, **call.kwargs), **data["split"])
    try:
        with explain_bad_card(run.checkpoint):
            dataset, split = module.read()
    except UserError as error:
        # Whatever was proposed, such as another file of a like name, would be other rows.
        raise UserError(
            f"the data that the run was trained on must be there as they were: {error.requirement}",
            error.actual,
            "putting them back, or data.path=… to take other rows",
        ) from None
    # Other rows are split in another way, and the test part could hold rows of the training.
    if dataset.fingerprint != expected:
        raise UserError(
            "the data that the run was trained on must be as they were",
            f"{dataset.name} has changed",
            "the file of then, or data.path=… to take other rows",
        )
    rows = getattr(split, part)
    # In blocks, as the whole part may be larger than what the network is given at once.
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        yield dataset.inputs(block, run.predictor.preprocessing), dataset.targets[block]
