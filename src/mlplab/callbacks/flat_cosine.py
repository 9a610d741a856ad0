"""Lowers dropout and weight decay in the second half of training."""

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from mlplab.learner import Learner


class FlatCosine(Callback):
    """Keeps dropout and weight decay in the first half of training, then lowers them to 0 along half a cosine.

    At the share t > ½ of training the factor is ½(1 + cos(π(2t − 1))): "flat_cos" of Holzmüller et al. 2024, section 3.
    It depends on the step alone, so a resumed run has the same values.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        # In a run without a limit, the first half never ends.
        self._total_steps = pl_module.total_steps() or math.inf
        found: list[tuple[Any, Any]] = [(module, getattr(module, "dropout", None)) for module in pl_module.modules()]
        self._layers = [(module, dropout) for module, dropout in found if isinstance(dropout, float)]
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                # In the group, and so in checkpoints, as `weight_decay` itself changes with the step.
                group.setdefault("initial_weight_decay", group.get("weight_decay", 0.0))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        factor = flat_cosine(trainer.global_step / self._total_steps)
        for module, dropout in self._layers:
            module.dropout = factor * dropout
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                if group["initial_weight_decay"]:
                    group["weight_decay"] = factor * group["initial_weight_decay"]


def flat_cosine(share: float) -> float:
    """Returns the factor at a share of training in [0, 1]."""
    return 1.0 if share <= 0.5 else (1 + math.cos(math.pi * (2 * share - 1))) / 2
