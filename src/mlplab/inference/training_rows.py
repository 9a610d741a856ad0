"""Reads again the data that a run was trained on."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import numpy.typing as npt
from torch import Tensor

from mlplab.config.former_names import present_name
from mlplab.config.paths import is_pipe
from mlplab.data.arrays import arrays
from mlplab.data.bundled import bundled
from mlplab.data.idx import idx_images
from mlplab.data.module import BLOCK_ROWS, DataModule, Source
from mlplab.data.split import Split
from mlplab.data.synthetic import synthetic
from mlplab.errors import UserError, first_of
from mlplab.inference.trained import TrainedRun
from mlplab.learner_parts import CONF
from mlplab.runs.checkpoint import explain_bad_card
from mlplab.runs.untrusted_config import known_code

SOURCES: dict[str, Callable[..., Source]] = {
    "mlplab.data.arrays.arrays": arrays,
    "mlplab.data.bundled.bundled": bundled,
    "mlplab.data.synthetic.synthetic": synthetic,
    "mlplab.data.idx.idx_images": idx_images,
}
"""Name → source for checkpoints, besides tables."""


def source_named(name: str) -> Callable[..., Source] | None:
    """Returns the source that a checkpoint names; None for an unknown name, which is never imported."""
    if name == "mlplab.data.table.table_source.table":
        # Imported here, as only reading training data again needs it.
        from mlplab.data.table.table_source import table

        source: Callable[..., Source] = table
        return source
    return SOURCES.get(name)


Rows = Iterator[tuple[tuple[Tensor, ...], npt.NDArray[np.generic], npt.NDArray[np.float64] | None]]
"""Iterator over blocks of inputs, targets and, if any, weights."""


def rows_of_training(run: TrainedRun, part: str) -> Rows:
    """Reads and splits the training's data again; yields inputs, targets and weights of one part.

    Raises:
        UserError: as `data_of_training`.
    """
    dataset, split = data_of_training(run)
    rows = getattr(split, part)
    # In blocks, as the whole part may be too large for one pass.
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        weights = None if dataset.weights is None else dataset.weights[block]
        yield dataset.inputs(block, run.predictor.preprocessing), dataset.targets[block], weights


def data_of_training(run: TrainedRun) -> tuple[Source, Split]:
    """Reads and splits the training's data again.

    Raises:
        UserError: the data are gone, have changed, or come from the user's own code.
    """
    with explain_bad_card(run.checkpoint):
        data: Mapping[str, Any] = run.card["data"]
        name, expected = str(data.get("source")), data["fingerprint"]
        # Checkpoints of earlier versions have the source's former name.
        name = present_name(name)
        source = source_named(name)
        if source is None and name in known_code("data", CONF, run.checkpoint.parent.parent):
            source = hydra.utils.get_object(name)
    if source is None:
        raise UserError(
            "data that are read again must come from a source that mlplab brings, or that conf/data names",
            f"the run was trained on {name}",
            "data.path=rows.csv with the columns of that data, or a file of conf/data that names it",
        )
    with explain_bad_card(run.checkpoint):
        _require_no_pipe(data["options"])
        # Bound now, as options that the source does not take are an error of the card, not of the data.
        call = inspect.signature(source).bind(**data["options"])
        if run.card["preprocessing"]["name"] == "table":
            call.arguments["trained"] = run.card
        module = DataModule(lambda: source(*call.args, **call.kwargs), **data["split"])
    try:
        with explain_bad_card(run.checkpoint):
            dataset, split = module.read()
    except UserError as error:
        # Without the original hint: a similar file, for example, would have other rows.
        raise UserError(
            f"the data that the run was trained on must be there as they were: {error.requirement}",
            error.actual,
            "putting them back, or data.path=… to take other rows",
        ) from None
    # Changed rows are split differently, and the test part could contain training rows.
    if dataset.fingerprint != expected:
        raise UserError(
            "the data that the run was trained on must be as they were",
            f"{dataset.name} has changed",
            "the file of then, or data.path=… to take other rows",
        )
    if len(dataset.class_names) != run.task.n_classes:
        raise UserError(
            f"the run must have the classes that its data have now: {first_of(dataset.class_names, 8)}",
            f"it was trained on {first_of(run.task.class_names, 8)}",
            "data.path=… with the same file, whose labels are then read as in training",
        )
    return dataset, split


def _require_no_pipe(options: Mapping[str, Any]) -> None:
    for key in ("path", "test_path"):
        given = options.get(key)
        # Opening a pipe that a checkpoint names may wait for a writer for ever.
        if isinstance(given, str) and is_pipe(Path(given).expanduser()):
            raise UserError(
                "the data that the run was trained on must be in a file",
                f"{given} is a pipe, whose rows are gone",
                "data.path=… with a file that holds them",
            )
