"""Lightning's loops, with a moment at which a checkpoint holds everything, and a way to go on from it.

Lightning restores its loops from whatever hook a checkpoint was written in, and guesses from its counters what had
been done by then; metrics that early stopping or a plateau schedule go by, and the place within an epoch, are lost.
Here checkpoints are written at rest only: between two updates, after all that belongs to the first (its schedules,
its validation) and before the second, or between two epochs. Going on is then nothing but starting there.

The classes are private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import RestartStage, _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _Progress
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop


class TrainingStopped(BaseException):
    """Training ends at rest because it was asked to. No `Exception`, so that no callback takes it for a fault."""


def use_resumable_loops(trainer: pl.Trainer) -> None:
    """Puts these loops in the place of Lightning's; to be called before `Trainer.fit`."""
    old = trainer.fit_loop
    trainer.fit_loop = ResumableFitLoop(trainer, old.min_epochs, old.max_epochs)
    trainer.fit_loop.epoch_loop = ResumableEpochLoop(trainer, old.epoch_loop.min_steps, old.epoch_loop.max_steps)


def loop_of(trainer: pl.Trainer) -> "ResumableFitLoop":
    """The loop of a trainer that `use_resumable_loops` was called for."""
    assert isinstance(trainer.fit_loop, ResumableFitLoop)
    return trainer.fit_loop


class ResumableFitLoop(_FitLoop):
    """Goes from epoch to epoch, and comes to rest within them and between them.

    Attributes:
        at_rest: called whenever a checkpoint can be written, with whether training ends here.
        before_run: called when training begins, after Lightning has set its signal handlers.
        stop_requested: set from outside, in any process: all of several stop together when they are next at rest.
    """

    epoch_progress: _Progress

    def __init__(self, trainer: pl.Trainer, min_epochs: int | None, max_epochs: int | None) -> None:
        super().__init__(trainer, min_epochs, max_epochs)
        self.at_rest: Callable[[bool], None] | None = None
        self.before_run: Callable[[], None] | None = None
        # Here and not in the class: a signal sets it while Lightning may be going through the attributes.
        self.stop_requested = False
        self._goes_on_within_epoch = self._is_shared = False

    @property
    def n_epochs_done(self) -> int:
        """Epochs that have been gone through."""
        processed: int = self.epoch_progress.current.processed  # type: ignore[attr-defined]
        return processed

    @property
    def is_within_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self.epoch_progress.current.ready > self.n_epochs_done

    def run(self) -> None:
        self._is_shared = self.trainer.world_size > 1
        if self.before_run is not None:
            self.before_run()
        # Had it come a moment before, Lightning would end the epoch in the middle of a step.
        self.trainer._signal_connector.received_sigterm = False
        super().run()

    def load_state_dict(self, state_dict: dict[str, Any], prefix: str = "") -> None:
        super().load_state_dict(state_dict, prefix)
        _take_as_it_was(self)
        self._goes_on_within_epoch = self.is_within_epoch

    def reset(self) -> None:
        super().reset()
        if self._goes_on_within_epoch:  # the hooks of the epoch's start have been called before the checkpoint
            self._restart_stage = RestartStage.RESTARTED_MID_EPOCH
            self._goes_on_within_epoch = False

    def on_advance_end(self) -> None:
        super().on_advance_end()
        if not self.done:
            self.rest()

    def rest(self) -> None:
        """Everything of the step, or of the epoch, has been done.

        Raises:
            TrainingStopped: it was asked for, in any process.
        """
        trainer = self.trainer
        if trainer.should_stop and self._can_stop_early:
            return  # what is left of the epoch is done first, and all is saved at the end
        stopping = self.stop_requested
        if self._is_shared:
            stopping = trainer.strategy.reduce_boolean_decision(stopping, all=False)
        if self.at_rest is not None:
            self.at_rest(stopping)
        if stopping:
            raise TrainingStopped


class ResumableEpochLoop(_TrainingEpochLoop):
    """Goes from batch to batch, from wherever in the epoch the checkpoint was written."""

    def reset(self) -> None:
        if not self.trainer.fit_loop.restarted_mid_epoch:
            super().reset()

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        n_done = self.batch_progress.current.ready
        if n_done:
            self._pass_over(n_done, data_fetcher)

    def _pass_over(self, n_batches: int, data_fetcher: _DataFetcher) -> None:
        """Places the batches where the epoch goes on."""
        loader = self.trainer.train_dataloader
        if hasattr(loader, "first_batch"):
            loader.first_batch = n_batches
            return
        for _ in range(n_batches):  # a loader of one's own: drawn and left
            next(data_fetcher)
        data_fetcher.fetched = n_batches

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        super().on_advance_end(data_fetcher)
        # Gathered gradients are in no checkpoint; the last step of an epoch is at rest when the epoch is.
        if not self._should_accumulate() and not self._is_training_done:
            loop_of(self.trainer).rest()


def _take_as_it_was(loop: _Loop) -> None:
    """Nothing is half done at rest, so nothing is to be guessed or repeated."""
    loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = False
    for part in vars(loop).values():
        if isinstance(part, _Loop):
            _take_as_it_was(part)
