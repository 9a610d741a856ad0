"""The Trainer as a member of a stack sees it."""

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
    """What a member's callbacks see of the Trainer that trains them all.

    What differs between members is the member's: metrics, loggers, optimizer, whether it is to stop. The rest is the
    Trainer's.

    Args:
        trainer: of the stack.
        callbacks, loggers, data: the member's.
        checkpoint: gives what it needs to go on alone.
        evaluate: gives the metrics of its network on the `val` or the `test` part.
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
        """Notes how far the member came, where that is not known yet; the others go on."""
        if "global_step" not in vars(self):
            self.current_epoch, self.global_step = self._all.current_epoch, self._all.global_step

    def save_checkpoint(self, path: Any) -> None:
        """Writes what the member needs to go on alone."""
        self._all.strategy.save_checkpoint(self._checkpoint(), path)

    def validate(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("val")

    def test(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("test")
