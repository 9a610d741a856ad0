"""Averages the weights of many steps. The average is validated, kept as the best state, tested and exported."""

import logging
from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

log = logging.getLogger("mlplab")


class _RunningAverage(WeightAveraging):
    """Moves the average towards the weights by a share: w̄ ← w̄ + share·(w − w̄).

    Lightning puts the average into the network for each validation and when training ends. Checkpoints hold both.
    """

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=self._move)

    @abstractmethod
    def share(self, n_averaged: int) -> float:
        """Returns the share of the current weights in the average, after `n_averaged` updates of it."""

    def _move(self, averages: Any, weights: Any, n_averaged: Tensor | int) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, self.share(int(n_averaged)))
        else:  # counters, such as in batch normalisation
            torch._foreach_copy_(averages, weights)

    def update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the current weights to the average."""
        assert self._average_model is not None
        self._average_model.update_parameters(pl_module)
        # Lightning stores it in checkpoints.
        self._latest_update_step = trainer.global_step


class ExponentialMovingAverage(_RunningAverage):
    """Averages exponentially: w̄ ← d·w̄ + (1 − d)·w after update t, with d = min(decay, (1 + t) / (10 + t)).

    With a constant d, the random initial weights would stay in the average for 1/(1 − d) updates (Tarvainen and
    Valpola 2017; the ramp is that of TensorFlow's ExponentialMovingAverage). Running statistics of batch
    normalisation are averaged too.

    Args:
        decay: d in [0, 1); the average covers about 1/(1 − d) updates.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay

    def share(self, n_averaged: int) -> float:
        return 1 - min(self.decay, (1 + n_averaged) / (10 + n_averaged))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # While gradients are accumulated, a batch ends without an update.
        if trainer.global_step > self._latest_update_step:
            self.update(trainer, pl_module)


class StochasticWeightAverage(_RunningAverage):
    """Takes the mean of the weights at the ends of epochs, from `start_epoch` on (Izmailov et al. 2018, alg. 1).

    Up to then, the average is the weights themselves. The learning rate is left to the schedule.

    NOTE[DIFF]: the paper recomputes the statistics of batch normalisation in an extra pass over the training part. Here
    running statistics are averaged like weights, so that every validation has them.

    Args:
        start_epoch: counted from 1.
    """

    def __init__(self, start_epoch: int = 20) -> None:
        super().__init__()
        self.start_epoch = start_epoch

    def share(self, n_averaged: int) -> float:
        return 1 / (n_averaged + 1)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step <= self._latest_update_step:
            return
        # Lightning counts epochs from 0, so the mean begins with the last weights of `start_epoch`.
        if trainer.current_epoch < self.start_epoch:
            assert self._average_model is not None
            # Before the first average, the weights are copied.
            self._average_model.n_averaged.zero_()
            self.update(trainer, pl_module)
        elif trainer.is_last_batch:
            self.update(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if trainer.current_epoch <= self.start_epoch:
            log.warning(
                f"no weights were averaged: training ended in epoch {trainer.current_epoch}, the mean begins in "
                f"callbacks.averaging.start_epoch={self.start_epoch}"
            )
