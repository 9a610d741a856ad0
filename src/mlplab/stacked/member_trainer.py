"""The view of the stack's Trainer that each member's callbacks get."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from mlplab.data.module import DataModule


class MemberTrainerView:
    """Stands in for the Trainer in calls of a member's callbacks.

    Metrics, loggers, optimizer and `should_stop` are those of the member. All other attributes are the Trainer's.

    Args:
        trainer: of the stack.
        callbacks, loggers, data: the member's.
        checkpoint: returns the checkpoint of the member, from which it can resume alone.
        evaluate: returns the metrics of its network on the part `val` or `test`.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        *,
        callbacks: Sequence[Callback],
        loggers: Sequence[Logger],
        data: DataModule,
        checkpoint: Callable[[], dict[str, Any]],
        evaluate: Callable[[str], list[dict[str, float]]],
    ) -> None:
        self._all = trainer
        self._checkpoint, self._evaluate = checkpoint, evaluate
        self.callbacks, self.loggers, self.datamodule = callbacks, loggers, data
        self.optimizers: list[Optimizer] = []
        self.callback_metrics: dict[str, Tensor] = {}
        self._logger_connector = SimpleNamespace(_callback_metrics=self.callback_metrics)
        self.should_stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)

    def leave(self) -> None:
        """Fixes epoch and step of the member when it leaves the stack; does nothing the second time."""
        if "global_step" not in vars(self):
            self.current_epoch, self.global_step = self._all.current_epoch, self._all.global_step

    def save_checkpoint(self, path: Any) -> None:
        """Writes the checkpoint of the member."""
        self._all.strategy.save_checkpoint(self._checkpoint(), path)

    def validate(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("val")

    def test(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("test")
