"""Prepares a run's files; for a resumed run, finds the checkpoint and rewinds the logs to it."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from mlplab.config.paths import shortest
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import UserError, printable
from mlplab.learner import Learner
from mlplab.loggers.csv_log import ResumableCSVLogger
from mlplab.loggers.hyperparameters import log_configuration
from mlplab.loggers.tensorboard import CalmTensorBoardLogger
from mlplab.rules import shown
from mlplab.runs.checkpoint import read_checkpoint
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import write_json
from mlplab.runs.recording import add_to_manifest, write_manifest
from mlplab.runs.summary import data_and_model, experiment_head

log = logging.getLogger("mlplab")

# Not best.ckpt, whose optimizer state is missing.
NAMES = ("last", "previous")
"""Checkpoints to resume from, the newest first."""


COPIES = 12
"""Disk space of a run in multiples of its network: three checkpoints of weights, two Adam moments and best weights."""

ROOM_FOR_LOGS = 5_000_000
"""Bytes reserved for logs, figures and JSON files."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint to resume from.

    Attributes:
        path: of the file.
        content: of the file.
        damaged: faults of newer checkpoints that were skipped.
    """

    path: Path
    content: Mapping[str, Any]
    damaged: tuple[str, ...] = ()


def card_to_resume(directory: Path) -> Mapping[str, Any] | None:
    """Reads the card of a run's newest readable checkpoint without changing files; None if there is none."""
    for path in (directory / f"{name}.ckpt" for name in NAMES):
        with contextlib.suppress(UserError):
            if path.exists():
                card: Mapping[str, Any] = read_checkpoint(path)["card"]
                return card
    return None


def newest_checkpoint(directory: Path) -> Saved | None:
    """Reads the newest intact checkpoint of a run; returns None if none has been written yet.

    Damaged ones are renamed, or the next write would keep one of them as previous.ckpt.

    Args:
        directory: of the checkpoints.

    Raises:
        UserError: there are checkpoints, but none is intact.
    """
    damaged: list[str] = []
    for path in (directory / f"{name}.ckpt" for name in NAMES):
        if not path.exists():
            continue
        try:
            content = read_checkpoint(path)
            _require_resumable(content, path)  # a copy of best.ckpt is readable, but lacks the optimizer's state
        except UserError as error:
            damaged.append(error.actual)
            continue
        for name in NAMES[: NAMES.index(path.stem)]:
            newer = directory / f"{name}.ckpt"
            if newer.exists():
                newer.replace(newer.with_name(f"{newer.name}.damaged"))
        return Saved(path, content, tuple(damaged))
    if damaged:
        raise UserError(
            "a run must have an intact checkpoint to resume",
            "; ".join(damaged),
            f"a copy of {shortest(directory / 'last.ckpt')} from before, or a new run",
        )
    return None


def _require_resumable(content: Mapping[str, Any], path: Path) -> None:
    parts = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "card")
    if not isinstance(content.get("resume"), Mapping) or any(part not in content for part in parts):
        raise UserError("a run must resume from its own last.ckpt", f"{path} lacks the state to resume", "another run")


def rewind_logs(loggers: list[Logger], saved: Saved | None) -> None:
    """Removes what was logged after the checkpoint; without a checkpoint, all of it."""
    # A checkpoint stores the length of each log at its time.
    positions = saved.content["resume"].get("logs", {}) if saved else {}
    step = int(saved.content["global_step"]) if saved else 0
    for logger in loggers:
        if isinstance(logger, CalmTensorBoardLogger | ResumableCSVLogger):
            logger.rewind(positions.get(type(logger).__name__), step)


def prepare_to_resume(
    config: DictConfig, directory: RunDirectory, data: DataModule | OwnData, loggers: list[Logger]
) -> Saved | None:
    """Prepares a run to resume: finds its checkpoint, rewinds its logs, and warns of changes.

    Returns:
        The checkpoint; None if none was written and the run starts anew.

    Raises:
        UserError: the data have changed, or no checkpoint is intact.
    """
    saved = newest_checkpoint(directory.checkpoints)
    if saved is not None:
        then = saved.content["card"].get("data", {}).get("fingerprint")
        # The split and the statistics of the training part depend on every row.
        if then != data.fingerprint:
            raise UserError(
                "a run must resume with the data that it began with",
                f"{data.name} has changed",
                "data.path=… if the file has moved, or a new run",
            )
    elif directory.has_finished:
        # It would start anew, and overwrite what it has learned.
        raise UserError(
            "a finished run must have its last.ckpt to go on",
            f"there is none in {shortest(directory.checkpoints)}",
            "a copy of it, or a new run",
        )
    warnings = [f"skipped a damaged checkpoint: {fault}" for fault in (saved.damaged if saved else ())]
    if directory.taken_over is not None:
        warnings.append(f"{directory.taken_over} died while it used the directory")
    step = int(saved.content["global_step"]) if saved else 0
    # After the checks, so that a refused attempt leaves no trace.
    differing = add_to_manifest(directory, config, step)
    if differing:
        warnings.append(f"results may differ in the last bits from an uninterrupted run: {'; '.join(differing)}")
    for warning in warnings:
        # To train.log, and to the terminal: `mlplab` does not propagate to the root logger.
        log.warning(warning)
        print(f"warning {warning}")
    place = f"{shortest(saved.path)}, step {step}" if saved else "the beginning, as no checkpoint had been written"
    log.info(f"resumed from {place}")
    print(f"resume  from {place}")
    rewind_logs(loggers, saved)
    if saved is None:
        # Belongs to the discarded part; the new run may end before its first validation.
        (directory.checkpoints / "best.ckpt").unlink(missing_ok=True)
    return saved


def bytes_needed(learner: pl.LightningModule) -> int:
    """Estimates the maximum of bytes for a run's files."""
    return COPIES * sum(parameter.nbytes for parameter in learner.parameters()) + ROOM_FOR_LOGS


def prepare_run_files(
    config: DictConfig,
    directory: RunDirectory,
    data: DataModule | OwnData,
    learner: pl.LightningModule,
    loggers: list[Logger],
    *,
    resume: bool,
    found: Mapping[str, Any] = MappingProxyType({}),
) -> Saved | None:
    """Writes configuration and manifest into a claimed directory; returns the checkpoint to resume from, if any.

    `found` are configuration values that finders found at the run's beginning.
    """
    saved = prepare_to_resume(config, directory, data, loggers) if resume else None
    n_parameters = sum(parameter.numel() for parameter in learner.parameters())
    text = None if resume else write_manifest(directory, config, data, n_parameters, found)
    if data.description is not None:
        # Warnings go to the file too, as the terminal loses them.
        write_json(directory.path / "data.json", data.description.as_dict())
        for warning in data.description.warnings:
            log.warning(printable(warning))
    head = [] if resume else experiment_head()
    of_finders = (f"found   {key}={shown(value)}" for key, value in found.items())
    for line in [*(f"{key:<8}{text}" for key, text in head), *data_and_model(data, learner), *of_finders]:
        log.info(line)
    if saved is None and config.trainer.get("enable_autolog_hparams", True):
        # The user's own module may log any names, from batches of any form.
        log_configuration(loggers, config, text, kind=data.task.kind if isinstance(learner, Learner) else None)
    return saved
