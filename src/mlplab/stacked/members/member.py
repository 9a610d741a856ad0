"""A member of a stack: an ordinary run whose network trains together with others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning import __version__
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from mlplab.callbacks.checkpoints import Checkpoints
from mlplab.callbacks.gradient_norms import GradientNorms
from mlplab.callbacks.non_finite_guard import NonFiniteGuard
from mlplab.callbacks.training_curves import TrainingCurves
from mlplab.data.module import DataModule
from mlplab.learner import Learner
from mlplab.runs.directory import RunDirectory
from mlplab.runs.resuming import Saved
from mlplab.stacked.stacked_job import Job


class MemberTrainerView:
    """Replaces the Trainer in calls of a member's callbacks.

    Metrics, loggers, optimizer and `should_stop` are the member's. All other attributes are those of the Trainer.

    Args:
        trainer: of the stack.
        callbacks, loggers, data: the member's.
        checkpoint: returns a checkpoint from which the member can resume alone.
        evaluate: returns the member's metrics on the part `val` or `test`.
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
        self.should_stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)

    def leave(self) -> None:
        """Fixes epoch and step of the member when it leaves the stack; does nothing the second time."""
        # The Trainer continues to count; the member keeps the numbers of its last step.
        if "global_step" not in vars(self):
            self.current_epoch, self.global_step = self._all.current_epoch, self._all.global_step

    def save_checkpoint(self, path: Any) -> None:
        """Writes the checkpoint of the member."""
        self._all.strategy.save_checkpoint(self._checkpoint(), path)

    def validate(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("val")

    def test(self, *arguments: Any, **options: Any) -> list[dict[str, float]]:
        return self._evaluate("test")


class Member:
    """One job with its own learner, optimizer, schedule, callbacks, loggers and directory.

    The learner's parameters are in the memory of the stack, which trains them. Everything else is as in an ordinary
    run, except that callbacks get a `MemberTrainerView` as the Trainer.

    Attributes:
        saved: the checkpoint that it resumes from, if any.
        clip_at, clip_by: the limit of its gradient, if any, by `norm` or `value`.
        optimizer, scheduler: built by `configure`.
    """

    def __init__(
        self,
        job: Job,
        data: DataModule,
        learner: Learner,
        callbacks: Sequence[Callback],
        loggers: list[Logger],
        directory: RunDirectory,
        saved: Saved | None = None,
    ) -> None:
        self.job, self.data, self.learner = job, data, learner
        self.loggers, self.directory, self.saved = loggers, directory, saved
        # Checkpoints come last, as the Trainer calls them.
        self.callbacks = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
        self.checkpoints = self.callback(Checkpoints)
        self.divergence = self.callback(NonFiniteGuard)
        self.curves = self.callback(TrainingCurves)
        self.norms: GradientNorms | None = self.callback(GradientNorms)
        self.clip_at: float | None = job.config.trainer.gradient_clip_val
        # Lightning's default.
        self.clip_by = str(job.config.trainer.gradient_clip_algorithm or "norm")
        self.optimizer: Optimizer
        self.scheduler: Any = None
        self._schedule: dict[str, Any] = {}
        self._moves, self._all_moves = (-1, 0), 0
        self._hooks: dict[str, list[Any]] = {}

    def callback(self, kind: type[Any]) -> Any:
        """Returns its callback of a kind; None if it has none."""
        return next((callback for callback in self.callbacks if isinstance(callback, kind)), None)

    def join(self, trainer: pl.Trainer, write_optimizer: Callable[["Member"], None]) -> None:
        """Joins the networks that a Trainer trains.

        Args:
            trainer: of the stack.
            write_optimizer: updates the state of a member's optimizer from that of the stack.
        """
        self._write_optimizer = write_optimizer
        self.trainer = MemberTrainerView(
            trainer, callbacks=self.callbacks, loggers=self.loggers, data=self.data, checkpoint=self.checkpoint,
            evaluate=self.evaluate,
        )  # fmt: skip
        self.learner.trainer = self.trainer  # type: ignore[assignment]
        # Lightning's `log` would write to the Trainer's metrics, which are the stack's. Past the slow `__setattr__` of
        # nn.Module, which would also look for parameters.
        vars(self.learner).update(log=self._log, log_dict=self._log_all)

    def configure(self) -> None:
        """Builds its optimizer and schedule."""
        made: Any = self.learner.configure_optimizers()
        self.optimizer = made["optimizer"] if isinstance(made, dict) else made
        self.trainer.optimizers = [self.optimizer]
        if isinstance(made, dict):
            self._schedule = made["lr_scheduler"]
            self.scheduler = self._schedule["scheduler"]

    def resume(self) -> None:
        """Loads its checkpoint, if it has one. The state of the loops is loaded by the stack's Trainer."""
        if self.saved is None:
            return
        content: Any = self.saved.content
        # Copied into the rows of the stack; the learner's parameters are views of them.
        self.learner.load_state_dict(content["state_dict"])
        self.optimizer.load_state_dict(content["optimizer_states"][0])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(content["lr_schedulers"][0])
            loop = content["loops"]["fit_loop"]
            moves = loop["epoch_loop.scheduler_progress"]
            self._moves = (loop["epoch_progress"]["current"]["ready"] - 1, moves["current"]["completed"])
            self._all_moves = moves["total"]["completed"]
        # In Lightning's order: the hook first, then the callbacks' own states.
        self.call("on_load_checkpoint", content)
        for callback in self.callbacks:
            state = content["callbacks"].get(callback.state_key)
            if state is not None:
                callback.load_state_dict(state)

    def call(self, hook: str, *arguments: Any, **options: Any) -> None:
        """Calls a hook of those callbacks that override it."""
        hooks = self._hooks.get(hook)
        if hooks is None:
            hooks = self._hooks[hook] = [
                getattr(callback, hook)
                for callback in self.callbacks
                # Looked up by class, to skip empty hooks of Lightning's base class.
                if getattr(type(callback), hook) is not getattr(Callback, hook)
            ]
        for function in hooks:
            function(self.trainer, self.learner, *arguments, **options)

    def move_schedule(self, interval: str) -> None:
        """Steps the learning-rate schedule after a `step` or an `epoch`."""
        if self._schedule.get("interval") != interval:
            return
        # A plateau schedule is stepped only in epochs with a validation.
        if (self.trainer.current_epoch + 1) % self._schedule.get("frequency", 1) and interval == "epoch":
            return
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            value = self.trainer.callback_metrics.get(self._schedule["monitor"])
            if value is None:
                return
            self.scheduler.step(value)
        else:
            self.scheduler.step()
        epoch, count = self._moves
        self._moves = (self.trainer.current_epoch, count + 1 if epoch == self.trainer.current_epoch else 1)
        self._all_moves += 1

    def take_metrics(self, metrics: dict[str, Tensor], step: int) -> None:
        """Stores metrics, and passes them to the loggers."""
        self.trainer.callback_metrics.update(metrics)
        self.write({name: float(value) for name, value in metrics.items()}, step)

    def write(self, values: dict[str, float], step: int) -> None:
        """Passes values to the loggers, as the Trainer does."""
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.trainer.current_epoch}, step=step)

    def checkpoint(self) -> dict[str, Any]:
        """Returns the checkpoint that `Trainer.save_checkpoint` would write for the run alone."""
        trainer = self.trainer
        # The stack's optimizer holds the state until it is written back.
        self._write_optimizer(self)
        scheduler = trainer.fit_loop.epoch_loop.scheduler_progress
        epoch, count = self._moves
        moves_in_epoch = count if epoch == trainer.fit_loop.epoch_progress.current.ready - 1 else 0
        for progress, moves in ((scheduler.total, self._all_moves), (scheduler.current, moves_in_epoch)):
            # The loops' state below contains these counters, here those of the member.
            progress.ready = progress.completed = moves
        content: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "pytorch-lightning_version": __version__,
            "state_dict": _owned(self.learner.state_dict()),
            "loops": {
                f"{name}_loop": getattr(trainer, f"{name}_loop").state_dict()
                for name in ("fit", "validate", "test", "predict")
            },
            "callbacks": {c.state_key: state for c in self.callbacks if (state := c.state_dict())},
            "optimizer_states": [_owned(self.optimizer.state_dict())],
            "lr_schedulers": [] if self.scheduler is None else [self.scheduler.state_dict()],
        }
        # In Lightning's order: callbacks, then the module.
        self.call("on_save_checkpoint", content)
        self.learner.on_save_checkpoint(content)
        return content

    def evaluate(self, part: str) -> list[dict[str, float]]:
        """Returns its metrics on the validation part (`val`) or the `test` part, as the Trainer does."""
        learner, trainer = self.learner, self.trainer
        step, loader = ("test_step", "test_dataloader") if part == "test" else ("validation_step", "val_dataloader")
        self._logged: dict[str, Tensor] = {}
        learner.eval()
        if part == "test":
            self.call("on_test_start")
        with torch.no_grad():
            for index, batch in enumerate(getattr(self.data, loader)()):
                # Data are float32; a run in 64 bits converts each batch.
                batch = trainer.precision_plugin.convert_input(batch)
                outputs = getattr(learner, step)(batch, index)
                if part == "test":
                    self.call("on_test_batch_end", outputs, batch, index)
        learner._log_scores(part)
        learner.train()
        values = {name: float(value) for name, value in self._logged.items()}
        self.write(values, trainer.global_step)
        if part == "test":
            self.call("on_test_end")
        return [values]

    def _log(self, name: str, value: Tensor | float, **options: Any) -> None:
        self._log_all({name: value})

    def _log_all(self, values: Mapping[str, Tensor | float], **options: Any) -> None:
        self._logged = {name: torch.as_tensor(value) for name, value in values.items()}
        self.trainer.callback_metrics.update(self._logged)

    @contextmanager
    def logging_epoch(self, step: int) -> Iterator[None]:
        """Passes values that callbacks log within this context to the loggers, at the end of an epoch."""
        self._logged = {}
        yield
        if self._logged:
            self.write({name: float(value) for name, value in self._logged.items()}, step)


def _owned(content: Any) -> Any:
    """Copies tensors, as saving a row would write the whole stack."""
    if isinstance(content, Tensor):
        return content.detach().clone()
    if isinstance(content, Mapping):
        return {name: _owned(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_owned(value) for value in content)
    return content
