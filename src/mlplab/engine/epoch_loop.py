"""Lightning's epoch loop without calls of empty hooks, and with a fused step where possible.

For a small network, the overhead of Lightning's own loop takes twice as long as the computation. It calls every hook of
every callback, even empty ones. After each batch it checks everything that might be due. Each call passes through
layers for several devices, precisions and optimizers. `FastEpochLoop` keeps only the calls that have an effect, in the
same order. It needs one device, full precision and one optimizer; otherwise it uses Lightning's loop. A test compares
the two bit for bit.

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
"""Hooks of the module whose override requires Lightning's loop. The first two are inlined here; the others clip
gradients, and need Lightning's bookkeeping when they log."""


def use_fast_loops(trainer: pl.Trainer) -> None:
    """Replaces Lightning's loops by the fast ones. Call it before `Trainer.fit`."""
    loop = trainer.fit_loop.epoch_loop
    # The step limits stay those of the Trainer.
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
        if self._is_fast:  # cached if there is one optimizer: Lightning computes it at every access
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
            # Constant within an epoch, so it is not checked after each batch.
            self._validates = self._should_check_val_epoch()
            self._has_schedules = bool(trainer.lr_scheduler_configs)
            # Stepped by Lightning after each batch; schedules by epoch are stepped when the epoch ends.
            self._has_plateau = any(c.reduce_on_plateau and c.interval == "step" for c in trainer.lr_scheduler_configs)
            self._n_validations = -1
            self._epoch = trainer.current_epoch

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Runs batches until Lightning has other work to do; each as in `_TrainingEpochLoop.advance`."""
        if not self._is_fast:
            self._loss_and_gradient.log_reason(f"Lightning's own loop makes the steps: {self._reason}")
            super().advance(data_fetcher)
            return
        # A batch comes first, so no validation is resumed midway.
        self.val_loop.restarting = False
        validations: Any = self.val_loop
        # Hooks of a validation, or of an epoch's start, may have changed anything.
        if self._n_validations != validations.n_runs:
            self._n_validations = validations.n_runs
            self._refresh_step()
        outer = loop_of(self.trainer)
        self._step(data_fetcher)
        # Runs batch after batch, without returning to Lightning's loop in between.
        while not self._must_return():
            if not self._is_accumulating():
                # Lightning counts updates in `on_advance_end`, which these batches never reach.
                self._batches_that_stepped += 1
                outer.safe_point()
            self._step(data_fetcher)

    def _refresh_step(self) -> None:
        """Determines which hooks a step calls, and whether it is fused."""
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
            or trainer.received_sigterm  # Lightning ends the run, between two batches
            or self._has_logged  # Lightning passes logged values to the loggers between two batches
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
        # Without check_val_every_n_epoch the interval spans several epochs.
        n_batches = progress.total.ready if trainer.check_val_every_n_epoch is None else progress.current.ready
        return bool(n_batches % every == 0)

    def _step(self, data_fetcher: _DataFetcher) -> None:
        progress, results = self.batch_progress, self._results
        total: Any = progress.total  # incremented directly: the methods take longer
        current: Any = progress.current
        connector = self.trainer._logger_connector
        batch_idx = current.ready
        batch = _next_batch(data_fetcher, self._batches)
        progress.is_last_batch = data_fetcher.done
        # On the CPU a batch need not be moved.
        if not self._is_on_cpu:
            batch = self.trainer.strategy.batch_to_device(batch)
        total.ready += 1
        current.ready += 1
        connector._first_loop_iter = connector._first_loop_iter is None  # as `on_batch_start`: True on the first batch
        # `log` determines the batch size from this batch.
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
        # Releases the batch, so that its memory can be reused for the next.
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
        # Plateau schedules wait for the validation; Lightning steps them after it.
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Runs forward, backward and, unless gradients are accumulated further, the update."""
        trainer, module = self.trainer, self._module
        optimizer = trainer.optimizers[0]  # at every step, as a callback may replace it
        outputs: Outputs | None = None

        def closure() -> Tensor | None:
            nonlocal outputs
            if not torch.is_grad_enabled():  # the optimizer has called the closure under `no_grad`
                with torch.enable_grad():
                    return closure()
            # Forward before `zero_grad`, in the order of Lightning's closure.
            outputs, loss, backward = self._loss_and_gradient(batch, batch_idx)
            # At the first of the accumulated batches.
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
        else:  # by Lightning's optimizer, which also calls hooks and clips
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
    """Returns the data loader's own iterator if there is one loader of known length; else None."""
    loaders: Any = data_fetcher.combined_loader
    # For the user's own loader, the fetcher seeds the generators before each batch.
    is_seeded = loop_of(trainer).seed is not None
    is_plain_fetcher = type(data_fetcher) is _PrefetchDataFetcher and data_fetcher.length is not None and not is_seeded
    # Several loaders share a combining iterator.
    if not is_plain_fetcher or len(loaders.flattened) != 1 or loaders.iterables is not loaders.flattened[0]:
        return None
    iterator: Iterator[Any] = loaders._iterator.iterators[0]
    return iterator


def _next_batch(data_fetcher: _DataFetcher, batches: Iterator[Any] | None) -> Any:
    """Does the same as `next(data_fetcher)`, without three iterators in between."""
    # Lightning's fetcher handles several loaders.
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
    """Does the same as `optimizer.zero_grad()`, without its checks of devices."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        # None rather than zeros, as `zero_grad` does by default.
        for parameter in group["params"]:
            parameter.grad = None


def _why_lightnings_loop(trainer: pl.Trainer, data_fetcher: _DataFetcher) -> str | None:
    """Returns why this epoch must run in Lightning's own loop; None if the fast one can run it."""
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
    """Returns whether `optimizer_step` is known to do nothing but one update with the closure."""
    update = type(module).optimizer_step
    if isinstance(module, HasFusedStep) or update is pl.LightningModule.optimizer_step:
        return True
    # An `optimizer_step` set on the object hides that of the class.
    return "optimizer_step" not in vars(module) and first_edited([update]) is None
