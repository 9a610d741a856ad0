"""TensorBoard's event files, written when there is something to read."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter, SummaryWriter

from mlplab.loggers.event_file import EventFile
from mlplab.runs.files import flush


class CalmTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger, which flushes to the disk by the clock instead of twice in every epoch.

    Short epochs spend more time on flushing than on what is flushed. A page that is open shows new points within
    `every_seconds`, and all of them once the run has ended.

    Args:
        directory: the event files go right here.
        every_seconds: how long a point may wait.
    """

    def __init__(self, directory: str, every_seconds: float = 2.0) -> None:
        super().__init__(save_dir=directory, name="", version="", default_hp_metric=False)
        self.every_seconds = every_seconds
        self._last_flush = time.monotonic()

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """PyTorch's writer of scalars, histograms, pictures and texts."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir, **self._kwargs)
        return self._experiment

    def position(self) -> dict[str, int]:
        """How long each event file is by now, with all that has been logged in it: name → bytes."""
        if self._experiment is not None and self._experiment.all_writers:
            self._experiment.flush()
        sizes = {}
        for path in self._event_files():
            flush(path)
            sizes[path.name] = path.stat().st_size
        return sizes

    def rewind(self, position: Mapping[str, int] | None, step: int) -> None:
        """Takes away what was logged after `position`, so that going on from there draws every curve once.

        Args:
            position: as it was when the checkpoint was written; None for a beginning.
            step: of the checkpoint; a TensorBoard that is open forgets the points after it.
        """
        for path in self._event_files():
            size = (position or {}).get(path.name)
            if size is None:
                path.unlink()
            elif path.stat().st_size > size:
                os.truncate(path, size)
        shutil.rmtree(Path(self.log_dir) / "final", ignore_errors=True)
        if step:
            self._kwargs["purge_step"] = step + 1

    def _event_files(self) -> list[Path]:
        return sorted(Path(self.log_dir).glob("events.out.tfevents.*"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # One event for all of them: one for each would take as long as the steps between them.
        # Lightning adds the number of the epoch to every set of metrics: a curve that is the same for all runs.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values:
            self.experiment._get_file_writer().event_writer.add_scalars(values, step or 0)
            self.save()  # in a long epoch Lightning does not call it

    @property
    def is_due(self) -> bool:
        """Whether what has been logged is to be written now."""
        return time.monotonic() - self._last_flush >= self.every_seconds

    @rank_zero_only
    def save(self) -> None:
        if self.is_due:
            self.experiment.flush()
            self._last_flush = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.flush()  # nothing is open that could be closed: testing goes on in the same file


def save_together(loggers: Iterable[Logger], *, all_of_them: bool = False) -> None:
    """Writes what several loggers hold.

    Args:
        loggers: those that are not of TensorBoard are passed over.
        all_of_them: whether those are written, too, that it is not time for.

    Raises:
        OSError: a file cannot be written to; the loggers hold what is not written, and it stays due.
    """
    found = [one for one in loggers if isinstance(one, CalmTensorBoardLogger) and (all_of_them or one.is_due)]
    experiments: list[Any] = [one._experiment for one in found if one._experiment is not None]
    writers = [writer for experiment in experiments for writer in (experiment.all_writers or {}).values()]
    for writer in writers:
        writer.event_writer.flush()
    for one in found:
        one._last_flush = time.monotonic()


def log_picture(loggers: Sequence[Logger], name: str, png: bytes, step: int) -> None:
    """Gives TensorBoard a picture, where it is among the loggers.

    Args:
        loggers: of the run.
        name: of the picture.
        png: the file.
        step: updates done.
    """
    width, height = Image.open(BytesIO(png)).size
    picture = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            summary = Summary(value=[Summary.Value(tag=name, image=picture)])
            logger.experiment._get_file_writer().add_summary(summary, step)


class _Writer(SummaryWriter):
    """PyTorch's writer on an `EventFile`."""

    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _FileWriter(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
            if self.purge_step is not None:
                self.file_writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), self.purge_step)
                self.purge_step = None
        return self.file_writer  # type: ignore[no-any-return]


class _FileWriter(FileWriter):
    def __init__(self, directory: str) -> None:
        self.event_writer = EventFile(directory)
