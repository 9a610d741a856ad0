"""Logs metrics to a CSV file that a resumed run continues."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from mlplab.runs.files import flush, write_atomically


class ResumableCSVLogger(CSVLogger):
    """Extends Lightning's CSVLogger: keeps an existing file, and sorts rows by step.

    Callbacks buffer their values until an epoch ends or a checkpoint is written, and the time of checkpoints varies. So
    rows are buffered until then too, and written in the order of steps. A resumed run writes the same file, byte for
    byte.

    Args:
        directory: of metrics.csv.
    """

    def __init__(self, directory: str) -> None:
        # Empty names, so that Lightning adds no folders.
        super().__init__(save_dir=directory, name="", version="")
        self._buffer: list[tuple[int | None, Mapping[str, Any]]] = []

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._buffer.append((step, dict(metrics)))

    def settle(self) -> None:
        """Passes on the buffered rows in the order of steps; the next `save` writes them."""
        # Of one step, the Trainer's rows, which have an epoch, come last: a checkpoint within the epoch writes those of
        # callbacks before the Trainer logs its own. The sort keeps the order of other rows that have the same step.
        rows, self._buffer = sorted(self._buffer, key=lambda row: (row[0] or 0, "epoch" in row[1])), []
        for step, metrics in rows:
            super().log_metrics(metrics, step)  # type: ignore[arg-type]

    def finalize(self, status: str) -> None:
        self.settle()
        super().finalize(status)

    def position(self) -> int:
        """Writes all buffered rows, and returns the number of rows in the file."""
        self.settle()
        if self._experiment is not None:
            self.save()
        if self._path.is_file():
            # Flushed to the disk, as the checkpoint with this position must not outlive the rows.
            flush(self._path)
        return len(_read(self._path))

    def rewind(self, position: int | None, step: int) -> None:
        """Keeps the first `position` rows (None keeps none), so that a resumed run repeats none."""
        if self._path.is_file():
            rows = _read(self._path)[: position or 0]
            _write(self._path, list(rows[0]) if rows else [], rows)

    @property
    def _path(self) -> Path:
        return Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE


class _Writer(ExperimentWriter):
    # Lightning's own method deletes an existing file here.
    def _check_log_dir_exists(self) -> None:
        rows = _read(Path(self.metrics_file_path))
        self.metrics_keys = list(rows[0]) if rows else []
        # Lightning writes the header only when it creates the file.
        if not rows:
            Path(self.metrics_file_path).unlink(missing_ok=True)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        _write(path, fieldnames, _read(path))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # The csv module handles line ends itself.
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop(None, None)  # extra cells: the process died before it rewrote the header
    return rows


def _write(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=header)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, fill, now=True)  # rows are appended to it next
