"""Lightning's epoch loop without visits to hooks that nobody overrides, and with a fused step where that is possible.

For a small network, Lightning's own loop spends twice the time of the computation on calls. It visits every hook of
every callback, also the empty ones. After each batch it asks for everything that might be due. It passes each call
through layers that serve several devices, precisions and optimizers. `FastEpochLoop` makes the other calls, in the
same order. It needs one device, full precision and one optimizer; elsewhere it leaves the work to Lightning's loop. A
test compares the two bit for bit.

The class below it is private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher, _PrefetchDataFetcher
from torch import Tensor
from torch.optim import Optimizer

from mlplab.engine.edited_functions import first_edited
from mlplab.engine.fused_step import HasFusedStep, Outputs
from mlplab.engine.gpu_data import copy_to_device
from mlplab.engine.hooks import STEP_HOOKS, Hooks, overriding, why_not_plain
from mlplab.engine.logged_values import FastResults
from mlplab.engine.loss_and_gradient import LossAndGradient
from mlplab.engine.monkeypatches import STRATEGY_METHODS, why_replaced
from mlplab.engine.resumable_loops import ResumableEpochLoop, loop_of
from mlplab.engine.validation_loop import FastValidationLoop

TAKEN_OVER = (
    "backward",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
)
"""A module that overrides one of these gets Lightning's loop. The first two are built in here; the others clip, and
expect Lightning's bookkeeping when they log."""


def use_fast_loops(trainer: pl.Trainer) -> None:
    """Puts the fast loops in the place of Lightning's; to be called before `Trainer.fit`."""
    loop = trainer.fit_loop.epoch_loop
    # The limits of steps stay those of the Trainer.
    trainer.fit_loop.epoch_loop = FastEpochLoop(trainer, loop.min_steps, loop.max_steps)


class FastEpochLoop(ResumableEpochLoop):
    """Runs the mini-batches of an epoch, with the least overhead that keeps Lightning's semantics."""

    _results: FastResults

    def __init__(self, trainer: pl.Trainer, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.val_loop = FastValidationLoop(trainer)
        self._results = FastResults(training=True)
        self._hooks: Hooks | None = None
        self._is_fast = self._has_logged = False
        self._loss_and_gradient = LossAndGradient(trainer)
        self._n_validations = -1

    @property
    def global_step(self) -> int:
        if self._is_fast:  # where there is one optimizer, which Lightning finds out each time that it is asked
            return int(self.automatic_optimization.optim_progress.optimizer.step.total.completed)
        return int(super().global_step)

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self._module = trainer.lightning_module
        self._reason = _why_lightnings_loop(trainer, data_fetcher)
        self._is_fast = self._reason is None
        device = trainer.strategy.root_device
        self._is_on_cpu = device.type == "cpu"
        for loader in data_fetcher.combined_loader.flattened:
            copy_to_device(loader, device)
        if self._is_fast:
            self._batches = _only_iterator(trainer, data_fetcher)
            # Constant within an epoch, so it is not asked after each batch.
            self._validates = self._should_check_val_epoch()
            self._has_schedules = bool(trainer.lr_scheduler_configs)
            # Lightning moves these after each batch; those of an epoch it moves when the epoch ends.
            self._has_plateau = any(c.reduce_on_plateau and c.interval == "step" for c in trainer.lr_scheduler_configs)
            self._n_validations = -1
            self._epoch = trainer.current_epoch

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Runs batches until Lightning has other work than the next batch; each as `_TrainingEpochLoop.advance`."""
        if not self._is_fast:
            self._loss_and_gradient.log_reason(f"Lightning's own loop makes the steps: {self._reason}")
            super().advance(data_fetcher)
            return
        # Training comes first, so there is no validation to resume in the middle.
        self.val_loop.restarting = False
        validations: Any = self.val_loop
        # Hooks of a validation, or of the beginning of an epoch, may have changed anything.
        if self._n_validations != validations.n_runs:
            self._n_validations = validations.n_runs
            self._refresh_step()
        outer = loop_of(self.trainer)
        self._step(data_fetcher)
        # Batches follow one another here, without a return to Lightning's loop after each.
        while not self._must_return():
            if not self._is_accumulating():
                # Lightning counts updates in `on_advance_end`, which these batches never reach.
                self._batches_that_stepped += 1
                outer.safe_point()
            self._step(data_fetcher)

    def _refresh_step(self) -> None:
        """Finds out who is called in a step, and whether it is fused."""
        self._hooks = hooks = self._hooks.as_now() if self._hooks else Hooks(self.trainer, STEP_HOOKS)
        (
            self._on_train_batch_start,
            self._on_before_zero_grad,
            self._on_before_backward,
            self._on_after_backward,
            self._on_before_optimizer_step,
            self._on_train_batch_end,
        ) = map(hooks.callers.get, STEP_HOOKS)
        self._is_update_known = _makes_one_update(self._module)
        self._loss_and_gradient.refresh()

    def _must_return(self) -> bool:
        """Returns whether Lightning has work after this batch (validation, logging, schedules), or the epoch ends."""
        trainer, progress = self.trainer, self.batch_progress
        if (
            progress.is_last_batch
            or trainer.should_stop
            # Lightning ends the run on SIGTERM, between two batches.
            or trainer.received_sigterm
            # Logged values are given out by Lightning between two batches.
            or self._has_logged
            or self._has_plateau
            or 0 <= self.max_steps <= self.global_step
        ):
            return True
        if not self._validates:
            return False
        every = trainer.val_check_batch
        # By the clock, or without a known number of batches: Lightning decides after each batch.
        if trainer._val_check_time_interval is not None or every is None or every == float("inf"):
            return True
        # Without check_val_every_n_epoch the interval goes on over the ends of epochs.
        n_batches = progress.total.ready if trainer.check_val_every_n_epoch is None else progress.current.ready
        return bool(n_batches % every == 0)

    def _step(self, data_fetcher: _DataFetcher) -> None:
        progress, results = self.batch_progress, self._results
        total: Any = progress.total  # counted here: their methods take longer
        current: Any = progress.current
        connector = self.trainer._logger_connector
        batch_idx = current.ready
        batch = _next_batch(data_fetcher, self._batches)
        progress.is_last_batch = data_fetcher.done
        # GPU only: on the CPU a batch is where it is needed.
        if not self._is_on_cpu:
            batch = self.trainer.strategy.batch_to_device(batch)
        total.ready += 1
        current.ready += 1
        connector._first_loop_iter = connector._first_loop_iter is None  # as `on_batch_start`: True on the first batch
        # `log` takes the batch size from here when somebody logs.
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None

        # Lightning's rule: a hook that returns -1 skips the rest of the epoch.
        if self._on_train_batch_start and self._on_train_batch_start(batch, batch_idx) == -1:
            self._skip_rest_of_epoch()
        total.started += 1
        current.started += 1
        outputs = self._optimize(batch, batch_idx)
        total.processed += 1
        current.processed += 1
        if self._has_schedules:
            self._step_schedulers()
        if self._on_train_batch_end:
            self._on_train_batch_end(outputs, batch, batch_idx)
        has_logged = self._has_logged = results.has_logged()
        if has_logged:
            connector.on_batch_end()
        # Lets go of the batch, so that its memory can be used for the next.
        results.batch = results.batch_size = None
        total.completed += 1
        current.completed += 1
        if has_logged:
            connector.update_train_step_metrics()

    def _skip_rest_of_epoch(self) -> None:
        self.batch_progress.increment_by(0, is_last_batch=True)
        self.batch_progress.increment_processed()
        self._step_schedulers()
        # Lightning's loop takes it for the end of the epoch.
        raise StopIteration

    def _is_accumulating(self) -> bool:
        """Returns whether the gradients of this batch wait for those of the next."""
        return self.trainer.accumulate_grad_batches > 1 and self._should_accumulate()

    def _step_schedulers(self) -> None:
        # Plateau schedules wait for the validation, after which Lightning moves them.
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Runs forward, backward and, unless gradients are accumulated further, the update."""
        trainer, module = self.trainer, self._module
        optimizer = trainer.optimizers[0]  # asked in each step: a callback may bring another one
        outputs: Outputs | None = None

        def closure() -> Tensor | None:
            nonlocal outputs
            if not torch.is_grad_enabled():  # the optimizer has called the closure under `no_grad`
                with torch.enable_grad():
                    return closure()
            # Forward before `zero_grad`, in the order of Lightning's closure.
            outputs, loss, backward = self._loss_and_gradient(batch, batch_idx)
            # At the first of the batches whose gradients are accumulated.
            if batch_idx % trainer.accumulate_grad_batches == 0:
                self._zero_grad(optimizer)
            if loss is not None:
                if self._on_before_backward:
                    self._on_before_backward(loss)
                backward()
                if self._on_after_backward:
                    self._on_after_backward()
            return outputs.get("loss")

        def closure_before_update() -> Tensor | None:
            loss = closure()
            # Between backward pass and clipping, where Lightning calls it: callbacks see the unclipped gradient.
            if self._on_before_optimizer_step:
                self._on_before_optimizer_step(optimizer)
            if trainer.gradient_clip_val:
                module.configure_gradient_clipping(
                    optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
                )
            return loss

        if self._is_accumulating():
            closure()
            return outputs or {}
        steps = self.automatic_optimization.optim_progress.optimizer.step
        total, current = steps.total, steps.current
        total.ready += 1
        current.ready += 1
        if self._is_update_known:
            module.optimizer_step(self._epoch, batch_idx, optimizer, closure_before_update)
        else:  # with Lightning's optimizer, which calls hooks and clips when it makes the update
            module.optimizer_step(self._epoch, batch_idx, trainer.strategy._lightning_optimizers[0], closure)
        if outputs is None:
            raise MisconfigurationException("optimizer_step did not call optimizer_closure")
        total.completed += 1
        current.completed += 1
        return outputs

    def _zero_grad(self, optimizer: Optimizer) -> None:
        progress: Any = self.automatic_optimization.optim_progress.optimizer.zero_grad
        total, current = progress.total, progress.current
        total.ready += 1
        current.ready += 1
        if self._on_before_zero_grad:
            self._on_before_zero_grad(optimizer)
        total.started += 1
        current.started += 1
        _clear_gradients(optimizer)
        total.completed += 1
        current.completed += 1


def _only_iterator(trainer: pl.Trainer, data_fetcher: _DataFetcher) -> Iterator[Any] | None:
    """Returns the data loader's own iterator, if it is the only one and its number of batches is known."""
    loaders: Any = data_fetcher.combined_loader
    # A loader of the user's own is seeded before each batch, by the fetcher.
    is_seeded = loop_of(trainer).seed is not None
    is_plain_fetcher = type(data_fetcher) is _PrefetchDataFetcher and data_fetcher.length is not None and not is_seeded
    # Several loaders come through an iterator that combines them.
    if not is_plain_fetcher or len(loaders.flattened) != 1 or loaders.iterables is not loaders.flattened[0]:
        return None
    iterator: Iterator[Any] = loaders._iterator.iterators[0]
    return iterator


def _next_batch(data_fetcher: _DataFetcher, batches: Iterator[Any] | None) -> Any:
    """Does what `next(data_fetcher)` does, without three iterators in between."""
    # Lightning's fetcher also knows the cases with several loaders.
    if batches is None or data_fetcher.done:
        return next(data_fetcher)[0]
    try:
        batch = next(batches)
    except StopIteration:
        data_fetcher.done = True
        raise
    data_fetcher.fetched += 1
    data_fetcher.done = data_fetcher.fetched >= (data_fetcher.length or 0)
    return batch


def _clear_gradients(optimizer: Optimizer) -> None:
    """Does what `optimizer.zero_grad()` does, without a look at each device."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        # None rather than zeros, as `zero_grad` does by default.
        for parameter in group["params"]:
            parameter.grad = None


def _why_lightnings_loop(trainer: pl.Trainer, data_fetcher: _DataFetcher) -> str | None:
    """Returns why Lightning's own loop makes the steps of this epoch; None if the fast one can."""
    module = trainer.lightning_module
    if not module.automatic_optimization:
        return "manual optimization"
    if len(trainer.optimizers) != 1:
        return f"{len(trainer.optimizers)} optimizers"
    if isinstance(data_fetcher, _DataLoaderIterDataFetcher):
        return "training_step fetches its batches itself"
    overridden = [name for name in TAKEN_OVER if overriding([module], name, pl.LightningModule)]
    if overridden:
        return f"{type(module).__name__}.{overridden[0]} is overridden"
    replaced = [name for name in STRATEGY_METHODS if name in vars(trainer.strategy)]
    if replaced:
        return f"{type(trainer.strategy).__name__}.{replaced[0]} was replaced"
    return why_not_plain(trainer, "training_step") or why_replaced()


def _makes_one_update(module: pl.LightningModule) -> bool:
    """Returns whether `optimizer_step` is known to do no more than to call the closure for one update."""
    update = type(module).optimizer_step
    if isinstance(module, HasFusedStep) or update is pl.LightningModule.optimizer_step:
        return True
    # An `optimizer_step` set on the object hides that of the class.
    return "optimizer_step" not in vars(module) and first_edited([update]) is None
