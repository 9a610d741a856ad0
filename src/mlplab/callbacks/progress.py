"""Shows the progress of training in one line, redrawn at fixed intervals."""

import importlib
import os
import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

ON_TERMINAL_SECONDS = 0.1
IN_NOTEBOOK_SECONDS = 0.5
IN_FILE_SECONDS = 30.0

FALLBACK_COLUMNS = 80
"""Assumed width of a terminal that does not report its own."""


class ProgressLine(ProgressBar):
    """Redraws one line ten times a second on a terminal, and twice in a notebook; else prints one every 30 seconds.

    Drawing a bar at every step would cost as much as a step of half a millisecond.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled, self._n_shown = True, 0
        self._began = self._drawn = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._is_notebook = in_notebook()
        self._in_cell: Any = None
        self._interval = IN_FILE_SECONDS
        if self._is_terminal or self._is_notebook:
            self._interval = ON_TERMINAL_SECONDS if self._is_terminal else IN_NOTEBOOK_SECONDS

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._drawn = time.monotonic()
        self._enabled = self._enabled and trainer.is_global_zero  # in one of several processes

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._enabled and time.monotonic() - self._drawn >= self._interval:
            self._draw(trainer, batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._in_cell is not None:  # shows where training ended
            self._draw(trainer, int(trainer.num_training_batches) - 1, trainer.current_epoch)
            self._in_cell = None
        if self._enabled and self._is_terminal:  # the table of results takes its place
            # Back to the first column, and clear to the end of the line.
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _draw(self, trainer: pl.Trainer, batch_idx: int, epoch: int | None = None) -> None:
        now = time.monotonic()
        self._drawn = now
        # max_epochs is -1 or None where only steps or time limit the run.
        limit = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        # Metrics of the last epoch: those of the current one are not known yet.
        share = (batch_idx + 1) / trainer.num_training_batches
        metrics = "  ".join(
            f"{name} {float(trainer.callback_metrics[name]):.4g}"
            for name in ("train/loss", "val/loss", "val/accuracy", "val/rmse")
            if name in trainer.callback_metrics
        )
        line = f"epoch {epoch or trainer.current_epoch + 1}{limit} {share:4.0%}  step {trainer.global_step}  {metrics}"
        line = f"{line}  {now - self._began:.0f} s"
        if self._is_notebook:
            self._show_in_cell(line)
        elif self._is_terminal:
            columns = _columns()
            # A line that is longer than the terminal would wrap, and could not be redrawn.
            line = line[: columns - 1]
            # A terminal that became narrower has wrapped the former line into several rows.
            n_above = max(0, self._n_shown - 1) // columns
            back = f"\033[{n_above}A\r\033[J" if n_above else "\r\033[K"
            self._n_shown = len(line)
            sys.stderr.write(f"{back}{line}")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _show_in_cell(self, line: str) -> None:
        """Shows a line in the notebook cell's output, in place of the former one."""
        if self._in_cell is None:
            # By name, as it exists in notebooks only.
            display = importlib.import_module("IPython.display").display
            self._in_cell = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self._in_cell.update({"text/plain": line}, raw=True)


def in_notebook() -> bool:
    """Returns whether the process is the kernel of a notebook. IPython in a terminal has no kernel."""
    python = sys.modules.get("IPython")
    return python is not None and hasattr(python.get_ipython(), "kernel")


def _columns() -> int:
    """Returns the current width of the terminal."""
    try:  # of standard error: the output may be redirected, and COLUMNS outdated
        return os.get_terminal_size(sys.stderr.fileno()).columns or FALLBACK_COLUMNS
    except (OSError, ValueError):
        return FALLBACK_COLUMNS
