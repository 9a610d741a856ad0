"""Keeps the best and the last state of a run, as checkpoints/best.ckpt, last.ckpt and previous.ckpt."""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning import __version__
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelPruning, Timer
from torch import Tensor
from torch.optim import Optimizer

from mlplab.callbacks.pruned_weights import pruned_parts, restore_parts, without_masks
from mlplab.engine.resumable_loops import loop_of, restore_metrics
from mlplab.errors import Refusal
from mlplab.runs.checkpoint import explain_full_disk
from mlplab.runs.files import flushed_together

MOST = 0.03
"""Share of the time that may go into writing checkpoints: where one takes long, they are written less often."""

STEPS_BETWEEN_AGREEMENTS = 100
"""Several processes agree on whether to write; asking at every step would cost more than the step."""


class Checkpoints(Checkpoint):
    """The best state is copied in memory; files are written by the clock, and at the end.

    A file costs milliseconds, a copy in memory microseconds: with epochs of a few milliseconds, writing each
    improvement would take longer than learning it. The end of an epoch is preferred; in the middle of one, files
    are written when they are overdue by as much again.

    last.ckpt holds everything that the run needs to go on, the best state too: the file alone decides where it
    goes on from, whatever had been written beside it. previous.ckpt is the last.ckpt before it.

    best.ckpt holds the weights that were validated, also where a callback swaps others in for the validation, as
    weight averaging does. Weights that a callback puts into the network when training ends are validated once more
    (`consider`), and are the best if their score is.

    Args:
        directory: where the files go.
        monitor: the validation value that decides which state is best.
        mode: `min` or `max`.
        every_seconds: how long a run may go on between two writings; 0 writes after every step.
        every_n_epochs: writes after this many epochs too, however short they are; null goes by the clock alone.

    Attributes:
        has_other_weights: whether the network has other weights than those that training ended with.
        seconds: spent on writing.
    """

    def __init__(
        self, directory: str, monitor: str, mode: str, every_seconds: float = 30.0, every_n_epochs: int | None = None
    ) -> None:
        self.directory = Path(directory)
        self.monitor, self.mode = monitor, mode
        self.every_seconds, self.every_n_epochs = every_seconds, every_n_epochs
        self.best_score = math.inf if mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self.best_step: int | None = None
        self.best_metrics: dict[str, float] = {}
        self.best_weights: dict[str, Tensor] | None = None
        self.has_other_weights = False
        self.seconds = 0.0
        self._wait = every_seconds
        self._is_alone = True
        self._best_is_written = True
        self._last_writing = time.monotonic()
        self._validated: dict[str, Tensor] = {}
        self._at_end: dict[str, Tensor] = {}
        self._metrics: dict[str, Tensor] = {}
        self._optimizer_states: list[dict[str, Any]] = []
        self._pruned: dict[str, dict[str, Any]] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._is_alone = trainer.world_size == 1
        if stage == "fit":
            loop_of(trainer).on_safe_point = partial(self._on_safe_point, trainer, pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for other in trainer.checkpoint_callbacks:
            directory = getattr(other, "dirpath", None)  # of a ModelCheckpoint, which has made one up by now
            if directory is not None and Path(directory).resolve() == self.directory.resolve():
                raise Refusal(
                    f"{type(other).__name__} must have a dirpath of its own",
                    f"{directory}, where the run has its checkpoints",
                    "dirpath: '${paths.run}/mine' in its configuration",
                )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        restore_metrics(trainer, self._metrics)
        for optimizer, state in zip(trainer.optimizers, self._optimizer_states, strict=False):
            _restore_types(optimizer, state)
        self._optimizer_states = []
        restore_parts(pl_module, trainer.callbacks, self._pruned)  # type: ignore[attr-defined]
        self._pruned = {}
        self._last_writing = time.monotonic()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        # When the score is known, a callback that swapped weights for the validation has swapped them back.
        if batch_idx == 0 and dataloader_idx == 0:
            self._validated = _copy_of(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            # Epochs are counted from 1, as the table and the progress line count them.
            self.consider(trainer, pl_module, trainer.callback_metrics, trainer.current_epoch + 1)

    def consider(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: Mapping[str, Any], epoch: int
    ) -> None:
        """Keeps the weights that were validated last, if their score is better than the best.

        Args:
            trainer: which counts the steps.
            pl_module: whose weights they are.
            metrics: of the validation.
            epoch: counted from 1.
        """
        validated, self._validated = self._validated, {}
        if self.monitor not in metrics:
            return
        score = float(metrics[self.monitor])
        if score < self.best_score if self.mode == "min" else score > self.best_score:
            self.best_score = score
            self.best_epoch, self.best_step = epoch, trainer.global_step
            self.best_metrics = {name: float(v) for name, v in metrics.items() if name.startswith("val/")}
            self.best_weights = without_masks(validated or _copy_of(pl_module))
            self._best_is_written = False

    def _on_safe_point(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stopping: bool) -> None:
        if not loop_of(trainer).is_as_loaded and (stopping or self.is_due(trainer)):
            self.write(trainer, pl_module)
        if stopping:
            self._at_end = without_masks(_copy_of(pl_module))

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Whether the files are to be written now."""
        waited = time.monotonic() - self._last_writing
        wait = self._wait
        if waited < wait and not self.every_n_epochs and self._is_alone:  # which is asked after every step
            return False
        loop = loop_of(trainer)
        is_within_epoch = loop.is_within_epoch
        due = waited >= (2 * wait if is_within_epoch else wait)
        if not is_within_epoch and self.every_n_epochs:
            due = due or loop.n_epochs_done % self.every_n_epochs == 0
        if self._is_alone:
            return due
        # All processes must take part in writing, so the first one's clock decides for all.
        if is_within_epoch and trainer.global_step % STEPS_BETWEEN_AGREEMENTS:
            return False
        return bool(trainer.strategy.broadcast(due))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning calls checkpoint callbacks last: what another one does to the network when training ends is done.
        before, self._at_end = self._at_end, {}
        now = without_masks(pl_module.state_dict())
        self.has_other_weights = any(name not in now or not torch.equal(before[name], now[name]) for name in before)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # The state of an exception may be half of an update; the best one is a copy.
        if isinstance(exception, Exception) and trainer.world_size == 1 and trainer.state.fn == "fit":
            self.write_best(trainer, pl_module)

    def write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what the run needs to go on, at a safe point."""
        began = time.monotonic()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            flush_logs = getattr(callback, "flush_logs", None)
            if flush_logs is not None:  # the checkpoint stores how long the logs are, so nothing may be buffered
                flush_logs(trainer)
        last = self.directory / "last.ckpt"
        with explain_full_disk(last, (OSError,)), flushed_together():
            self.write_best(trainer, pl_module)
            trainer.save_checkpoint(last)
        self._last_writing = time.monotonic()
        cost = self._last_writing - began
        self._wait = max(self.every_seconds, cost / MOST if self.every_seconds else 0.0)
        self.seconds += cost

    def write_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes best.ckpt, unless it is there."""
        if self._best_is_written:
            return
        content: dict[str, Any] = {
            "state_dict": self.best_weights,
            "epoch": self.best_epoch,
            "global_step": self.best_step,
            "metrics": self.best_metrics,
            "pytorch-lightning_version": __version__,
        }
        pl_module.on_save_checkpoint(content)
        trainer.strategy.save_checkpoint(content, self.directory / "best.ckpt")
        self._best_is_written = True

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Weights under their own names, so that every reader finds them; what pruning has made of them stands apart.
        checkpoint["state_dict"] = without_masks(checkpoint["state_dict"])
        checkpoint["resume"] = {
            "pruned": pruned_parts(pl_module, trainer.callbacks),  # type: ignore[attr-defined]
            "best": {
                "score": self.best_score,
                "epoch": self.best_epoch,
                "step": self.best_step,
                "metrics": self.best_metrics,
                "weights": self.best_weights,
            },
            # By which an early stop or a plateau schedule may yet go in this epoch.
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "should_stop": _must_stop(trainer),
            "logs": {
                type(logger).__name__: logger.position() for logger in trainer.loggers if hasattr(logger, "position")
            },
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint["resume"]
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if "pruned" not in saved and any(isinstance(callback, ModelPruning) for callback in callbacks):
            raise Refusal(
                "callbacks of a run that goes on must have all their state in checkpoints",
                "those of earlier releases do not have ModelPruning's masks",
                "a new run",
            )
        self._pruned = saved.get("pruned", {})
        best = saved["best"]
        self.best_score, self.best_epoch, self.best_step = best["score"], best["epoch"], best["step"]
        self.best_metrics, self.best_weights = best["metrics"], best["weights"]
        self._best_is_written = self.best_weights is None  # best.ckpt may be older or newer than this
        self._metrics = saved["metrics"]
        self._optimizer_states = checkpoint["optimizer_states"]
        trainer.should_stop = bool(saved["should_stop"])


def _copy_of(pl_module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in pl_module.state_dict().items()}


def _restore_types(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Gives back what PyTorch loses by loading all of an optimizer's state in the type of its parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = [name for group in saved["param_groups"] for name in group["params"]]
    for parameter, name in zip(parameters, names, strict=True):
        state = optimizer.state.get(parameter, {})
        for key, value in saved["state"].get(name, {}).items():
            if isinstance(value, Tensor) and isinstance(state.get(key), Tensor) and value.dtype != state[key].dtype:
                state[key] = value.to(state[key].device)


def _must_stop(trainer: pl.Trainer) -> bool:
    """Whether the end has been decided on, by more than a limit of time, which may be raised."""
    if not trainer.should_stop:
        return False
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stopped_early = any(isinstance(c, EarlyStopping) and c.stopping_reason.value for c in callbacks)
    return stopped_early or not any(isinstance(callback, Timer) for callback in callbacks)
