"""Lightning's Trainer with faster answers to what its loops ask a few dozen times an epoch."""

from operator import is_
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import RunningStage, TrainerFn


def _is_in(name: str, stage: RunningStage) -> property:
    """Returns Lightning's property that tells a stage; Lightning compares the names of stages letter by letter."""
    return property(lambda trainer: trainer.state.stage is stage, getattr(pl.Trainer, name).fset)


class FastTrainer(pl.Trainer):
    """Knows while it fits which of its loops is running, and looks for `validation_step` once."""

    _enabled: tuple[tuple[Any, ...], bool] | None = None

    @property
    def _active_loop(self) -> Any:
        state = self.state
        # Stages are members of an enum, so identity is enough.
        if state.fn is TrainerFn.FITTING:
            if state.stage is RunningStage.TRAINING:
                return self.fit_loop
            if state.stage is RunningStage.VALIDATING:
                return self.fit_loop.epoch_loop.val_loop
        return super()._active_loop

    @property
    def enable_validation(self) -> bool:
        source = self.fit_loop.epoch_loop.val_loop._data_source.instance
        asked = source, self.lightning_module, self.limit_val_batches
        # By identity: comparing modules or loaders by value could be slow, or mean something else.
        if self._enabled is None or not all(map(is_, asked, self._enabled[0])):
            self._enabled = (asked, super().enable_validation)
        return self._enabled[1]

    training = _is_in("training", RunningStage.TRAINING)
    validating = _is_in("validating", RunningStage.VALIDATING)
    sanity_checking = _is_in("sanity_checking", RunningStage.SANITY_CHECKING)


# Class names stand in logs and messages.
FastTrainer.__name__ = FastTrainer.__qualname__ = "Trainer"


def use_fast_trainer(trainer: pl.Trainer) -> None:
    """Gives a Trainer the faster answers; one of a class of one's own keeps its own."""
    if type(trainer) is pl.Trainer:
        # The same object, as callbacks and loggers may hold references to it.
        trainer.__class__ = FastTrainer
