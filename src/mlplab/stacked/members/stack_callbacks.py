"""Calls the callbacks of each member of a stack as if it trained alone."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from mlplab.callbacks.training_curves import logged_step
from mlplab.engine.resumable_loops import loop_of, withdraw_overtaken_stop
from mlplab.errors import Diverged, RunFailed
from mlplab.loggers.tensorboard import save_together
from mlplab.runs.files import flushed_together
from mlplab.stacked.members.member import Member
from mlplab.stacked.members.stacked_data import StackedData
from mlplab.stacked.members.stacked_learner import StackedLearner

Ended = Callable[[Member, Exception | None], None]
"""Function called with a member that has left the stack, and the error that ended it, if any."""

SECONDS_UNSEEN = 10.0
"""Seconds to buffer curves, as frequent writes would take longer than training."""


class StackIsEmpty(Exception):
    """Ends training, as all members have left."""


class _StepBuffer:
    """Buffers each step's values for all members, and passes them to the members' callbacks later.

    Calling every member's callbacks in every step would take longer than the step.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._clear()

    def _clear(self) -> None:
        self._losses: list[Tensor] = []
        self._hits: list[Tensor] = []
        self._n_rows: list[int] = []
        self._logged: list[tuple[int, int, list[float]]] = []
        self._norms: list[tuple[int, list[Tensor]]] = []

    def add_norms(self, step: int, gradients: Sequence[Tensor]) -> None:
        """Adds each member's gradient norms by parameter."""
        self._norms.append((step, [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]))

    def add_losses(self, losses: Tensor, hits: Tensor, n_rows: int, logged_step: int | None) -> None:
        """Adds a batch's losses (K,) and numbers of correctly classified rows (K,), empty for regression.

        If the step is logged, they are also kept with `rates` for its curves.
        """
        self._losses.append(losses)
        self._hits += [hits] if len(hits) else []
        self._n_rows.append(n_rows)
        if logged_step is not None:
            self._logged.append((logged_step, len(self._losses) - 1, self.rates))

    def flush(self, members: Sequence[Member]) -> None:
        """Passes the values to the callbacks."""
        # (K, batches), so that a row is one member's curve.
        columns = torch.stack(self._losses, dim=1) if self._losses else None
        hits = torch.stack(self._hits).sum(0).tolist() if self._hits else None
        for row, member in enumerate(members):
            if columns is not None:
                curves, losses = member.curves, list(columns[row].unbind())
                curves.losses += losses
                curves.rows += self._n_rows
                if hits is not None:
                    curves.hits = curves.hits[0] + hits[row], curves.hits[1] + sum(self._n_rows)
                curves.pending += [(step, losses[index], rates[row]) for step, index, rates in self._logged]
                if self._logged:
                    curves.last_step = max(self._logged[-1][0], 1)  # the first update is logged at 0
            if member.norms is not None:
                member.norms.pending += [(step, [norm[row] for norm in norms]) for step, norms in self._norms]
        self._clear()

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these members. Call `flush` first."""
        self.rates = [self.rates[row] for row in rows] if self.rates else []


class StackCallbacks(Callback):
    """Calls the members' callbacks; removes members that stop early, diverge or fail, and at the end all.

    Args:
        learner: of the stack.
        data: of the stack.
        ended: called with each member once its training has ended.
    """

    def __init__(self, learner: StackedLearner, data: StackedData, ended: Ended) -> None:
        self.learner, self.data, self.ended = learner, data, ended
        self._buffer = _StepBuffer()
        self._diverged: dict[Member, Exception] = {}
        self._last_look = self._last_seen = time.monotonic()
        self._is_at_end = False

    @property
    def members(self) -> list[Member]:
        return self.learner.members

    # Before training

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for member in self.members:
            member.join(trainer, self.learner.write_optimizer)
            member.call("setup", stage=stage)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for member in self.members:
            member.call("on_fit_start")
            member.resume()
        setattr(self.learner.optimizer, f"clip_{self.members[0].clip_by}", [member.clip_at for member in self.members])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._call("on_train_start")
        # A resumed member may have been about to stop.
        self._remove_stopping(trainer)

    # Every step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._logged_step(trainer, trainer.global_step + 1) is not None:
            # At the start of the step, as the schedule changes the rate at its end.
            self._buffer.rates = [member.optimizer.param_groups[0]["lr"] for member in self.members]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in self.learner.model.tensors.values() if p.grad is not None]
        # A sum is not finite if any term is not, and is much faster than checking each number.
        if not torch.stack([part.sum() for part in (self.learner.losses, *gradients)]).isfinite().all():
            self._find_diverging(gradients)
        logged = self._logged_step(trainer, trainer.global_step + 1)
        if logged is not None and any(member.norms for member in self.members):
            self._buffer.add_norms(logged, gradients)

    def _logged_step(self, trainer: pl.Trainer, step: int) -> int | None:
        return logged_step(step, trainer.log_every_n_steps)  # type: ignore[attr-defined]

    def _find_diverging(self, gradients: Sequence[Tensor]) -> None:
        """Finds diverging members. They leave after the step, which needs all rows."""
        fine = self.learner.losses.isfinite()
        for gradient in gradients:
            fine = fine & gradient.flatten(1).isfinite().all(dim=1)
        stacked = self.learner.model.tensors
        for row in (~fine).nonzero().flatten().tolist():
            member = self.members[row]
            # The guard reads `.grad` of the member's own parameters.
            for name, parameter in member.learner.model.named_parameters():
                of_all = stacked[name].grad
                parameter.grad = None if of_all is None else of_all[row]
            member.call("on_before_backward", self.learner.losses[row])
            try:
                member.divergence.on_before_optimizer_step(member.trainer, member.learner, member.optimizer)
            except Diverged as diverged:
                # Recorded now, as the step counter increases before the member leaves.
                member.trainer.leave()
                # A traceback would keep the frames of the step, and so the autograd graph.
                self._diverged[member] = diverged.with_traceback(None)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        diverged, self._diverged = self._diverged, {}
        self._remove(diverged)
        logged = self._logged_step(trainer, trainer.global_step)
        self._buffer.add_losses(self.learner.losses, self.learner.hits, batch[0].shape[-2], logged)

    # Every validation, every epoch

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._call("on_validation_start")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_together()
        # The step number that Lightning logs at a validation.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        metrics = {name: values.unbind() for name, values in self.learner.validated.items()}
        for row, member in enumerate(self.members):
            member.take_metrics({name: values[row] for name, values in metrics.items()}, step)
        self._call("on_validation_end")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._buffer.flush(self.members)
        # As Lightning: epoch values are logged at the step of the last batch.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
        are_due = time.monotonic() - self._last_seen >= SECONDS_UNSEEN

        def end_epoch(member: Member) -> None:
            with member.logging_epoch(step):
                member.call("on_train_epoch_end")
            member.move_schedule("epoch")
            for logger in member.loggers if are_due else ():
                logger.save()

        with flushed_together():  # the checkpoints that are due
            self._for_each(end_epoch)
        if are_due:
            self._last_seen = time.monotonic()

    def _save_together(self, members: Sequence[Member] | None = None) -> None:
        """Writes the curves that are due, or all curves of the given members."""
        loggers = [logger for member in (self.members if members is None else members) for logger in member.loggers]
        with contextlib.suppress(OSError):  # raised again, for the right member, when each writes its own
            save_together(loggers, all_of_them=members is not None)

    def _call(self, hook: str) -> None:
        """Calls a hook of all members."""
        self._for_each(lambda member: member.call(hook))

    def _for_each(self, function: Callable[[Member], object]) -> None:
        """Calls a function for all members; removes those that fail or diverge."""
        self._remove(self._errors(function, self.members))

    def _errors(self, function: Callable[[Member], object], members: Sequence[Member]) -> dict[Member, Exception]:
        errors: dict[Member, Exception] = {}
        for member in members:
            try:
                function(member)
            # These errors belong to the member; any other is an error of the stack, and ends it.
            except (RunFailed, OSError) as error:
                errors[member] = error
        return errors

    # At safe points, and at the end

    def on_safe_point(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stopping: bool) -> None:
        is_within_epoch = loop_of(trainer).is_within_epoch
        # Members stop at the end of an epoch, after its validation.
        if not is_within_epoch:
            self._remove_stopping(trainer)
        now = time.monotonic()
        seconds = min((member.checkpoints.every_seconds for member in self.members), default=0.0)
        if is_within_epoch and not stopping and now - self._last_look < seconds:
            return
        self._last_look = now
        # All members together, so that after a crash they resume from the same step, in one stack.
        if stopping or any(member.checkpoints.is_due(member.trainer) for member in self.members):
            self._buffer.flush(self.members)
            self._write_checkpoints(self.members)

    def _write_checkpoints(self, members: Sequence[Member]) -> None:
        self._save_together(members)
        with flushed_together():
            self._remove(self._errors(lambda member: member.checkpoints.write(member.trainer, member.learner), members))

    def _remove_stopping(self, trainer: pl.Trainer) -> None:
        for member in self.members:
            withdraw_overtaken_stop(member.trainer)  # type: ignore[arg-type]
        if loop_of(trainer)._can_stop_early:
            leaving = [member for member in self.members if member.trainer.should_stop]
            self._write_checkpoints(leaving)
            # A failed write removes a member at once.
            self._end([member for member in leaving if member in self.members])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_at_end = True
        self._end(self.members)

    def _end(self, leaving: Sequence[Member]) -> None:
        """Ends the training of members."""
        self._save_together(leaving)
        with flushed_together():
            errors = self._errors(lambda member: member.call("on_train_end"), leaving)
        self._remove({member: errors.get(member) for member in leaving})

    def _remove(self, leaving: Mapping[Member, Exception | None]) -> None:
        """Removes members from the stack without affecting the others."""
        if not leaving:
            return
        # Buffered values are ordered by row, so they are flushed before the rows change.
        self._buffer.flush(self.members)
        rows = [row for row, member in enumerate(self.members) if member not in leaving]
        for member in leaving:
            member.trainer.leave()
        self.data.select(rows)
        self.learner.select(rows)
        self._buffer.select(rows)
        with flushed_together():
            for member, error in leaving.items():
                if error is not None:
                    with contextlib.suppress(RunFailed, OSError):  # its files may have caused the error
                        member.call("on_exception", error)
                self.ended(member, error)
        if not rows and not self._is_at_end:
            raise StackIsEmpty
