"""Computes loss and gradient of a batch: by the fused step if the engine recognises the learner, else by autograd."""

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loops.optimization.automatic import ClosureResult
from torch import Tensor

from mlplab.engine.fused_step import Backward, FusedStep, HasFusedStep, Outputs, Step, matches_autograd
from mlplab.engine.recognition import why_not_fused

log = logging.getLogger("mlplab")


class LossAndGradient:
    """Computes the loss of a batch; replaces Lightning's call of `training_step`.

    Args:
        trainer: that fits the module.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer
        self._fused: Step | None = None
        self._is_verified = self._is_wrong = False
        self._logged_reason: str | None = None

    def refresh(self) -> None:
        """Determines whether the module, as it is now, has a fused step."""
        self._module = self._trainer.lightning_module
        self._fused = self._fused_step()

    def __call__(self, batch: Any, batch_idx: int) -> tuple[Outputs, Tensor | None, Backward]:
        """Returns the loss, the outputs for `on_train_batch_end`, and a function that adds the gradient."""
        batches_per_update = self._trainer.accumulate_grad_batches
        if self._fused is not None and (self._is_verified or self._matches_autograd(batch, batch_idx)):
            # Gradients are computed later, by `backward`, so that `on_before_backward` comes in between.
            outputs, backward = self._fused(batch, batches_per_update)
            return outputs, outputs["loss"], backward
        # Through the dict: nn.Module's `__setattr__` takes microseconds.
        attributes = vars(self._module)
        attributes["_current_fx_name"] = "training_step"
        output = self._module.training_step(batch, batch_idx)
        attributes["_current_fx_name"] = None
        if batches_per_update == 1 and isinstance(output, Tensor):
            # Without Lightning's division by 1, which autograd would record.
            result = ClosureResult(output)
        elif batches_per_update == 1 and isinstance(output, dict) and isinstance(output.get("loss"), Tensor):
            result = ClosureResult(output["loss"], {name: value for name, value in output.items() if name != "loss"})
        else:
            result = ClosureResult.from_training_step_output(output, batches_per_update)
        if result.closure_loss is None:
            return {}, None, _do_nothing
        return result.asdict(), result.closure_loss, result.closure_loss.backward

    def _fused_step(self) -> Step | None:
        """Returns the fused step of the module; None if autograd must be used."""
        module, trainer = self._module, self._trainer
        if isinstance(module, HasFusedStep):
            self._is_verified = True
            # Anomaly detection needs autograd's graph, which the fused step does not build.
            is_on_cpu = trainer.strategy.root_device.type == "cpu"
            return module.fused_step() if is_on_cpu and not torch.is_anomaly_enabled() else None
        if self._is_wrong:
            return None
        reason = why_not_fused(trainer, module)
        if reason is not None:
            self.log_reason(reason)
            return None
        return FusedStep(module)  # type: ignore[arg-type]  # `why_not_fused` asks for the project's Learner

    def _matches_autograd(self, batch: Any, batch_idx: int) -> bool:
        """Compares the fused step with autograd on the first batch of the run."""
        assert isinstance(self._fused, FusedStep)
        if matches_autograd(self._fused, self._module, batch, batch_idx):
            self._is_verified = True
            return True
        # Not tried again in this run: a difference on one batch may come back on another.
        self._fused, self._is_wrong = None, True
        self.log_reason("its numbers differ from autograd's on the first batch")
        return False

    def log_reason(self, reason: str) -> None:
        """Logs to train.log why autograd is used, once for each reason."""
        if self._logged_reason != reason:
            self._logged_reason = reason
            log.info(f"training uses autograd instead of the fused step: {reason}")


def _do_nothing() -> None:
    """Replaces the backward pass of a skipped step."""
