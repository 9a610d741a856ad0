"""Logs to W&B and MLflow: resumed runs continue there too, and a sweep's jobs are grouped."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger

from mlplab.errors import RunStopped
from mlplab.runs.files import lock_file, write_bytes

log = logging.getLogger("mlplab")

WANDB_ID, MLFLOW_ID = "wandb_run_id", "mlflow_run_id"
"""Files in a run's or sweep's directory with its id in the tracker."""


class ResumableWandbLogger(WandbLogger):
    """Extends Lightning's WandbLogger: a resumed run keeps its id, and the jobs of a sweep are a group.

    Args:
        directory: of the run; None if unknown.
        name: of the run; by default that of its directory.
        tags: of the run.
        **options: of Lightning's logger.
    """

    def __init__(
        self, directory: str | None = None, name: Any = None, tags: Sequence[Any] = (), **options: Any
    ) -> None:
        self.directory = None if directory is None else Path(directory)
        sweep = _sweep_of(self.directory)
        if sweep is not None:
            options = {"group": sweep.name, "job_type": "job", **options}
        options = {"id": _read(self.directory, WANDB_ID), "tags": list(map(str, tags)), **options}
        super().__init__(name=_name(self.directory, name), **options)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Returns wandb's run; the first call begins or resumes it."""
        is_new = self._experiment is None
        run = super().experiment
        if is_new and self.directory is not None:
            write_bytes(self.directory / WANDB_ID, str(run.id).encode())
        return run

    def close(self, error: BaseException | None) -> None:
        """Ends the run in W&B, with the error that ended it here."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if error is None else 130 if _is_stop(error) else 1)


class ResumableMLFlowLogger(MLFlowLogger):
    """Extends Lightning's MLFlowLogger: a resumed run continues, and the jobs of a sweep share a parent.

    Args:
        directory: of the run; None if it is not known.
        run_name: of the run; that of its directory by itself.
        tags: of the run.
        notes: of the run.
        **options: of Lightning's logger.
    """

    def __init__(
        self,
        directory: str | None = None,
        run_name: Any = None,
        tags: Sequence[Any] = (),
        notes: Any = None,
        **options: Any,
    ) -> None:
        self.directory = None if directory is None else Path(directory)
        texts = {"tags": ", ".join(map(str, tags)), "mlflow.note.content": "" if notes is None else str(notes)}
        known = {key: text for key, text in texts.items() if text}
        options = {"run_id": _read(self.directory, MLFLOW_ID), **options}
        super().__init__(run_name=_name(self.directory, run_name), tags=known, **options)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Returns MLflow's client; the first call finds or creates the run, and its parent."""
        if self._initialized or self.directory is None:
            return super().experiment
        resumes, sweep = self._run_id is not None, _sweep_of(self.directory)
        if sweep is not None and not resumes:
            self.tags = {**(self.tags or {}), "mlflow.parentRunId": self._parent_of(sweep)}
        client = super().experiment
        if resumes:
            client.update_run(self._run_id, status="RUNNING")
        else:
            write_bytes(self.directory / MLFLOW_ID, str(self._run_id).encode())
        return client

    def _parent_of(self, sweep: Path) -> str:
        """Returns the id of a sweep's parent run; the first of its jobs creates it."""
        with (sweep / f".{MLFLOW_ID}.lock").open("w") as lock:
            while lock_file(lock.fileno()) is False:  # jobs in several processes may begin at the same moment
                time.sleep(0.05)
            known = _read(sweep, MLFLOW_ID)
            if known is None:
                parent = MLFlowLogger(
                    experiment_name=self._experiment_name, tracking_uri=self._tracking_uri, run_name=sweep.name
                )
                known = str(parent.run_id)
                # No job knows whether it is the last.
                parent.experiment.set_terminated(known)
                write_bytes(sweep / MLFLOW_ID, known.encode())
        return known

    def close(self, error: BaseException | None) -> None:
        """Ends the run in MLflow, with the error that ended it here."""
        if self._initialized:
            status = "FINISHED" if error is None else "KILLED" if _is_stop(error) else "FAILED"
            self.experiment.set_terminated(self._run_id, status)


@contextmanager
def closing_trackers(loggers: Sequence[Logger]) -> Iterator[None]:
    """Ends the run in W&B and MLflow with this block, as a sweep's next job begins another in the same process."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        for logger in loggers:
            if isinstance(logger, ResumableWandbLogger | ResumableMLFlowLogger):
                try:
                    logger.close(error)
                except Exception as failure:  # the server does not answer; all values are stored here
                    log.warning(f"{type(logger).__name__} could not end its run: {failure}")


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, RunStopped | KeyboardInterrupt)


def _name(directory: Path | None, name: Any) -> str | None:
    return str(name) if name is not None else directory.name if directory is not None else None


def _sweep_of(directory: Path | None) -> Path | None:
    """Returns the directory of the sweep to which a run belongs; None for a single run."""
    parent = None if directory is None else directory.absolute().parent
    return parent if parent is not None and (parent / "sweep.json").is_file() else None


def _read(directory: Path | None, name: str) -> str | None:
    path = None if directory is None else directory / name
    return path.read_text(encoding="utf-8").strip() or None if path is not None and path.is_file() else None
