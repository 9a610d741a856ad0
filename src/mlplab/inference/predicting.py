"""Predicts the rows of a file, and writes the predictions to another file."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.errors import UserError
from mlplab.inference.intervals import Calibrated
from mlplab.inference.output_files import require_writable, without_formulas, write_once
from mlplab.inference.prediction_columns import SEPARATORS, columns_of, write_frames
from mlplab.inference.row_reader import RowReader
from mlplab.inference.trained import TrainedRun


@dataclass(frozen=True)
class Predictions:
    """The number of written rows, and notes from reading them."""

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
    """Writes a prediction for each row of `path`, in order, as CSV, TSV or Parquet by the ending of `out`.

    Its columns: `id_column`, where named; "prediction", the name of the class or the value in the target's unit; with
    `intervals`, their level, "lower" and "upper", or for classes "set"; with `probabilities`, "probability_CLASS" for
    each class, which `temperature` scales by that of the run. For several targets: "prediction_TARGET" for each, with
    `intervals` "lower_TARGET" and "upper_TARGET", and with `probabilities` "probability_TARGET" of the label. The file
    appears whole or not at all. In CSV and TSV, text that a spreadsheet would take for a formula gets an apostrophe
    before it, unless `formulas` says otherwise. `written` and `accepts_unknown` are those of `RowReader`.

    Raises:
        UserError: a file cannot be read or written, or exists.
    """
    # Also under another name or link, as with overwrite=true the predictions would replace the rows.
    if out.exists() and path.exists() and out.samefile(path):
        raise UserError("out must be another file than data.path", f"both are {out}", "another name")
    # Before the first of perhaps millions of rows is read.
    require_writable(out, overwrite, [*SEPARATORS, ".parquet"])
    if probabilities and run.task.kind == "regression":
        raise UserError("proba=true must be for a classification", "the run is a regression", "proba=false")
    if temperature and not probabilities:
        raise UserError("temperature=fitted must be given with proba=true", "proba=false", "proba=true, or without it")
    calibrated = Calibrated(run, intervals, scales=temperature)
    reader = RowReader(run, written, accepts_unknown=accepts_unknown)
    count = n_formulas = 0

    def frames() -> Generator[pl.DataFrame]:
        nonlocal count, n_formulas
        for block in reader.blocks(path, {} if id_column is None else {"id": id_column}):
            columns = columns_of(run, run.outputs(block.inputs), calibrated, probabilities=probabilities)
            if id_column is not None:
                columns.insert(0, _identifiers(block.frame[id_column], [column.name for column in columns]))
            count += len(block.frame)
            frame = pl.DataFrame(columns)
            if out.suffix in SEPARATORS and not formulas:
                frame, changed = without_formulas(frame)
                n_formulas += changed
            yield frame

    # Closed also after an error, together with the input file and its temporary copies.
    with closing(frames()) as opened:
        write_once(out, lambda temporary: write_frames(opened, temporary, out.suffix), overwrite)
    if n_formulas:
        reader.notes.append(
            f"{n_formulas:,} {'value begins' if n_formulas == 1 else 'values begin'} like a formula: written with ' "
            "before, so that no spreadsheet runs them; formulas=true leaves them as they are"
        )
    return Predictions(count, (*calibrated.notes, *reader.notes))


def _identifiers(series: pl.Series, others: list[str]) -> pl.Series:
    if series.name in others:
        raise UserError(
            "id must name a column that predictions do not have", f"id={series.name}", "renaming it in data.path"
        )
    # Text files cannot represent these types without loss.
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object, pl.Duration):
        raise UserError("id must name a column of text, numbers or dates", f"it holds {series.dtype}", "another column")
    return series
