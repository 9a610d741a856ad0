"""Formats predictions as columns of a file."""

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from mlplab.inference.intervals import Calibrated
from mlplab.inference.trained import TrainedRun
from mlplab.objectives.objective import predictions
from mlplab.task import Task

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Ending of a text file → its delimiter."""


def write_frames(frames: Iterator[pl.DataFrame], path: Path, ending: str) -> None:
    """Writes frames one after the other, in the format of the file's ending."""
    if ending == ".parquet":
        content = io.BytesIO()  # polars hides the number of the system's error, such as a full disk
        # All predictions as one frame; only the input rows are read block by block.
        pl.concat(list(frames)).write_parquet(content)
        path.write_bytes(content.getbuffer())
        return
    with path.open("wb") as file:
        # Block by block, so that memory does not grow with the number of rows.
        for number, frame in enumerate(frames):
            frame.write_csv(file, include_header=number == 0, separator=SEPARATORS[ending])


def columns_of(run: TrainedRun, outputs: Tensor, calibrated: Calibrated, *, probabilities: bool) -> list[pl.Series]:
    """Returns the columns of predictions, named as docs/tables.md says, for the network's outputs (N, outputs)."""
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
        # After the class is decided, as the temperature does not change it.
        predicted = predictions(outputs / calibrated.temperature, run.task)
        columns += [
            pl.Series(f"probability_{name}", predicted[:, index].numpy())
            for index, name in enumerate(run.task.class_names)
        ]
    return columns


def _columns_of_several(task: Task, predicted: Tensor, probabilities: bool) -> Iterator[pl.Series]:
    """Yields a column for each target: the value, or the label's name and perhaps its probability."""
    for place, (name, of_one) in enumerate(zip(task.target_names, predicted.T, strict=True)):
        if task.kind == "regression":
            yield pl.Series(f"prediction_{name}", of_one.numpy())
            continue
        names = pl.Series(task.label_names[place])
        yield names.gather((of_one > 0.5).to(torch.int64).numpy()).rename(f"prediction_{name}")
        if probabilities:
            yield pl.Series(f"probability_{name}", of_one.numpy())
