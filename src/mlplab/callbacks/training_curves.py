"""The loss and the learning rate, step by step and epoch by epoch."""

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

STEPS_BUFFERED = 1000
"""Logged steps that are kept for the end of the epoch; in a longer epoch the curve is written in between."""


class TrainingCurves(Callback):
    """Logs `train/loss_step` and `lr` every `log_every_n_steps` updates, and `train/loss` for every epoch.

    `train/loss` is the mean over the rows of the epoch, as they were learned: dropout on, weights still changing,
    penalties left out, so that it compares with `val/loss`. Losses stay on their device until the end of the
    epoch: reading one at each step would make the processor wait for the accelerator.

    Attributes:
        losses: of the steps of this epoch, without penalties.
        rows: of each step's batch.
        pending: step, loss and learning rate of those that the loggers have not been given yet.
        last_step: the last one that was logged.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self.last_step = 0
        self.losses: list[Tensor] = []
        self.rows: list[int] = []
        self.pending: list[tuple[int, Tensor, float]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # A schedule has moved on by the end of the step: this is the rate that the update uses.
        self._rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = data_loss(outputs, trainer.accumulate_grad_batches)
        if loss is None:
            return
        self.losses.append(loss)
        self.rows.append(_n_rows(batch))
        step = trainer.global_step
        # While gradients are accumulated, several batches stand at one step, also across the end of an epoch.
        if step % trainer.log_every_n_steps == 0 and step > self.last_step:  # type: ignore[attr-defined]
            self.last_step = step
            self.pending.append((step, loss, self._rate))
            if len(self.pending) >= STEPS_BUFFERED:
                self.flush_logs(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.losses:
            rows = self.rows
            if trainer.world_size > 1:
                # The rows of the whole batch: the loss of each process is scaled so that their mean is the batch's.
                own = torch.tensor(rows, dtype=torch.float64, device=pl_module.device)
                rows = trainer.strategy.reduce(own, reduce_op="sum").tolist()
            mean = torch.tensor(mean_over_rows(torch.stack(self.losses).tolist(), rows), device=pl_module.device)
            pl_module.log("train/loss", mean, sync_dist=trainer.world_size > 1)
        self.flush_logs(trainer)
        self.losses, self.rows = [], []

    def state_dict(self) -> dict[str, Any]:
        """The part of an epoch that has been done; what is held for the logs has been written before."""
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
        return {"losses": losses, "rows": torch.tensor(self.rows), "last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = list(state_dict["losses"].unbind())
        self.rows = state_dict["rows"].tolist()
        self.last_step = state_dict["last_step"]

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the pending steps to the loggers; also before a checkpoint, which stores the length of the logs."""
        if not self.pending:
            return
        steps, losses, rates = zip(*self.pending, strict=True)
        for step, loss, rate in zip(steps, torch.stack(losses).tolist(), rates, strict=True):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": loss, "lr": rate}, step=step)
        self.pending = []


def mean_over_rows(losses: Sequence[float], rows: Sequence[float]) -> float:
    """The mean of the batches' losses by their rows. A loss that is no number has been skipped, and counted."""
    learned = [(loss, n) for loss, n in zip(losses, rows, strict=True) if math.isfinite(loss)]
    if not learned:
        return math.nan
    return math.fsum(loss * n for loss, n in learned) / math.fsum(n for _, n in learned)


def data_loss(outputs: Any, batches_per_update: int) -> Tensor | None:
    """The loss without penalties, where the step tells it apart; None where a step was skipped.

    Lightning divides the loss by the number of batches whose gradients are accumulated: that is undone here.
    """
    if not isinstance(outputs, dict) or "loss" not in outputs:
        return None
    if "data_loss" in outputs:
        return outputs["data_loss"]  # type: ignore[no-any-return]
    loss: Tensor = outputs["loss"]
    return loss if batches_per_update == 1 else loss * batches_per_update


def _n_rows(batch: Any) -> int:
    """Rows of a batch of tensors; of any other batch 1, so that its steps weigh alike."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    return first.shape[0] if isinstance(first, Tensor) and first.ndim > 0 else 1
