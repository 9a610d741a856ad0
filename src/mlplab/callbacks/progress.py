"""Shows the progress of training in one line, redrawn at fixed intervals."""

import importlib
import os
import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from mlplab.errors import rounded

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
            self._draw(trainer, trainer.current_epoch, (batch_idx + 1) / trainer.num_training_batches)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._in_cell is not None:  # shows where training ended
            self._draw(trainer, trainer.current_epoch - 1, 1.0)
            self._in_cell = None
        if self._enabled and self._is_terminal:  # the table of results takes its place
            # Back to the first column, and clear to the end of the line.
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _draw(self, trainer: pl.Trainer, epoch: int, share_of_epoch: float) -> None:
        now = time.monotonic()
        self._drawn = now
        done = ((epoch + share_of_epoch, trainer.max_epochs), (trainer.global_step, trainer.max_steps))
        # A limit is -1 or None where another one, or time, limits the run.
        shares = [n / limit for n, limit in done if limit and limit > 0]
        limit = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        # Metrics of the last epoch: those of the current one are not known yet.
        metrics = [
            f"{name} {rounded(float(trainer.callback_metrics[name]))}"
            for name in ("val/loss", "val/accuracy", "val/rmse", "train/loss")
            if name in trainer.callback_metrics
        ]
        percent = f" {max(shares):4.0%}" if shares else ""
        # The least important part comes last: it is left out where the terminal is too narrow.
        seconds, step = f"{now - self._began:.0f} s", f"step {trainer.global_step}"
        parts = [f"epoch {epoch + 1}{limit}{percent}", seconds, *metrics, step]
        if self._is_notebook:
            self._show_in_cell("  ".join(parts))
        elif self._is_terminal:
            columns = _columns()
            # A line that is longer than the terminal would wrap, and could not be redrawn. A number cut short is wrong.
            while len(parts) > 1 and len("  ".join(parts)) >= columns:
                parts.pop()
            line = "  ".join(parts)[: columns - 1]
            # A terminal that became narrower has wrapped the former line into several rows.
            n_above = max(0, self._n_shown - 1) // columns
            back = f"\033[{n_above}A\r\033[J" if n_above else "\r\033[K"
            self._n_shown = len(line)
            sys.stderr.write(f"{back}{line}")
        else:
            sys.stderr.write("  ".join(parts) + "\n")
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
