"""Prevents updates with a loss or a gradient that is not finite."""

import logging
import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import LBFGS, Optimizer

from mlplab.errors import Diverged, SkipUpdate

log = logging.getLogger("mlplab")

ADVICE = "try a smaller optimizer.lr, or trainer.gradient_clip_val=1"

MOST_SKIPPED = 100
"""Maximum of consecutive skipped updates. Beyond it the weights give NaN for any batch and never recover."""


class NonFiniteGuard(Callback):
    """Checks loss and gradient before every update, and prevents it if one is not finite.

    On a GPU every step waits for the result of the check.

    Args:
        monitor: the validation value that is checked too.
        action: `stop` ends training and evaluates the best state; `skip` skips the update and continues; `raise` fails
            at once.

    Attributes:
        skipped: number of skipped updates.
    """

    def __init__(self, monitor: str, action: str = "stop") -> None:
        self.monitor, self.action = monitor, action
        self.skipped = 0
        self._in_a_row = 0
        self._checked_step = -1
        self._has_scaler = self._is_shared = False
        self._loss = self._found = torch.zeros(1)
        self._one = torch.ones(1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # In float16 gradients overflow now and then, and the gradient scaler skips such updates itself.
        self._has_scaler = getattr(trainer.precision_plugin, "scaler", None) is not None
        # Processes have different losses but the same gradient: only by it do all decide alike.
        self._is_shared = trainer.world_size > 1
        self._found, self._one = self._found.to(pl_module.device), self._one.to(pl_module.device)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._has_scaler:
            return
        if isinstance(optimizer, LBFGS):
            # A line search may try points with infinite loss, so only its first point, the current weights, is checked.
            if self._checked_step == trainer.global_step:
                return
            self._checked_step = trainer.global_step
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._are_finite(gradients) and (self._is_shared or math.isfinite(self._loss.item())):
            self._in_a_row = 0
            return
        # Lightning has divided the loss by the number of accumulated batches.
        loss = self._loss.item() * trainer.accumulate_grad_batches
        what = (
            f"loss {loss:g} and gradient norm {get_total_norm(gradients).item():g} in epoch "
            f"{trainer.current_epoch + 1}, step {trainer.global_step + 1}"
        )
        if self.action == "skip" and self._in_a_row < MOST_SKIPPED:
            self._in_a_row += 1
            self.skipped += 1
            log.warning(f"skipped an update: {what}")
            raise SkipUpdate
        if self.action == "skip":
            what = f"{what}, after {MOST_SKIPPED} skipped updates in a row"
        raise Diverged(f"diverged: {what}; {ADVICE}", trainer.global_step + 1, loss)

    def _are_finite(self, gradients: list[Tensor]) -> bool:
        """Checks all gradients in one pass, as a gradient scaler does."""
        # Private to PyTorch, but used by `GradScaler`, here with the scale 1. It takes a third of the time of
        # `get_total_norm`, which makes a tensor for each gradient.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._found, self._one)
        if not self._found.item():
            return True
        # The kernel sets the flag and never clears it.
        self._found.zero_()
        return False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After a far too large update, the weights may be finite while the validation value is not.
        value = trainer.callback_metrics.get(self.monitor)
        # With `skip` only updates are guarded: a bad validation may recover in later epochs.
        if trainer.state.fn != "fit" or self.action == "skip" or value is None or math.isfinite(float(value)):
            return
        raise Diverged(
            f"diverged: {self.monitor} is {float(value):g} in epoch {trainer.current_epoch + 1}, "
            f"step {trainer.global_step}; {ADVICE}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]
