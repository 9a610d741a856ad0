"""The loss and the learning rate, step by step and epoch by epoch."""

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.engine.logged_values import log_dict

STEPS_HELD = 1000
"""Logged steps that wait for the end of the epoch; in a longer epoch the curve is written in between."""


class TrainingCurves(Callback):
    """Logs `train/loss_step` and `lr` every `log_every_n_steps` updates, and `train/loss` for every epoch.

    `train/loss` is the mean over the rows of the epoch, as they were learned: dropout on, weights still changing,
    penalties left out, so that it compares with `val/loss`. Losses stay on their device until the end of the
    epoch: reading one at each step would make the processor wait for the accelerator.
    """

    only_watches = True  # and changes nothing between steps, see `mlplab.engine.epoch_loop`

    def __init__(self) -> None:
        self._groups: list[dict[str, Any]] = []
        self._rate = 0.0
        self._last_step = 0
        self._losses: list[Tensor] = []
        self._rows: list[int] = []
        self._logged: list[tuple[int, Tensor, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._groups = trainer.optimizers[0].param_groups if trainer.optimizers else []

    on_train_epoch_start = on_train_start  # a callback may have brought another optimizer

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # A schedule has moved on by the end of the step: this is the rate that the update uses.
        self._rate = self._groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = data_loss(outputs, trainer.accumulate_grad_batches)
        if loss is None:
            return
        self._losses.append(loss)
        self._rows.append(_n_rows(batch))
        step = trainer.global_step
        # While gradients are gathered, several batches stand at one step, also across the end of an epoch.
        if step % trainer.log_every_n_steps == 0 and step > self._last_step:  # type: ignore[attr-defined]
            self._last_step = step
            self._logged.append((step, loss, self._rate))
            if len(self._logged) >= STEPS_HELD:
                self.write_held(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._losses:
            rows = self._rows
            if trainer.world_size > 1:
                # The rows of the whole batch: the loss of each process is scaled so that their mean is the batch's.
                own = torch.tensor(rows, dtype=torch.float64, device=pl_module.device)
                rows = trainer.strategy.reduce(own, reduce_op="sum").tolist()
            mean = torch.tensor(mean_over_rows(torch.stack(self._losses).tolist(), rows), device=pl_module.device)
            log_dict(pl_module, {"train/loss": mean}, sync_dist=trainer.world_size > 1)
        self.write_held(trainer)
        self._losses, self._rows = [], []

    def take(self, losses: list[Tensor], rows: list[int], logged: list[tuple[int, Tensor, float]]) -> None:
        """Holds steps that were watched elsewhere, for several networks at once.

        Args:
            losses: of each step, without penalties.
            rows: of each step's batch.
            logged: step, loss and learning rate of those that are to be logged.
        """
        self._losses += losses
        self._rows += rows
        self._logged += logged
        if logged:
            self._last_step = logged[-1][0]

    def state_dict(self) -> dict[str, Any]:
        """The part of an epoch that has been done; what is held for the logs has been written before."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.empty(0)
        return {"losses": losses, "rows": torch.tensor(self._rows), "last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses = list(state_dict["losses"].unbind())
        self._rows = state_dict["rows"].tolist()
        self._last_step = state_dict["last_step"]

    def write_held(self, trainer: pl.Trainer) -> None:
        """Gives the loggers the steps that have waited for the end of the epoch."""
        if not self._logged:
            return
        steps, losses, rates = zip(*self._logged, strict=True)
        for step, loss, rate in zip(steps, torch.stack(losses).tolist(), rates, strict=True):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": loss, "lr": rate}, step=step)
        self._logged = []


def mean_over_rows(losses: Sequence[float], rows: Sequence[float]) -> float:
    """The mean of the batches' losses by their rows. A loss that is no number has been skipped, and counted."""
    learned = [(loss, n) for loss, n in zip(losses, rows, strict=True) if math.isfinite(loss)]
    if not learned:
        return math.nan
    return math.fsum(loss * n for loss, n in learned) / math.fsum(n for _, n in learned)


def data_loss(outputs: Any, gathered_batches: int) -> Tensor | None:
    """The loss without penalties, where the step tells it apart; None where a step was skipped.

    Lightning divides the loss by the number of batches whose gradients are gathered: that is undone here.
    """
    if not isinstance(outputs, dict) or "loss" not in outputs:
        return None
    if "data_loss" in outputs:
        return outputs["data_loss"]  # type: ignore[no-any-return]
    loss: Tensor = outputs["loss"]
    return loss if gathered_batches == 1 else loss * gathered_batches


def _n_rows(batch: Any) -> int:
    """Rows of a batch of tensors; of any other batch 1, so that its steps weigh alike."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    return first.shape[0] if isinstance(first, Tensor) and first.ndim > 0 else 1
