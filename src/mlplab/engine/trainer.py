"""Lightning's Trainer with faster properties, which its loops read a few dozen times an epoch."""

from operator import is_
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import RunningStage, TrainerFn


def _is_in(name: str, stage: RunningStage) -> property:
    """Makes a property for a stage, such as `training`; Lightning's own compares the names of stages as text."""
    return property(lambda trainer: trainer.state.stage is stage, getattr(pl.Trainer, name).fset)


class FastTrainer(pl.Trainer):
    """Finds the running loop by enum identity during `fit`, and caches whether there is a `validation_step`."""

    _enabled: tuple[tuple[Any, ...], bool] | None = None

    @property
    def _active_loop(self) -> Any:
        state = self.state
        # Stages are enum members, so identity is enough.
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
    """Turns Lightning's Trainer into a `FastTrainer`; the user's own subclass stays as it is."""
    if type(trainer) is pl.Trainer:
        # In place, as callbacks and loggers may hold references to it.
        trainer.__class__ = FastTrainer
