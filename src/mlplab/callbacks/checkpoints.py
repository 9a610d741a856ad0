"""Keeps the best and the last state of a run, as checkpoints/best.ckpt, last.ckpt and previous.ckpt."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning import __version__
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer
from torch import Tensor
from torch.optim import Optimizer

from mlplab.callbacks.frozen_parts import frozen_parts, restore_frozen_parts
from mlplab.callbacks.own_module import OwnModule, of_validation
from mlplab.callbacks.pruned_weights import pruned_parts, restore_parts, without_masks
from mlplab.errors import UserError, rounded
from mlplab.runs.files import flushed_together
from mlplab.runs.full_disk import explain_full_disk

log = logging.getLogger("mlplab")

MOST = 0.03
"""Maximum share of time for writing checkpoints: slow ones are written less often."""

STEPS_BETWEEN_AGREEMENTS = 100
"""Steps between joint decisions of several processes on writing: each decision costs more than a step."""

SECONDS_UNTOLD = 10.0
"""Minimum of seconds between two lines on a new best state in train.log."""


@dataclass
class Best:
    """The best state so far; epochs count from 1, as in the table of metrics and the progress line."""

    score: float
    epoch: int | None = None
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] | None = None


class Checkpoints(Checkpoint):
    """Copies each best state in memory, and writes files every `every_seconds` and at the end.

    A file costs milliseconds, a copy in memory microseconds. With epochs of a few milliseconds, writing each
    improvement would take longer than training. Files are written at the end of an epoch; in the middle of one only
    if they are overdue by another `every_seconds`.

    last.ckpt is all that the run needs to resume, and includes the best state. previous.ckpt is the last.ckpt before
    it.

    best.ckpt holds the validated weights, even if a callback swaps weights for the validation, as weight averaging
    does. Weights that a callback sets at the end of training are validated once more (`consider`).

    Args:
        directory: of the files.
        monitor: the validation value that decides which state is best.
        mode: `min` or `max`.
        every_seconds: seconds between two writings; 0 writes after every step.
        every_n_epochs: also writes at every n-th epoch; null uses `every_seconds` alone.

    Attributes:
        has_other_weights: whether a callback has changed the weights since the last step.
        seconds: spent on writing.
    """

    def __init__(
        self, directory: str, monitor: str, mode: str, every_seconds: float = 30.0, every_n_epochs: int | None = None
    ) -> None:
        self.directory = Path(directory)
        self.monitor, self.mode = monitor, mode
        self.every_seconds, self.every_n_epochs = every_seconds, every_n_epochs
        self.best = Best(score=math.inf if mode == "min" else -math.inf)
        self.has_other_weights = False
        self.seconds = 0.0
        # Grows if writing is slow, see `write`.
        self._wait = every_seconds
        # There is no best state yet, so there is nothing to write.
        self._best_is_written = True
        self._last_writing = self._last_told = time.monotonic()
        self._n_bests = 0
        self._validated: dict[str, Tensor] = {}
        self._at_end: dict[str, Tensor] = {}
        self._loaded: dict[str, Any] | None = None
        # The batch after which the run resumes, counted over all epochs.
        self._resumed_after: int | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for other in trainer.checkpoint_callbacks:
            directory = getattr(other, "dirpath", None)  # ModelCheckpoint has set its default by now
            if directory is not None and Path(directory).resolve() == self.directory.resolve():
                raise UserError(
                    f"{type(other).__name__} must have a dirpath of its own",
                    f"{directory} holds the checkpoints of the run",
                    "dirpath: '${paths.run}/mine' in its configuration",
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._loaded is not None:
            saved, self._loaded = self._loaded, None
            self._resumed_after = trainer.fit_loop.total_batch_idx
            trainer.callback_metrics.update(saved["resume"]["metrics"])
            # Here, as Lightning restores optimizers after `on_load_checkpoint`.
            for optimizer, state in zip(trainer.optimizers, saved["optimizer_states"], strict=False):
                _restore_types(optimizer, state)
            # Only now, as the optimizer's state has the order of the weights before they were split.
            restore_parts(pl_module, trainer.callbacks, saved["resume"].get("pruned", {}))  # type: ignore[attr-defined]
            restore_frozen_parts(pl_module, saved["resume"].get("frozen"))
        # The interval begins after building the run and loading its checkpoint.
        self._last_writing = time.monotonic()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        # Copied now: by the time the score is known, weight averaging has swapped the weights back.
        if batch_idx == 0 and dataloader_idx == 0:
            self._validated = _copy_of(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The sanity check validates untrained weights on a few batches; tests use weights that are kept already.
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self.consider(trainer, pl_module, trainer.callback_metrics, trainer.current_epoch + 1)

    def consider(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: Mapping[str, Any], epoch: int
    ) -> None:
        """Keeps a copy of the last validated weights if they have the best score so far."""
        validated, self._validated = self._validated, {}
        if self.monitor not in metrics:
            return
        score = float(metrics[self.monitor])
        # A NaN compares false, and so is never the best. Strictly better: of equal states the earliest is kept, which
        # trained least.
        if score < self.best.score if self.mode == "min" else score > self.best.score:
            validation = {name: float(value) for name, value in of_validation(trainer, metrics).items()}
            weights = without_masks(validated or _copy_of(pl_module))
            self.best = Best(score, epoch, trainer.global_step, validation, weights)
            self._best_is_written = False
            self._tell_best()

    def _tell_best(self) -> None:
        """Logs a new best value to train.log, at most every few seconds after the first ones."""
        self._n_bests += 1
        now = time.monotonic()
        if self._n_bests & (self._n_bests - 1) == 0 or now - self._last_told >= SECONDS_UNTOLD:
            self._last_told = now
            place = f"epoch {self.best.epoch}, step {self.best.step}"
            log.info(f"{place}: {self.monitor} {rounded(self.best.score)}, the best so far")

    def on_safe_point(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stopping: bool) -> None:
        """Writes the files if they are due. The loops call it wherever the state of the run is complete."""
        # A state that was just loaded is on the disk already. By now, callbacks may have changed it as training began.
        is_on_disk = self._resumed_after == trainer.fit_loop.total_batch_idx
        if not is_on_disk and (stopping or self.is_due(trainer)):
            self.write(trainer, pl_module)
        if stopping:
            self._at_end = without_masks(_copy_of(pl_module))

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Returns whether it is time to write the files."""
        waited = time.monotonic() - self._last_writing
        is_within_epoch = trainer.fit_loop.epoch_progress.current.ready > trainer.current_epoch
        if is_within_epoch:
            due = waited >= 2 * self._wait
        else:
            due = waited >= self._wait or bool(self.every_n_epochs and trainer.current_epoch % self.every_n_epochs == 0)
        if trainer.world_size == 1:
            return due
        # All processes must take part in writing, so the clock of the first decides for all.
        if is_within_epoch and trainer.global_step % STEPS_BETWEEN_AGREEMENTS:
            return False
        return bool(trainer.strategy.broadcast(due))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning calls checkpoint callbacks last, so any other callback has changed the weights by now.
        before, self._at_end = self._at_end, {}
        now = without_masks(pl_module.state_dict())
        # Pruning may have removed its masks at the end. That changes names, not weights; hence `without_masks`.
        self.has_other_weights = any(name not in now or not torch.equal(before[name], now[name]) for name in before)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # Not last.ckpt, as the weights may be in the middle of an update; the best weights are a copy.
        if isinstance(exception, Exception) and trainer.world_size == 1 and trainer.state.fn == "fit":
            self.write_best(trainer, pl_module)

    def write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes best.ckpt and last.ckpt. To be called at a safe point."""
        began = time.monotonic()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            flush_logs = getattr(callback, "flush_logs", None)
            if flush_logs is not None:  # the checkpoint stores the lengths of the logs, so buffers must be empty
                flush_logs(trainer)
        last = self.directory / "last.ckpt"
        with explain_full_disk(last, (OSError,)), flushed_together():
            self.write_best(trainer, pl_module)
            trainer.save_checkpoint(last)
        self._last_writing = time.monotonic()
        cost = self._last_writing - began
        # With every_seconds=0 each step is to be written, whatever it costs.
        self._wait = max(self.every_seconds, cost / MOST if self.every_seconds else 0.0)
        self.seconds += cost

    def write_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, again: bool = False) -> None:
        """Writes best.ckpt, unless it has this state already; `again` rewrites it in any case, for a changed card.

        Without a best state there is no file.
        """
        if self.best.weights is None or (self._best_is_written and not again):
            return
        # The keys of Lightning's checkpoints, so that one reader opens both best.ckpt and last.ckpt.
        content: dict[str, Any] = {
            "state_dict": self.best.weights,
            "epoch": self.best.epoch,
            "global_step": self.best.step,
            "metrics": self.best.metrics,
            "pytorch-lightning_version": __version__,
        }
        pl_module.on_save_checkpoint(content)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, OwnModule):
                callback.on_save_checkpoint(trainer, pl_module, content)
        trainer.strategy.save_checkpoint(content, self.directory / "best.ckpt")
        self._best_is_written = True

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Weights keep their usual names, so that every reader finds them; pruning masks are stored separately.
        checkpoint["state_dict"] = without_masks(checkpoint["state_dict"])
        checkpoint["resume"] = {
            "pruned": pruned_parts(pl_module),
            "frozen": frozen_parts(pl_module, trainer.callbacks),  # type: ignore[attr-defined]
            # A dict, as checkpoints are read without unpickling classes.
            "best": dict(vars(self.best)),
            # Early stopping or a plateau schedule may still read them in this epoch.
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "should_stop": _must_stop(trainer),
            "logs": {
                type(logger).__name__: logger.position() for logger in trainer.loggers if hasattr(logger, "position")
            },
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Kept until training starts: optimizers and metrics do not exist yet.
        self._loaded = checkpoint
        states = checkpoint["callbacks"]
        if "Divergence" in states:  # the former name of NonFiniteGuard, in release 0.5
            states["NonFiniteGuard"] = states.pop("Divergence")
        self.best = Best(**checkpoint["resume"]["best"])
        self._best_is_written = self.best.weights is None  # best.ckpt may be older or newer than this checkpoint
        trainer.should_stop = bool(checkpoint["resume"]["should_stop"])


def _copy_of(pl_module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in pl_module.state_dict().items()}


def _restore_types(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Restores the dtypes of an optimizer's state, which PyTorch casts to those of the parameters on loading."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    # Every state lists its parameters by number, in the order of the groups.
    for parameter, number in zip(parameters, numbers, strict=True):
        state = optimizer.state.get(parameter, {})
        for key, value in saved["state"].get(number, {}).items():
            if isinstance(value, Tensor) and value.dtype != state[key].dtype:
                state[key] = value.to(state[key].device)


def _must_stop(trainer: pl.Trainer) -> bool:
    """Returns whether a resumed run must stop too. A time limit does not count, as it may be raised."""
    if not trainer.should_stop:
        return False
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stopped_early = any(isinstance(c, EarlyStopping) and c.stopping_reason.value for c in callbacks)
    return stopped_early or not any(isinstance(callback, Timer) for callback in callbacks)
