"""Exports a predictor as a file for other programs, and checks the file after writing."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlplab.errors import UserError, not_writable
from mlplab.inference.export_card import describe_export
from mlplab.inference.export_formats import FORMATS, require_onnx
from mlplab.inference.output_files import exists_already, require_writable, write_once
from mlplab.inference.trained import TrainedRun, predict
from mlplab.inference.training_rows import rows_of_training
from mlplab.parts import require_part
from mlplab.runs.files import remove_temporary_files, write_json

CHECKED_ROWS = 256
"""Number of rows on which the exported file must agree with the model."""

# float32 has seven digits, and other programs' kernels add in another order.
TOLERANCE = 1e-4
"""Maximum difference to the model that passes the check, in probability or standard deviations of the target."""


@dataclass(frozen=True)
class Export:
    """The written files, and the largest difference of their outputs to the model's on `n_rows` rows."""

    path: Path
    card: Path
    n_rows: int
    largest_difference: float
    what: str


def export(
    run: TrainedRun,
    file_format: str,
    out: Path | None,
    *,
    rows_of: Path | None = None,
    overwrite: bool = False,
    written: Mapping[str, Any] = {},
) -> Export:
    """Writes the predictor in one of `FORMATS`, reads it again and runs both on the same rows.

    Args:
        run: to export.
        file_format: `onnx`, `torch_export` or `safetensors`.
        out: the file; None for exports/model.… within the run's directory.
        rows_of: a file with rows to check with; None for the run's test part.
        overwrite: whether to replace an existing file.
        written: how `rows_of` is written, as in `RowReader`.

    Raises:
        UserError: it cannot be written, the rows for the check cannot be read, or the check fails; no file is left.
    """
    ending, write, read = FORMATS[file_format]
    if out is None:
        out = run.own_folder("exports") / f"model{ending}"
        with contextlib.suppress(OSError):  # the check of the path explains it
            out.parent.mkdir(exist_ok=True)
    # Before the export, which takes far longer than these checks.
    require_writable(out, overwrite, [ending], "model")
    card = out.with_name(f"{out.name}.json")
    if card.exists() and not overwrite:
        # The card belongs to another model, whose file is gone.
        raise exists_already(card)
    if file_format == "onnx":
        require_onnx()
    rows = _some_rows(run, rows_of, written)
    expected = predict(run.predictor, rows)
    found: Tensor | None = None

    def write_and_check(temporary: Path) -> None:
        nonlocal found
        with _quietly():
            write(run, rows, temporary)
            found = read(run, temporary)(rows)
        _require_equal(found, expected, run, file_format)

    # The check runs on the temporary file, so a failing one never appears.
    write_once(out, write_and_check, overwrite)
    assert found is not None
    difference = _difference(found, expected, run)
    description = describe_export(run, file_format)
    description["checked"] = {"rows": len(expected), "largest_difference": difference}
    _write_card(description, card, out)
    what = "values, in standard deviations of the target," if run.task.kind == "regression" else "probabilities"
    return Export(out, card, len(expected), difference, what)


def _write_card(description: dict[str, Any], card: Path, out: Path) -> None:
    """Writes the card; if that fails, removes the exported file, which is useless without it."""
    try:
        # Left by an export that was killed.
        remove_temporary_files(card.parent, card.name)
        write_json(card, description)
    except BaseException as error:
        out.unlink()
        if isinstance(error, OSError):
            raise not_writable("the card", card, error, "out=SOMEWHERE_ELSE") from None
        raise


def _some_rows(run: TrainedRun, path: Path | None, written: Mapping[str, Any]) -> tuple[Tensor, ...]:
    try:
        if path is not None:
            require_part("tables", f"data.path={path}", "leaving it out: rows of the test part are checked")
            from mlplab.inference.row_reader import RowReader

            # Rows of the first block are enough, however long the file is.
            inputs = next(RowReader(run, written).blocks(path)).inputs
        else:
            inputs, *_ = next(rows_of_training(run, "test"))
    except UserError as error:
        if path is not None:
            raise
        raise UserError(
            f"an export must be checked on real rows: {error.requirement}", error.actual, "data.path=rows.csv"
        ) from None
    return tuple(tensor[:CHECKED_ROWS] for tensor in inputs)


def _difference(found: Tensor, expected: Tensor, run: TrainedRun) -> float:
    # In standard deviations, as a fixed tolerance in the target's unit would be meaningless.
    scale = torch.tensor(run.task.target_std if run.task.kind == "regression" else 1.0)
    return float(((found - expected).abs() / scale).max())


def _require_equal(found: Tensor, expected: Tensor, run: TrainedRun, file_format: str) -> None:
    actual = f"their shape is {tuple(found.shape)} and not {tuple(expected.shape)}"
    if found.shape == expected.shape:
        difference = _difference(found, expected, run)
        if difference <= TOLERANCE:  # which NaN is not
            return
        actual = f"they differ by up to {difference:.2g}"
    raise UserError(f"outputs of the {file_format} file must equal the model's", actual, "another format")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the exporters' logs, output and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
