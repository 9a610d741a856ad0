"""Reads the rows of a new file for a trained run, block by block."""

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from mlplab.config.suggestions import nearest_name
from mlplab.data.preprocessing import ScalePixels
from mlplab.data.table.column import Column
from mlplab.data.table.column_values import column_values, n_unreadable
from mlplab.data.table.file_formats import read_once
from mlplab.data.table.named_columns import require_columns
from mlplab.data.table.reading_options import Reading
from mlplab.data.table.row_weights import row_weights
from mlplab.data.table.seen_categories import SeenCategories
from mlplab.data.table.spellings import Spellings
from mlplab.data.table.strings import for_shell, null_missing
from mlplab.data.table.table_opening import open_table
from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.data.table.table_reading import BLOCK_ROWS, table_blocks
from mlplab.data.table.table_rules import OF_ANY_FILE
from mlplab.data.table.targets import (
    AnyTarget,
    Target,
    as_written,
    columns_of,
    missing_of_each,
    read_targets,
    target_from_dict,
)
from mlplab.data.table.text_layout import TextOptions
from mlplab.errors import UserError, agree, counted, first_of
from mlplab.inference.file_columns import columns_of_file
from mlplab.inference.trained import TrainedRun
from mlplab.inference.training_rows import Rows
from mlplab.runs.checkpoint import explain_bad_card


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
    """Reads files for a trained run: finds columns by name, and counts unknown categories and new missing values.

    Attributes:
        run: whose model takes the rows.
        written: options of conf/data/table.yaml on the format of files; others are detected.
        accepts_unknown: whether to accept columns with hardly any category known from training.
        notes: remarks for people, complete when a file has been read to its end.
    """

    run: TrainedRun
    written: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    accepts_unknown: bool = False

    def __post_init__(self) -> None:
        self._preprocessing = self.run.predictor.preprocessing
        with explain_bad_card(self.run.checkpoint):
            card = self.run.card["data"].get("reading")
            self._reading = Reading() if card is None else Reading.from_dict(card)
            # New files are read with the options of training, unless others are given now.
            of_text = {option.name for option in fields(TextOptions)}
            self._text = replace(
                self._reading.text, **{name: value for name, value in self.written.items() if name in of_text}
            )
            # Markers of missing values are added to those of training, which the model has learned.
            markers = (str(value) for value in self.written.get("missing_values", ()))
            self._reading = replace(self._reading, missing_values=(*self._reading.missing_values, *markers))
        if isinstance(self._preprocessing, TablePreprocessing):
            self.columns = self._preprocessing.inputs.columns
        else:
            names = self.run.task.feature_names
            # For data without names, such as images, from files without a header.
            names = names or tuple(f"column_{number}" for number in range(1, self.run.task.n_features + 1))
            self.columns = tuple(Column(name, "numeric") for name in names)
        # In this file's formats, detected in its first block.
        self._as_written: dict[str, Column] = {}
        # Summed over blocks, so that each note appears once per file.
        self._noticed: Counter[str] = Counter()
        self._seen: dict[str, SeenCategories] = {}

    @functools.cached_property
    def target(self) -> AnyTarget:
        """Returns how to read the run's target from a file."""
        card = self.run.card["data"].get("reading")
        if card is not None:
            with explain_bad_card(self.run.checkpoint):
                target = target_from_dict(card["target"])
            # Rare classes of the training file may have been dropped.
            return replace(target, class_names=self.run.task.class_names) if isinstance(target, Target) else target
        task = self.run.task
        kind = "categorical" if task.class_names else "numeric"
        return Target(Column(task.target_name, kind), task.class_names)

    @functools.cached_property
    def weight(self) -> Column | None:
        """Returns how to read the weights of rows from a file; None if the run had none."""
        with explain_bad_card(self.run.checkpoint):
            plain = (self.run.card["data"].get("reading") or {}).get("weight")
            return None if plain is None else Column.from_dict(plain)

    def blocks(self, path: Path, also: Mapping[str, str] = {}) -> Iterator[Block]:
        """Yields all rows of a file in their order.

        Args:
            path: a table in any format that training takes.
            also: purpose of a further column → its name. The file may lack `weights`; a note then says so.

        Raises:
            UserError: the file cannot be read, lacks a column, or has a value that is not of the column's kind.
        """
        path = read_once(path, "data.path")
        with _errors_of_a_run():
            # A first line with any of these names is a header, even if it looks like data.
            known = [*(column.name for column in self.columns), *also.values()]
            with open_table(path, self._text, known_names=known) as opened:
                noticed: list[str] = []
                yield from self._encoded(table_blocks(path, opened, noticed), path, also)
                self.notes[:0] = noticed

    def _encoded(self, frames: Iterator[pl.DataFrame], path: Path, also: Mapping[str, str]) -> Iterator[Block]:
        first_row = 1
        for frame in frames:
            # Once per file, as all blocks have the same columns.
            if first_row == 1:
                if "weights" in also and also["weights"] not in frame.columns:
                    self.notes.append(f"{path.name} has no column {also['weights']!r}: each row counts once")
                    also = {purpose: name for purpose, name in also.items() if purpose != "weights"}
                for purpose, name in also.items():
                    _require_further_column(frame, purpose, name, path)
                needed = [*(column.name for column in self.columns), *also.values()]
                self.notes += require_columns(frame, needed, path, "data.path")
                targets = columns_of(self.target) if any(key.startswith("target") for key in also) else ()
                columns = [*self.columns, *(one.column for one in targets)]
                known = pl.DataFrame([self._known(frame, column) for column in columns])
                self._as_written, notes = columns_of_file(
                    columns, known, self.written.get("decimal", "auto"), self.written.get("date_format")
                )
                self.notes += notes
            with _errors_of_a_run(first_row, len(frame)):
                inputs = self._inputs(frame, first_row)
            yield Block(inputs, frame, first_row)
            first_row += len(frame)
        if first_row == 1:
            raise UserError("data.path must hold rows", f"{path} has none", "another file")
        for seen in self._seen.values():
            if not self.accepts_unknown:
                seen.require_known()
            self.notes += seen.notes()
        self.notes += [f"{counted(count, 'row', 'has')} {what}" for what, count in self._noticed.items() if count]
        # Counts start anew for each file.
        self._noticed.clear()
        self._seen.clear()

    def _inputs(self, frame: pl.DataFrame, first_row: int) -> tuple[Tensor, ...]:
        missing_values = self._reading.missing_values
        columns = [self._as_written[column.name] for column in self.columns]
        known = [self._known(frame, column) for column in columns]
        values = pl.DataFrame(
            [column_values(s, c, missing_values, first_row) for s, c in zip(known, columns, strict=True)]
        )
        for series in known:
            unreadable = n_unreadable(series, values[series.name])
            self._noticed[f"a value of {series.name!r} that cannot be read, and counts as missing"] += unreadable
        if isinstance(self._preprocessing, TablePreprocessing):
            values = self._notice(values, self._preprocessing)
            return self._preprocessing.inputs.encode(values)
        for series in values:
            # Only the preprocessing of tables imputes missing numbers.
            if series.null_count():
                row = int(series.is_null().arg_true()[0]) + first_row
                raise UserError(
                    f"column {series.name!r} must have a number in every row, as in training",
                    f"{series.null_count()} {agree(series.null_count(), 'is')} missing, first in row {row}",
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

    def _notice(self, values: pl.DataFrame, preprocessing: TablePreprocessing) -> pl.DataFrame:
        """Counts unknown categories, and missing values in columns where training had none.

        Returns:
            The values, with categories in the spelling of training.
        """
        inputs = preprocessing.inputs
        # Inputs with an indicator had missing values in training.
        may_miss = {inputs.numeric[position].column.name for position in preprocessing.indicated.tolist()}
        may_miss |= {category.name for category in inputs.categorical if category.has_missing}
        for category in inputs.categorical:
            if category.name not in self._seen:
                self._seen[category.name] = SeenCategories(category.name, Spellings(category.categories))
            values = values.with_columns(self._seen[category.name].add(values[category.name]))
        for series in values:
            if series.name not in may_miss:
                self._noticed[f"no value of {series.name!r}, of which training missed none"] += series.null_count()
        return values

    def targets(self, block: Block) -> npt.NDArray[np.generic]:
        """Returns the targets of a block that was read with the target's column: −1 or NaN if missing."""
        known = pl.DataFrame([self._known(block.frame, one.column) for one in columns_of(self.target)])
        with _errors_of_a_run(block.first_row, len(known)):
            target = as_written(self.target, self._as_written)
            targets, noticed = read_targets(known, target, self._reading.missing_values, block.first_row)
        self._noticed.update(noticed)
        return targets

    def weights(self, block: Block, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64] | None:
        """Returns the weights of a block, checked only in the given rows; None if there are none."""
        if self.weight is None or self.weight.name not in block.frame.columns:
            return None
        series = self._known(block.frame, self.weight)
        with _errors_of_a_run(block.first_row, len(series)):
            weights = row_weights(series, self.weight, self._reading.missing_values, rows, block.first_row)
        return weights.to_numpy()


def rows_with_targets(reader: RowReader, path: Path) -> Rows:
    """Yields inputs and targets of a file's rows; rows without a target are skipped and counted in a note."""
    n_missing = 0
    weighing = {} if reader.weight is None else {"weights": reader.weight.name}
    columns = columns_of(reader.target)
    # The message on a missing column uses this name.
    wanted = {"target" if len(columns) == 1 else f"target {one.name}": one.name for one in columns}
    for block in reader.blocks(path, {**wanted, **weighing}):
        targets = reader.targets(block)
        known = ~np.logical_or.reduce(missing_of_each(targets, reader.target), axis=1)
        n_missing += int((~known).sum())
        # A block without any target would become an empty batch, whose mean loss is NaN.
        if known.any():
            weights = reader.weights(block, known)
            inputs = tuple(tensor[torch.from_numpy(known)] for tensor in block.inputs)
            yield inputs, targets[known], None if weights is None else weights[known]
    if n_missing:
        what = "no target" if len(columns) == 1 else "not every target"
        reader.notes.append(f"{counted(n_missing, 'row', 'has')} {what}: left out")


@contextmanager
def _errors_of_a_run(first_row: int = 1, n_rows: int = 0) -> Iterator[None]:
    """Adapts errors to new rows.

    Hints name only options that still apply to a new file. If a block is only part of the file, its rows are named.
    """
    try:
        yield
    except UserError as error:
        hint = _hint_for_a_file(error)
        counted_in = f", counted in rows {first_row:,} to {first_row + n_rows - 1:,}"
        # A single block that is not full is the whole file, so no range of rows is needed.
        is_part = first_row > 1 or n_rows >= BLOCK_ROWS
        raise UserError(error.requirement, error.actual + counted_in * is_part, hint) from None


def _hint_for_a_file(error: UserError) -> str:
    """Returns the hint without settings of training, which can no longer be chosen."""
    allowed = {*OF_ANY_FILE, "path"}
    clauses = error.hint.split(", or ")
    kept = [clause for clause in clauses if allowed.issuperset(re.findall(r"\bdata\.(\w+)", clause))]
    if kept == clauses:  # no setting of training is named, or the hint was adapted before
        return error.hint
    if "must be a date of the form" in error.requirement:
        kept = ["data.date_format=… as it is in this file"]
    elif error.requirement.endswith("must be a number") and re.search(r"'-?\d+[.,]\d", error.actual):
        kept.insert(0, "data.decimal=. or 'data.decimal=\",\"'")
    return ", or ".join([*kept, "mending the file"])


def _require_further_column(frame: pl.DataFrame, purpose: str, name: str, path: Path) -> None:
    if name in frame.columns:
        return
    hint = "a file that has it"
    if purpose == "id":
        hint = for_shell(f"id={nearest_name(name, frame.columns) or frame.columns[0]}")
    shown = first_of(frame.columns, 8)
    raise UserError(f"data.path must have the column of the {purpose}, {name!r}", f"{path.name} has {shown}", hint)
