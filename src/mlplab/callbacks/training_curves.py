"""Logs training loss and learning rate, by step and by epoch."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.errors import Diverged

STEPS_BUFFERED = 1000
"""Logged steps to buffer; in a longer epoch they are written before its end."""


class TrainingCurves(Callback):
    """Logs `train/loss_step` and `lr` of the updates that `logged_step` names, and `train/loss` for every epoch.

    `train/loss` is the mean over the rows of the epoch, measured during training: with dropout, and with changing
    weights. Penalties are left out, so that it compares with `val/loss`. Losses stay on their device until the end of
    the epoch, as reading one at each step would make the CPU wait for the GPU.

    Attributes:
        losses: of the batches of this epoch, without penalties.
        rows: of each of these batches.
        pending: step, loss and learning rate, not yet written to the loggers.
        last_step: the last logged step.
    """

    def __init__(self) -> None:
        # The rate at the start of the step, which `on_train_batch_start` sets.
        self._rate = 0.0
        self.last_step = 0
        self.losses: list[Tensor] = []
        self.rows: list[int] = []
        self.pending: list[tuple[int, Tensor, float]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Read now, as a schedule changes the rate at the end of the step.
        self._rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = data_loss(outputs, trainer.accumulate_grad_batches)
        if loss is None:  # a `training_step` that skipped its batch
            return
        self.losses.append(loss)
        self.rows.append(_n_rows(batch))
        step = trainer.global_step
        # While gradients accumulate, several batches have the same step; it must be logged once.
        if step <= self.last_step:
            return
        logged = logged_step(step, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if logged is not None:
            self.last_step = step
            self.pending.append((logged, loss, self._rate))
            if len(self.pending) >= STEPS_BUFFERED:
                self.flush_logs(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.losses:
            total, n_rows = sums_over_rows(torch.stack(self.losses).tolist(), self.rows)
            if trainer.world_size > 1:
                own = torch.tensor([total, n_rows], dtype=torch.float64, device=pl_module.device)
                total, n_rows = trainer.strategy.reduce(own, reduce_op="sum").tolist()
            # NaN if every update of the epoch was skipped.
            mean = torch.tensor(total / n_rows if n_rows else math.nan, device=pl_module.device)
            # The mean already covers all processes; sync_dist only silences Lightning's warning.
            pl_module.log_dict({"train/loss": mean}, sync_dist=trainer.world_size > 1)
        self.flush_logs(trainer)
        self.losses, self.rows = [], []

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with contextlib.suppress(OSError):  # the exception may be that the disk is full
            self.flush_logs(trainer)
            if isinstance(exception, Diverged) and exception.step is not None:
                for logger in trainer.loggers:
                    logger.log_metrics({"train/loss_step": exception.loss}, step=exception.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns the losses of the current epoch. Pending steps were flushed before the checkpoint."""
        # `torch.stack` refuses an empty list.
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
        return {"losses": losses, "rows": torch.tensor(self.rows), "last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = list(state_dict["losses"].unbind())
        self.rows = state_dict["rows"].tolist()
        self.last_step = state_dict["last_step"]

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the pending steps to the loggers. Also called before a checkpoint, which stores the logs' length."""
        if not self.pending:
            return
        steps, losses, rates = zip(*self.pending, strict=True)
        for step, loss, rate in zip(steps, torch.stack(losses).tolist(), rates, strict=True):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": loss, "lr": rate}, step=step)
        self.pending = []


def logged_step(step: int, interval: int) -> int | None:
    """Returns the step at which an update is logged, or None: every `interval`, and before that at powers of two.

    The first update is logged at step 0, as its loss and its gradient are those of the initial weights.
    """
    if step % interval == 0:
        return step
    is_early = step < interval and step & (step - 1) == 0
    return step if is_early and step > 1 else 0 if is_early else None


def sums_over_rows(losses: Sequence[float], rows: Sequence[int]) -> tuple[float, float]:
    """Sums losses and rows of batches, without those that are not finite: their updates were skipped."""
    learned = [(loss, n) for loss, n in zip(losses, rows, strict=True) if math.isfinite(loss)]
    return math.fsum(loss * n for loss, n in learned), math.fsum(n for _, n in learned)


def data_loss(outputs: Any, batches_per_update: int) -> Tensor | None:
    """Returns the loss without penalties if the step gives it, else its loss; None for a step without one.

    Lightning divides the loss by the number of accumulated batches, which is undone here.
    """
    if not isinstance(outputs, dict) or "loss" not in outputs:
        return None
    if "data_loss" in outputs:
        return outputs["data_loss"]  # type: ignore[no-any-return]
    loss: Tensor = outputs["loss"]
    return loss if batches_per_update == 1 else loss * batches_per_update


def _n_rows(batch: Any) -> int:
    """Returns the rows of a batch of tensors; 1 for any other batch, so that all steps have the same weight."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    return first.shape[0] if isinstance(first, Tensor) and first.ndim > 0 else 1
