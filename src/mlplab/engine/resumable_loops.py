"""Lightning's loops with safe points: moments at which a checkpoint holds the complete state.

Lightning writes checkpoints in any hook, and on restoring guesses from its counters what had been done. The position
within an epoch is lost, and so are the metrics for early stopping and plateau schedules. Here checkpoints are written
at safe points only:

- between two updates, when the schedules and the validation of the first are done;
- between two epochs;
- at the end of training, before `on_train_end`, which must not have run in a run that resumes.

A resumed run starts there. Callbacks that have a method `on_safe_point(trainer, pl_module, stopping)` are called there,
with whether training ends.

The classes are private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import RestartStage, _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _Progress
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from mlplab.randomness import derive_seed, seed_all

SET_UP_BY_EPOCH = (GradientAccumulationScheduler, StochasticWeightAveraging)
"""Callbacks whose `on_train_epoch_start` sets state that no checkpoint holds; calling it again is harmless."""


class TrainingStopped(BaseException):
    """Ends training at a safe point on request. Not an `Exception`, so that no callback takes it for an error."""


def use_resumable_loops(trainer: pl.Trainer) -> None:
    """Replaces Lightning's loops by these. Call it before `Trainer.fit`."""
    old = trainer.fit_loop
    trainer.fit_loop = ResumableFitLoop(trainer, old.min_epochs, old.max_epochs)
    # Lightning's loops are replaced as a whole, with the limits that the Trainer has set.
    trainer.fit_loop.epoch_loop = ResumableEpochLoop(trainer, old.epoch_loop.min_steps, old.epoch_loop.max_steps)


def loop_of(trainer: pl.Trainer) -> "ResumableFitLoop":
    """Returns the loop of a trainer after `use_resumable_loops`."""
    assert isinstance(trainer.fit_loop, ResumableFitLoop)
    return trainer.fit_loop


def withdraw_overtaken_stop(trainer: pl.Trainer) -> None:
    """Withdraws early stopping's request from before `min_epochs`, if the value has improved since.

    Lightning 2.6 never withdraws one: the run would end at `min_epochs`, however much it has improved.
    """
    if not trainer.should_stop:
        return
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    early_stopping = [callback for callback in callbacks if isinstance(callback, EarlyStopping)]
    stopped = [one for one in early_stopping if one.stopping_reason is not EarlyStoppingReason.NOT_STOPPED]
    for one in stopped:
        # A stop for another reason stands; so does early stopping while its patience is exhausted.
        if one.stopping_reason is not EarlyStoppingReason.PATIENCE_EXHAUSTED or one.wait_count >= one.patience:
            return
    if stopped:
        trainer.should_stop = False
    for one in stopped:
        one.stopping_reason, one.stopping_reason_message = EarlyStoppingReason.NOT_STOPPED, None
        one.stopped_epoch = 0


class ResumableFitLoop(_FitLoop):
    """Runs the epochs, with safe points within them, between them and after the last.

    Attributes:
        before_run: called when training begins, after Lightning has set its signal handlers.
        is_as_loaded: whether a checkpoint has been loaded and nothing has been done since.
        seed: for the generators, before the loader draws the order of an epoch; None leaves them alone.
        stop_requested: set from outside, in any process; all processes stop together at the next safe point.
    """

    epoch_progress: _Progress

    def __init__(self, trainer: pl.Trainer, min_epochs: int | None, max_epochs: int | None) -> None:
        super().__init__(trainer, min_epochs, max_epochs)
        self._safe_point_hooks: list[Callable[..., None]] = []
        self.before_run: Callable[[], None] | None = None
        self.seed: int | None = None
        # Created here: a signal may set it while Lightning iterates over the attributes.
        self.stop_requested = False
        self.is_as_loaded = self._goes_on_within_epoch = self._is_shared = False

    @property
    def n_epochs_done(self) -> int:
        """Returns the number of finished epochs."""
        processed: int = self.epoch_progress.current.processed  # type: ignore[attr-defined]
        return processed

    @property
    def is_within_epoch(self) -> bool:
        """Returns whether an epoch has begun and not ended."""
        return self.epoch_progress.current.ready > self.n_epochs_done

    @property
    def skip(self) -> bool:
        if self.is_as_loaded:  # perhaps at the last safe point: then `on_train_end` must still be called
            return self.max_batches == 0 or self.trainer.limit_train_batches == 0
        return bool(super().skip)

    def run(self) -> None:
        self._is_shared = self.trainer.world_size > 1
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        self._safe_point_hooks = [one.on_safe_point for one in callbacks if hasattr(one, "on_safe_point")]
        if self.before_run is not None:
            self.before_run()
        # Discards an earlier SIGTERM, at which Lightning would end the epoch in the middle of a step.
        self.trainer._signal_connector.received_sigterm = False
        super().run()

    def seed_loader(self, *batch: int) -> None:
        """Seeds the generators before an epoch's iterator is made, or before the user's own loader gives a batch.

        So a resumed run draws the same order and augmentation, whatever else has drawn meanwhile.
        """
        if self.seed is not None:
            trainer = self.trainer
            seed = derive_seed(self.seed, "epoch", trainer.current_epoch, trainer.global_rank, *batch)
            seed_all(seed, trainer.strategy.root_device)

    def setup_data(self) -> None:
        self.seed_loader()  # before the first iterator is made
        super().setup_data()

    def load_state_dict(self, state_dict: dict[str, Any], prefix: str = "") -> None:
        super().load_state_dict(state_dict, prefix)
        # Lightning would otherwise repeat or skip work that it guesses to be half done.
        _take_as_it_was(self)
        self.is_as_loaded = True
        self._goes_on_within_epoch = self.is_within_epoch

    def reset(self) -> None:
        super().reset()
        if self._goes_on_within_epoch:  # the epoch's start hooks were called before the checkpoint
            self._restart_stage = RestartStage.RESTARTED_MID_EPOCH
            self._goes_on_within_epoch = False

    def on_advance_start(self) -> None:
        self.is_as_loaded = False
        super().on_advance_start()
        # Their hook ran before the checkpoint, which does not hold what it set.
        if self.restarted_mid_epoch:
            callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
            for callback in callbacks:
                if isinstance(callback, SET_UP_BY_EPOCH):
                    callback.on_train_epoch_start(self.trainer, self.trainer.lightning_module)

    def on_advance_end(self) -> None:
        super().on_advance_end()
        withdraw_overtaken_stop(self.trainer)
        # After the last epoch the safe point comes in `on_run_end`.
        if not self.done:
            self.safe_point()

    def on_run_end(self) -> None:
        # Before the hooks: weight averaging then puts the averages into the network, from which no run can resume.
        self._call_safe_point(stopping=True)
        super().on_run_end()

    def safe_point(self) -> None:
        """Allows a checkpoint to be written: the step, or the epoch, is complete.

        Raises:
            TrainingStopped: any process was asked to stop.
        """
        trainer = self.trainer
        if trainer.should_stop and self._can_stop_early:
            return  # the epoch is finished first, and everything is saved at the end
        stopping = self.stop_requested
        # All processes stop together, or the others would wait for this one for ever.
        if self._is_shared:
            stopping = trainer.strategy.reduce_boolean_decision(stopping, all=False)
        self._call_safe_point(stopping)
        if stopping:
            raise TrainingStopped

    def _call_safe_point(self, stopping: bool) -> None:
        for hook in self._safe_point_hooks:
            hook(self.trainer, self.trainer.lightning_module, stopping)


class ResumableEpochLoop(_TrainingEpochLoop):
    """Runs the batches of an epoch, from the position of the checkpoint."""

    def reset(self) -> None:
        # The counters are those of the checkpoint; a reset would begin the epoch again.
        if not self.trainer.fit_loop.restarted_mid_epoch:
            super().reset()

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        self._fetcher = data_fetcher
        loop_of(self.trainer).seed_loader()
        super().on_run_start(data_fetcher)
        n_done = self.batch_progress.current.ready
        if n_done:
            self._pass_over(n_done, data_fetcher)

    def _on_before_fetch(self) -> None:
        super()._on_before_fetch()
        loop_of(self.trainer).seed_loader(self._fetcher.fetched)

    def _pass_over(self, n_batches: int, data_fetcher: _DataFetcher) -> None:
        """Moves the loader to the batch at which the epoch resumes."""
        loader = self.trainer.train_dataloader
        # The project's loader draws the order of the epoch and skips to a batch at no cost.
        if hasattr(loader, "first_batch"):
            loader.first_batch = n_batches
            return
        # Lightning has counted them as fetched: past half of the epoch, it would take the last one for the epoch's end.
        data_fetcher.fetched -= n_batches
        for _ in range(n_batches):  # the user's own loader: its batches are drawn and dropped
            next(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        super().on_advance_end(data_fetcher)
        withdraw_overtaken_stop(self.trainer)  # after a validation within the epoch
        # Accumulated gradients are in no checkpoint; after the last step of an epoch, the epoch has a safe point.
        if not self._should_accumulate() and not self._is_training_done:
            loop_of(self.trainer).safe_point()


def _take_as_it_was(loop: _Loop) -> None:
    """Marks a loop as not restarting: nothing is half done at a safe point, so nothing is guessed or repeated."""
    loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = False
    for part in vars(loop).values():
        # Loops are nested: the epoch loop contains one for validation.
        if isinstance(part, _Loop):
            _take_as_it_was(part)
