"""Predicts the rows of a file, and writes the predictions to another."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from mlplab.errors import UserError, not_writable
from mlplab.inference.intervals import Calibrated
from mlplab.inference.row_reader import RowReader
from mlplab.inference.trained import TrainedRun
from mlplab.objectives.objective import predictions
from mlplab.runs.files import FORMULA_STARTS, remove_temporary_files, write_atomically
from mlplab.task import Task

FORMULA = f"^[{''.join(FORMULA_STARTS)}]"  # the dash is the last, and so is no range

NUMBER = r"^[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?%?$"
"""A number with a sign is no formula."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Predictions:
    """The number of rows that were written, and what was noticed in reading them."""

    n_rows: int
    notes: tuple[str, ...]


def predict_file(
    run: TrainedRun,
    path: Path,
    out: Path,
    *,
    id_column: str | None = None,
    probabilities: bool = False,
    temperature: bool = False,
    intervals: float | None = None,
    formulas: bool = False,
    overwrite: bool = False,
    written: Mapping[str, Any] = {},
    accepts_unknown: bool = False,
) -> Predictions:
    """Writes a row for each row of `path`, in the same order, as CSV, TSV or Parquet by the ending of `out`.

    Its columns: `id_column`, where named; "prediction", the name of the class or the value in the target's unit; with
    `intervals`, their level, "lower" and "upper", or for classes "set"; with `probabilities`, "probability_CLASS" for
    each class, which `temperature` scales by that of the run. Of several targets: "prediction_TARGET" for each, with
    `intervals` "lower_TARGET" and "upper_TARGET", and with `probabilities` "probability_TARGET", that the label is
    true. The file appears whole or not at all. In CSV and TSV, text that a spreadsheet would take for a formula gets an
    apostrophe before it, unless `formulas` says otherwise. `written` and `accepts_unknown` are those of `RowReader`.

    Raises:
        UserError: a file cannot be read or written, or is there already.
    """
    # Also by another name or link: with overwrite=true the predictions would replace the rows.
    if out.exists() and path.exists() and out.samefile(path):
        raise UserError("out must be another file than data.path", f"both are {out}", "another name")
    # Refused before the first of perhaps millions of rows is read.
    require_writable(out, overwrite, [*SEPARATORS, ".parquet"])
    if probabilities and run.task.kind == "regression":
        raise UserError("proba=true must be for a classification", "the run is a regression", "proba=false")
    if temperature and not probabilities:
        raise UserError("temperature=fitted must be given with proba=true", "proba=false", "proba=true, or without it")
    calibrated = Calibrated(run, intervals, scales=temperature)
    reader = RowReader(run, written, accepts_unknown=accepts_unknown)
    count = n_formulas = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal count, n_formulas
        for block in reader.blocks(path, {} if id_column is None else {"id": id_column}):
            columns = _columns(run, run.outputs(block.inputs), calibrated, probabilities=probabilities)
            if id_column is not None:
                columns.insert(0, _identifiers(block.frame[id_column], [column.name for column in columns]))
            count += len(block.frame)
            frame = pl.DataFrame(columns)
            if out.suffix in SEPARATORS and not formulas:
                frame, changed = without_formulas(frame)
                n_formulas += changed
            yield frame

    def write(temporary: Path) -> None:
        if out.suffix == ".parquet":
            content = io.BytesIO()  # polars hides the number of the system's error, such as a full disk
            # One frame of predictions alone: the rows themselves are read block by block.
            pl.concat(list(frames())).write_parquet(content)
            temporary.write_bytes(content.getbuffer())
            return
        with temporary.open("wb") as file:
            # Block by block, so that memory does not grow with the number of rows.
            for number, frame in enumerate(frames()):
                frame.write_csv(file, include_header=number == 0, separator=SEPARATORS[out.suffix])

    write_once(out, write, overwrite)
    if n_formulas:
        reader.notes.append(
            f"{n_formulas:,} {'value begins' if n_formulas == 1 else 'values begin'} like a formula: written with ' "
            "before, so that no spreadsheet runs them; formulas=true leaves them as they are"
        )
    return Predictions(count, (*calibrated.notes, *reader.notes))


def without_formulas(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Puts an apostrophe before text that begins as a formula, headings too; counts the values that it changed."""
    count = 0
    columns = []
    for column in frame:
        if column.dtype == pl.String:
            begins = (column.str.contains(FORMULA) & ~column.str.contains(NUMBER)).fill_null(False)
            count += int(begins.sum())
            column = pl.select(pl.when(begins).then("'" + column).otherwise(column).alias(column.name)).to_series()
        columns.append(column)
    names = [f"'{n}" if re.match(FORMULA, n) and not re.match(NUMBER, n) else n for n in frame.columns]
    return pl.DataFrame([column.rename(name) for column, name in zip(columns, names, strict=True)]), count


def _identifiers(series: pl.Series, others: list[str]) -> pl.Series:
    if series.name in others:
        raise UserError(
            "id must name a column that predictions do not have", f"id={series.name}", "renaming it in data.path"
        )
    # Text files have no form for these types from which the same value is read back.
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object, pl.Duration):
        raise UserError("id must name a column of text, numbers or dates", f"it holds {series.dtype}", "another column")
    return series


def _columns(run: TrainedRun, outputs: Tensor, calibrated: Calibrated, *, probabilities: bool) -> list[pl.Series]:
    predicted = predictions(outputs, run.task)
    if run.task.target_names:
        columns = list(_columns_of_several(run.task, predicted, probabilities))
        for place, name in enumerate(run.task.target_names):
            columns += [
                one.alias(f"{one.name}_{name}")
                for one in calibrated.bounds(pl.Series(predicted[:, place].numpy()), place)
            ]
        return columns
    if run.task.kind == "regression":
        values = pl.Series("prediction", predicted.squeeze(1).numpy())
        return [values, *calibrated.bounds(values)]
    names = pl.Series(run.task.class_names)
    columns = [names.gather(predicted.argmax(1).numpy()).rename("prediction"), *calibrated.sets(predicted)]
    if probabilities:
        # After the class was decided, which the temperature does not change.
        predicted = predictions(outputs / calibrated.temperature, run.task)
        columns += [
            pl.Series(f"probability_{name}", predicted[:, index].numpy())
            for index, name in enumerate(run.task.class_names)
        ]
    return columns


def _columns_of_several(task: Task, predicted: Tensor, probabilities: bool) -> Iterator[pl.Series]:
    """Yields a column for each target: the value, or the name of the label, and perhaps its probability to be true."""
    for place, (name, of_one) in enumerate(zip(task.target_names, predicted.T, strict=True)):
        if task.kind == "regression":
            yield pl.Series(f"prediction_{name}", of_one.numpy())
            continue
        names = pl.Series(task.label_names[place])
        yield names.gather((of_one > 0.5).to(torch.int64).numpy()).rename(f"prediction_{name}")
        if probabilities:
            yield pl.Series(f"probability_{name}", of_one.numpy())


def require_writable(out: Path, overwrite: bool, endings: list[str], stem: str = "predictions") -> None:
    """Refuses a file that cannot be written, before any work is done for it.

    Args:
        out: the file.
        overwrite: whether one that is there is replaced.
        endings: the endings that its name can have.
        stem: beginning of a name to propose.

    Raises:
        UserError: its ending is none of `endings`, its folder is missing, or it is there already.
    """
    # First, as a folder has no ending, about which the next message would complain.
    if out.is_dir():
        raise UserError("out must be a file", f"{out} is a folder", f"out={out / f'{stem}{endings[0]}'}")
    if out.suffix not in endings:
        raise UserError(f"out must end in {' or '.join(endings)}", f"out={out}", f"out={out.with_suffix(endings[0])}")
    if not out.parent.is_dir():
        raise UserError("out must be in a folder that exists", f"there is no {out.parent}", f"mkdir -p {out.parent}")
    if out.exists() and not overwrite:
        raise exists_already(out)


def write_once(out: Path, write: Callable[[Path], None], overwrite: bool) -> None:
    """Writes a file atomically, after removing what a killed process left of it.

    Raises:
        UserError: it cannot be written, or is there already.
    """
    try:
        remove_temporary_files(out.parent, out.name)
        # Another process may have written the file since it was looked for.
        write_atomically(out, write, replace=overwrite)
    except FileExistsError:
        raise exists_already(out) from None
    except OSError as error:
        raise not_writable("out", out, error, "out=SOMEWHERE_ELSE") from None


def exists_already(out: Path) -> UserError:
    """Makes the error for a file that would be replaced."""
    return UserError("out must be a new file", f"{out} is there already", "another name, or overwrite=true")
