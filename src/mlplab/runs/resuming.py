"""What a run that goes on goes on from."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from mlplab.config.paths import shortest
from mlplab.data.module import DataModule
from mlplab.errors import Refusal
from mlplab.loggers.csv_log import ResumableCSVLogger
from mlplab.loggers.tensorboard import CalmTensorBoardLogger
from mlplab.runs.checkpoint import read_checkpoint
from mlplab.runs.directory import RunDirectory
from mlplab.runs.recording import add_to_manifest

log = logging.getLogger("mlplab")

NAMES = ("last", "previous")
"""Of checkpoints that a run can go on from, the newest first."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that a run goes on from.

    Attributes:
        path: the file.
        content: as it was read.
        damaged: what is wrong with the newer ones that were passed over.
    """

    path: Path
    content: Mapping[str, Any]
    damaged: tuple[str, ...] = ()


def newest_checkpoint(directory: Path) -> Saved | None:
    """The newest whole checkpoint of a run; None where none has been written yet.

    A damaged one is put aside, so that the one before it is kept when the next is written.

    Args:
        directory: of the checkpoints.

    Raises:
        Refusal: there are some, and none is whole.
    """
    damaged: list[str] = []
    for path in (directory / f"{name}.ckpt" for name in NAMES):
        if not path.exists():
            continue
        try:
            content = read_checkpoint(path)
            _require_resumable(content, path)
        except Refusal as refusal:
            damaged.append(refusal.given)
            continue
        for name in NAMES[: NAMES.index(path.stem)]:
            newer = directory / f"{name}.ckpt"
            if newer.exists():
                newer.replace(newer.with_name(f"{newer.name}.damaged"))
        return Saved(path, content, tuple(damaged))
    if damaged:
        raise Refusal(
            "a run that goes on must have a checkpoint that is whole",
            "; ".join(damaged),
            f"rm {directory}/*.ckpt, to let it begin again",
        )
    return None


def _require_resumable(content: Mapping[str, Any], path: Path) -> None:
    saved = content.get("resume")
    parts = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "mlplab")
    if not isinstance(saved, Mapping) or any(part not in content for part in parts):
        raise Refusal("a run must go on from its own checkpoint", f"{path} lacks what it needs", "another run")


def rewind_logs(loggers: list[Logger], saved: Saved | None) -> None:
    """Takes back what was logged after the checkpoint, or all of it where there is none."""
    positions = saved.content["resume"].get("logs", {}) if saved else {}
    step = int(saved.content["global_step"]) if saved else 0
    for logger in loggers:
        if isinstance(logger, CalmTensorBoardLogger | ResumableCSVLogger):
            logger.rewind(positions.get(type(logger).__name__), step)


def go_on(config: DictConfig, directory: RunDirectory, data: DataModule, loggers: list[Logger]) -> Saved | None:
    """What the run goes on from, with its logs as they were then; says what is not as it was.

    Raises:
        Refusal: the data have changed, or no checkpoint is whole.
    """
    saved = newest_checkpoint(directory.checkpoints)
    if saved is not None:
        then = saved.content["mlplab"].get("data", {}).get("fingerprint")
        if then != data.fingerprint:
            raise Refusal(
                "a run must go on with the data that it was started with", f"{data.name} has changed", "a new run"
            )
    said = [f"damaged, and passed over: {problem}" for problem in (saved.damaged if saved else ())]
    if directory.taken_over is not None:
        said.append(f"the directory was in use by {directory.taken_over}, which has died")
    step = int(saved.content["global_step"]) if saved else 0
    differing = add_to_manifest(directory, config, step)
    if differing:
        said.append(f"what follows may differ in the last bits from an uninterrupted run: {'; '.join(differing)}")
    for warning in said:
        log.warning(warning)
        print(f"warning {warning}")
    where = "its beginning: no checkpoint had been written" if saved is None else (
        f"{shortest(saved.path)}, step {saved.content['global_step']}"
    )  # fmt: skip
    log.info(f"goes on from {where}")
    print(f"resume  from {where}")
    rewind_logs(loggers, saved)
    if saved is None:
        (directory.checkpoints / "best.ckpt").unlink(missing_ok=True)
    return saved
