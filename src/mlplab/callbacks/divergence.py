"""Prevents updates with a loss or gradient that is not finite."""

import logging
import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import LBFGS, Optimizer

from mlplab.errors import Diverged, SkipUpdate

log = logging.getLogger("mlplab")

ADVICE = "try a smaller optimizer.lr, or trainer.gradient_clip_val=1"

MOST_SKIPPED = 100
"""Updates in a row that may be skipped. Beyond it the weights give NaN for any batch, and never recover."""


class Divergence(Callback):
    """Checks the loss and the gradient before every update, and makes none that is not finite.

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
        self._looked_at_step = -1
        self._loss: Tensor | None = None
        self._flags: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._parameters: list[nn.Parameter] = []
        self._has_scaler = self._is_line_search = self._is_shared = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # In float16 gradients overflow now and then, and the gradient scaler skips such updates itself.
        self._has_scaler = getattr(trainer.precision_plugin, "scaler", None) is not None
        self._is_line_search = any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers)
        # Processes have different losses, but the same gradient, which alone lets all of them decide alike.
        self._is_shared = trainer.world_size > 1
        self._parameters = [p for o in trainer.optimizers for group in o.param_groups for p in group["params"]]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._has_scaler:
            return
        if self._is_line_search:
            # A line search may try points with infinite loss. Only its first point, the current weights, is checked.
            if self._looked_at_step == trainer.global_step:
                return
            self._looked_at_step = trainer.global_step
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._are_finite(gradients) and (self._is_shared or self._loss_is_finite()):
            self._in_a_row = 0
            return
        what = self._describe(trainer, gradients)
        if self.action == "skip" and self._in_a_row < MOST_SKIPPED:
            self._in_a_row += 1
            self.skipped += 1
            log.warning(f"skipped an update: {what}")
            raise SkipUpdate
        if self.action == "skip":
            what = f"{what}, after {MOST_SKIPPED} skipped updates in a row"
        raise Diverged(f"diverged: {what}; {ADVICE}")

    def _are_finite(self, gradients: list[Tensor]) -> bool:
        """Checks all gradients in one pass, as a gradient scaler does."""
        if not gradients:
            return True
        device = gradients[0].device
        if device not in self._flags:
            self._flags[device] = (torch.zeros(1, device=device), torch.ones(1, device=device))
        found, one = self._flags[device]
        # Private to PyTorch, but used by `GradScaler`: one pass over all gradients, here scaled by 1. It takes a third
        # of the time of `get_total_norm`, which makes a tensor for each gradient.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, one)
        if not found.item():
            return True
        found.zero_()
        return False

    def _loss_is_finite(self) -> bool:
        return self._loss is None or math.isfinite(self._loss.item())

    def _describe(self, trainer: pl.Trainer, gradients: list[Tensor]) -> str:
        loss = math.nan if self._loss is None else self._loss.item() * trainer.accumulate_grad_batches
        norm = get_total_norm(gradients).item()
        return (
            f"loss {loss:g} and gradient norm {norm:g} in epoch {trainer.current_epoch + 1}, "
            f"step {trainer.global_step + 1}"
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After a finite but far too large update the weights are finite, and the validation value is not.
        value = trainer.callback_metrics.get(self.monitor)
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
