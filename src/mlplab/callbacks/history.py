"""Writes the metrics of every validation to history.jsonl, for reports that read many runs at once."""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from mlplab.runs.files import write_atomically
from mlplab.runs.layout import HISTORY, read_history

__all__ = ["HISTORY", "History", "read_history"]

EVERY_SECONDS = 1.0
"""Seconds that lines may be buffered: writing each at once takes as long as making it."""


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
        self._file: IO[str] | None = None
        self._held: list[dict[str, Any]] = []
        self._last_flush = -math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._keep()
            lines = read_history(self.path.parent)
            seconds = lines[-1].get("seconds") if lines else None
            self._seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
            self._file = self.path.open("a", encoding="utf-8")
        self._since = time.monotonic()

    def _keep(self) -> None:
        """Keeps the lines up to the checkpoint that the run resumes from, so that none comes twice."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        kept = lines[: self._lines]
        if len(kept) < len(lines):
            write_atomically(self.path, lambda temporary: temporary.write_bytes(b"".join(kept)))
        self._lines = len(kept)  # fewer if a crash of the machine has lost some

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            self._seconds += time.monotonic() - self._since
            self._since = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._file is None or trainer.sanity_checking:
            return
        self._write(trainer, {n: v for n, v in trainer.callback_metrics.items() if n.startswith("val/")})
        self._since = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._file is None:
            return
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:
            self._write(trainer, {"train/loss": loss})
        for logger in trainer.loggers:  # this callback runs after those that log
            settle = getattr(logger, "settle", None)
            if settle is not None:
                settle()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with contextlib.suppress(OSError):  # the exception may be that the disk is full
            self._close()

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the buffered lines. Also called before a checkpoint, which stores their number."""
        if self._file is not None:
            self._hand_over(self._file)

    def _hand_over(self, file: IO[str]) -> None:
        held, self._held = self._held, []
        file.write("".join(json.dumps(line) + "\n" for line in held))
        file.flush()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with file:
                self._hand_over(file)

    def _write(self, trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
        assert self._file is not None
        now = time.monotonic()
        if self._since is not None:
            self._seconds, self._since = self._seconds + now - self._since, now
        line: dict[str, Any] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        line["seconds"] = round(self._seconds, 4)
        for name, value in metrics.items():
            number = float(value)
            line[name] = number if math.isfinite(number) else None
        self._held.append(line)
        self._lines += 1
        if now - self._last_flush >= EVERY_SECONDS:
            self._hand_over(self._file)
            self._last_flush = now

    def state_dict(self) -> dict[str, Any]:
        return {"lines": self._lines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._lines = state_dict["lines"]
