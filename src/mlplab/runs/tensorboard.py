"""TensorBoard's event files, written when there is something to read."""

import time
from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


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

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Lightning adds the number of the epoch to every set of metrics: a curve that is the same for all runs.
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def save(self) -> None:
        if time.monotonic() - self._last_flush >= self.every_seconds:
            self.experiment.flush()
            self._last_flush = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self.experiment.flush()
            self.experiment.close()
