"""Logs to TensorBoard, with writes at fixed intervals."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard import FileWriter, SummaryWriter

from mlplab.loggers.event_file import EventFile
from mlplab.runs.files import flush


class CalmTensorBoardLogger(TensorBoardLogger):
    """Extends Lightning's TensorBoardLogger: flushes every `every_seconds` instead of twice per epoch.

    Otherwise short epochs would spend most of their time on flushing. An open TensorBoard shows new points within
    `every_seconds`, and all of them when the run has ended.

    Args:
        directory: of the event files, without subfolders.
        every_seconds: seconds that a point may be buffered.

    Attributes:
        has_points: whether this process has logged any point of a curve.
    """

    def __init__(self, directory: str, every_seconds: float = 2.0) -> None:
        # Lightning would otherwise log hp_metric = -1 in every run.
        super().__init__(save_dir=directory, name="", version="", default_hp_metric=False)
        self.every_seconds, self.has_points = every_seconds, False
        # The wall clock may be set back, which could delay events for hours.
        self._last_flush = time.monotonic()

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """Returns PyTorch's writer of scalars, histograms, images and texts."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir, **self._kwargs)
        return self._experiment

    def position(self) -> dict[str, int]:
        """Flushes all events, and returns the length of each event file: name → bytes."""
        if self._experiment is not None and self._experiment.all_writers:
            self._experiment.flush()
        sizes = {}
        for path in self._event_files():
            # To the disk, as the checkpoint with these lengths must not outlive the events.
            flush(path)
            sizes[path.name] = path.stat().st_size
        return sizes

    def rewind(self, position: Mapping[str, int] | None, step: int) -> None:
        """Removes what was logged after `position`, so that a resumed run repeats no point.

        Args:
            position: the result of `position` when the checkpoint was written; None removes all.
            step: of the checkpoint; an open TensorBoard drops the points after it.
        """
        for path in self._event_files():
            size = (position or {}).get(path.name)
            if size is None:
                # The file is newer than the checkpoint.
                path.unlink()
            elif path.stat().st_size > size:
                os.truncate(path, size)
        # Release 0.5.0 stored final metrics separately; in a resumed run they are not final.
        shutil.rmtree(Path(self.log_dir) / "final", ignore_errors=True)
        if step:
            # TensorBoard drops points from this step on, and keeps the checkpoint's own.
            self._kwargs["purge_step"] = step + 1

    def _event_files(self) -> list[Path]:
        return sorted(Path(self.log_dir).glob("events.out.tfevents.*"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # One event for all metrics: one for each would take as long as the steps between two logs.
        # Lightning adds "epoch" to every set of metrics: a curve that is the same in all runs.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values:
            self.has_points = True
            self.experiment._get_file_writer().event_writer.add_scalars(values, step or 0)
            self.save()  # Lightning calls it only at the end of an epoch

    @property
    def is_due(self) -> bool:
        """Returns whether it is time to write the buffered events."""
        return time.monotonic() - self._last_flush >= self.every_seconds

    @rank_zero_only
    def save(self) -> None:
        if self.is_due:
            self.flush()

    def flush(self) -> None:
        """Writes the buffered events.

        Raises:
            OSError: the file cannot be written; the events stay buffered.
        """
        if self._experiment is not None:
            self._experiment.flush()
        self._last_flush = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.flush()  # not closed, as the test is logged to the same file


def save_together(loggers: Iterable[Logger], *, all_of_them: bool = False) -> None:
    """Writes the buffered events of several loggers together.

    Args:
        loggers: other loggers than TensorBoard's are ignored.
        all_of_them: also writes those that are not due.

    Raises:
        OSError: a file cannot be written; its logger keeps the events, and stays due.
    """
    for logger in loggers:
        if isinstance(logger, CalmTensorBoardLogger) and (all_of_them or logger.is_due):
            logger.flush()


class _Writer(SummaryWriter):
    """PyTorch's SummaryWriter, writing to an `EventFile`."""

    file_writer: Any
    all_writers: Any
    default_bins: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # NumPy would convert the list anew for every histogram, a third of its time.
        self.default_bins = np.array(self.default_bins)

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
