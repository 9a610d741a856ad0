"""Writes the metrics of every validation to history.jsonl, for reports that read many runs at once."""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from mlplab.callbacks.own_module import of_validation
from mlplab.runs.files import read_json_lines, write_atomically
from mlplab.runs.layout import HISTORY

EVERY_SECONDS = 1.0
"""Maximum of seconds to buffer lines: writing each at once would double the time."""


class History(Callback):
    """Writes history.jsonl: a line for each validation, and one for the training of each epoch.

    A line has `epoch` (from 1), `step` (updates done), `seconds` (of training without validation, summed over
    resumptions) and either the metrics `val/…` or `train/loss`. A value that is not finite is null. The file does not
    depend on the loggers, and is small and quick to read. Lines are buffered for a second.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / HISTORY
        self._lines = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._is_writing = False
        self._buffered: list[str] = []
        self._last_flush = -math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_writing = trainer.is_global_zero
        if self._is_writing:
            self._cut()
            lines = read_json_lines(self.path)
            seconds = lines[-1].get("seconds") if lines else None
            self._seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
        self._since = time.monotonic()

    def _cut(self) -> None:
        """Keeps the lines up to the checkpoint that the run resumes from, so that none comes twice."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        kept = lines[: self._lines]
        # Replaced as a whole, as a crash during truncation would lose the kept lines too.
        if len(kept) < len(lines):
            write_atomically(self.path, lambda temporary: temporary.write_bytes(b"".join(kept)))
        self._lines = len(kept)  # fewer if a crash of the machine lost some

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            self._seconds += time.monotonic() - self._since
            self._since = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_writing and not trainer.sanity_checking:
            self._write(trainer, of_validation(trainer, trainer.callback_metrics))
            self._since = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        if self._is_writing and loss is not None:
            self._write(trainer, {"train/loss": loss})
        for logger in trainer.loggers if self._is_writing else ():  # this callback runs after those that log
            settle = getattr(logger, "settle", None)
            if settle is not None:
                settle()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush_logs(trainer)
        self._is_writing = False  # validations after training do not belong to the history

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with contextlib.suppress(OSError):  # the exception may be that the disk is full
            self.flush_logs(trainer)
        self._is_writing = False

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the buffered lines. Also called before a checkpoint, which stores their number."""
        lines, self._buffered = self._buffered, []
        if lines:
            # Opened each time, as a stack would otherwise keep a file open for each of its many runs.
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def _write(self, trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._since is not None:
            self._seconds, self._since = self._seconds + now - self._since, now
        line: dict[str, Any] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        # To tenths of milliseconds, to keep the file short.
        line["seconds"] = round(self._seconds, 4)
        for name, value in metrics.items():
            number = float(value)
            line[name] = number if math.isfinite(number) else None  # JSON has no NaN
        self._buffered.append(json.dumps(line) + "\n")
        self._lines += 1
        if now - self._last_flush >= EVERY_SECONDS:
            self.flush_logs(trainer)
            self._last_flush = now

    def state_dict(self) -> dict[str, Any]:
        return {"lines": self._lines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._lines = state_dict["lines"]
