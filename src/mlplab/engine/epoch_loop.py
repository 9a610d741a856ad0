"""Lightning's epoch loop without what nobody listens to.

For a small network, Lightning's own loop spends twice the time of the computation on calling: it visits every
hook of every callback, whether or not the callback has anything to do there, asks after each batch for everything
that might be due, and passes each call through layers that serve several devices, precisions and optimizers.
`LeanEpochLoop` makes the same calls in the same order, leaving out those to empty hooks and the questions whose
answer is known, where one device, full precision and one optimizer make that possible. There it also lets the parts
of the network that know their gradient compute it themselves (`mlplab.engine.backpropagation`). Elsewhere it steps
aside and Lightning's loop does the work. A test holds the two against each other, bit for bit.

The class below it is private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher, _PrefetchDataFetcher
from torch import Tensor
from torch.optim import Optimizer

from mlplab.engine.backpropagation import TAPE
from mlplab.engine.hooks import Hooks, is_plain, overriding
from mlplab.engine.logged_values import LeanResults
from mlplab.engine.resumable_loops import ResumableEpochLoop, loop_of
from mlplab.engine.validation_loop import LeanValidationLoop

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""What callbacks and the LightningModule may override in every step, in the order of their calls."""

TAKEN_OVER = (
    "backward",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
)
"""Methods whose default is built in here; a module that overrides one gets Lightning's loop."""


def use_lean_loop(trainer: pl.Trainer) -> None:
    """Puts the lean loop in the place of the one that is there; to be called before `Trainer.fit`."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, loop.min_steps, loop.max_steps)


class LeanEpochLoop(ResumableEpochLoop):
    """Runs the mini-batches of an epoch, with the least overhead that keeps Lightning's semantics."""

    _results: LeanResults

    def __init__(self, trainer: pl.Trainer, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.val_loop = LeanValidationLoop(trainer)
        self._results = LeanResults(training=True)
        self._hooks: Hooks | None = None
        self._is_lean = self._has_logged = False

    @property
    def global_step(self) -> int:
        if self._is_lean:  # where there is one optimizer, which Lightning finds out each time that it is asked
            return int(self.automatic_optimization.optim_progress.optimizer.step.total.completed)
        return int(super().global_step)

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self._module = module = trainer.lightning_module
        self._attributes = vars(module)
        self._is_lean = self._can_be_lean(data_fetcher)
        self._on_cpu = trainer.strategy.root_device.type == "cpu"
        may_record = self._is_lean and self._on_cpu and not torch.is_anomaly_enabled()
        parts = [getattr(module, name, None) for name in ("model", "objective")] if may_record else []
        self._recording = [part for part in parts if isinstance(part, torch.nn.Module)]
        TAPE.allow(*self._recording)
        if self._is_lean:
            self._hooks = hooks = self._hooks.as_now() if self._hooks else Hooks(trainer, HOOKS)
            (
                self._on_train_batch_start,
                self._on_before_zero_grad,
                self._on_before_backward,
                self._on_after_backward,
                self._on_before_optimizer_step,
                self._on_train_batch_end,
            ) = map(hooks.callers.get, HOOKS)
            self._may_change = any(not getattr(owner, "only_watches", False) for owner in hooks.callbacks())
            self._optimizer = trainer.optimizers[0]
            self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
            self._batches = _only_iterator(data_fetcher)
            self._validates = self._should_check_val_epoch()
            self._has_schedules = bool(trainer.lr_scheduler_configs)
            self._has_plateau = any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
            self._epoch = trainer.current_epoch

    def _can_be_lean(self, data_fetcher: _DataFetcher) -> bool:
        trainer, module = self.trainer, self._module
        return (
            module.automatic_optimization
            and len(trainer.optimizers) == 1
            and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
            and not any(overriding([module], name, pl.LightningModule) for name in TAKEN_OVER)
            and is_plain(trainer, "training_step")
        )

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Mini-batches, up to one after which more is due than the next; each as `_TrainingEpochLoop.advance`."""
        if not self._is_lean:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        outer = loop_of(self.trainer)
        self._step(data_fetcher)
        while not self._is_more_due():
            if not self._is_gathering():
                self._batches_that_stepped += 1
                outer.rest()
            self._step(data_fetcher)

    def _is_more_due(self) -> bool:
        """Whether `on_advance_end` has more to do now than to count, or the epoch ends."""
        trainer, progress = self.trainer, self.batch_progress
        if (
            progress.is_last_batch
            or trainer.should_stop
            or trainer.received_sigterm
            or self._has_logged
            or self._has_plateau
            or 0 <= self.max_steps <= self.global_step
        ):
            return True
        if not self._validates:
            return False
        every = trainer.val_check_batch
        if trainer._val_check_time_interval is not None or every is None or every == float("inf"):
            return True
        n_batches = progress.total.ready if trainer.check_val_every_n_epoch is None else progress.current.ready
        return bool(n_batches % every == 0)

    def _step(self, data_fetcher: _DataFetcher) -> None:
        progress, results = self.batch_progress, self._results
        total: Any = progress.total  # counted here: their methods take longer
        current: Any = progress.current
        connector = self.trainer._logger_connector
        batch_idx = current.ready
        batch = self._next_batch(data_fetcher)
        progress.is_last_batch = data_fetcher.done
        if not self._on_cpu:
            batch = self.trainer.strategy.batch_to_device(batch)
        total.ready += 1
        current.ready += 1
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None

        if self._on_train_batch_start and self._on_train_batch_start(batch, batch_idx) == -1:
            self._skip_rest_of_epoch()
        total.started += 1
        current.started += 1
        if self._may_change:  # a callback may have frozen a layer since, or come to watch it
            TAPE.allow(*self._recording)
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
        results.batch = results.batch_size = None
        total.completed += 1
        current.completed += 1
        if has_logged:
            connector.update_train_step_metrics()

    def _skip_rest_of_epoch(self) -> None:
        self.batch_progress.increment_by(0, is_last_batch=True)
        self.batch_progress.increment_processed()
        self._step_schedulers()
        raise StopIteration

    def _next_batch(self, data_fetcher: _DataFetcher) -> Any:
        """As `next(data_fetcher)`, which passes through three iterators on its way to the one that has the batch."""
        if self._batches is None or data_fetcher.done:
            return next(data_fetcher)[0]
        try:
            batch = next(self._batches)
        except StopIteration:
            data_fetcher.done = True
            raise
        data_fetcher.fetched += 1
        data_fetcher.done = data_fetcher.fetched >= (data_fetcher.length or 0)
        return batch

    def _is_gathering(self) -> bool:
        """Whether the gradients of this batch wait for those of the next."""
        return self.trainer.accumulate_grad_batches > 1 and self._should_accumulate()

    def _step_schedulers(self) -> None:
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Forward, backward and, unless gradients are still being gathered, the update."""
        trainer, module, optimizer = self.trainer, self._module, self._optimizer
        gathering = self._is_gathering()
        outputs: dict[str, Any] = {}

        def closure() -> Tensor | None:
            nonlocal outputs
            with TAPE:
                loss, outputs = self._forward(batch, batch_idx)
            if batch_idx % trainer.accumulate_grad_batches == 0:
                self._zero_grad(optimizer)
            if loss is not None:
                if self._on_before_backward:
                    self._on_before_backward(loss)
                TAPE.backward(loss)
                if self._on_after_backward:
                    self._on_after_backward()
            if not gathering:
                if self._on_before_optimizer_step:
                    self._on_before_optimizer_step(optimizer)
                if trainer.gradient_clip_val:
                    module.configure_gradient_clipping(
                        optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
                    )
            return loss

        if gathering:
            closure()
            return outputs
        steps = self.automatic_optimization.optim_progress.optimizer.step
        total, current = steps.total, steps.current
        total.ready += 1
        current.ready += 1
        module.optimizer_step(self._epoch, batch_idx, optimizer, closure)
        total.completed += 1
        current.completed += 1
        return outputs

    def _forward(self, batch: Any, batch_idx: int) -> tuple[Tensor | None, dict[str, Any]]:
        """The loss to differentiate, and what `on_train_batch_end` is given."""
        attributes = self._attributes
        attributes["_current_fx_name"] = "training_step"  # as `set_hook_name`
        output = self._module.training_step(batch, batch_idx)
        attributes["_current_fx_name"] = None
        if output is None:
            return None, {}
        outputs: dict[str, Any] = {"loss": output} if isinstance(output, Tensor) else {**output}
        loss: Tensor = outputs["loss"]
        if self.trainer.accumulate_grad_batches > 1:
            loss = loss / self.trainer.accumulate_grad_batches
        outputs["loss"] = loss.detach()
        return loss, outputs

    def _zero_grad(self, optimizer: Optimizer) -> None:
        progress: Any = self.automatic_optimization.optim_progress.optimizer.zero_grad
        total, current = progress.total, progress.current
        total.ready += 1
        current.ready += 1
        if self._on_before_zero_grad:
            self._on_before_zero_grad(optimizer)
        total.started += 1
        current.started += 1
        if type(optimizer).zero_grad is Optimizer.zero_grad:  # what it does, without a look at each device
            for parameter in self._parameters:
                parameter.grad = None
        else:
            optimizer.zero_grad()
        total.completed += 1
        current.completed += 1


def _only_iterator(data_fetcher: _DataFetcher) -> Iterator[Any] | None:
    """That of the one data loader, where its batches are passed on as they are and their number is known."""
    loaders: Any = data_fetcher.combined_loader
    is_plain_fetcher = type(data_fetcher) is _PrefetchDataFetcher and data_fetcher.length is not None
    if not is_plain_fetcher or len(loaders.flattened) != 1 or loaders.iterables is not loaders.flattened[0]:
        return None
    iterator: Iterator[Any] = loaders._iterator.iterators[0]
    return iterator
