"""Lightning's Trainer, quicker in what it is asked a few dozen times an epoch."""

import contextlib
from operator import is_
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import RunningStage, TrainerFn


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler that notes nothing, without a context of its own for each call to a hook."""

    def profile(self, action_name: str) -> Any:
        return _NOTHING


_NOTHING = contextlib.nullcontext()


def _of_stage(name: str, stage: RunningStage) -> property:
    """Lightning's property that says whether it is in a stage, which compares the words of stages."""
    return property(lambda trainer: trainer.state.stage is stage, getattr(pl.Trainer, name).fset)


class Trainer(pl.Trainer):  # of that name, for Lightning reads the variables PL_TRAINER_… by it
    """Knows while it fits which of its loops is running; Lightning's compares words, letter by letter, to find out."""

    def __init__(self, **flags: Any) -> None:
        self._enabled: tuple[tuple[Any, ...], bool] | None = None
        super().__init__(**flags)
        profiler: Any = vars(self)["profiler"]
        if type(profiler) is PassThroughProfiler:
            self.profiler = NoProfiler()

    @property
    def _active_loop(self) -> Any:
        state = self.state
        if state.fn is TrainerFn.FITTING:
            if state.stage is RunningStage.TRAINING:
                return self.fit_loop
            if state.stage is RunningStage.VALIDATING:
                return self.fit_loop.epoch_loop.val_loop
        return super()._active_loop

    @property
    def enable_validation(self) -> bool:
        # Lightning looks through the classes of module and data for it, three times an epoch.
        asked = (
            self.fit_loop.epoch_loop.val_loop._data_source.instance, self.lightning_module, self.limit_val_batches
        )  # fmt: skip
        if self._enabled is None or not all(map(is_, asked, self._enabled[0])):
            self._enabled = (asked, super().enable_validation)
        return self._enabled[1]

    training = _of_stage("training", RunningStage.TRAINING)
    validating = _of_stage("validating", RunningStage.VALIDATING)
    sanity_checking = _of_stage("sanity_checking", RunningStage.SANITY_CHECKING)
