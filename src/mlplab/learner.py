"""The LightningModule: forward pass, loss, steps, optimizer. Nothing else."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.callbacks import BaseFinetuning, GradientAccumulationScheduler
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlplab.augmentation import Augmentation
from mlplab.errors import SkipUpdate
from mlplab.objectives.objective import Objective, predictions
from mlplab.objectives.penalties import l1_l2_penalty
from mlplab.objectives.scores import Metric, Scores
from mlplab.optimization.max_norm import incoming_weights, limit_norms
from mlplab.optimization.optimizers import OptimizerFactory, build_optimizer
from mlplab.optimization.parameter_groups import regularized_parameters
from mlplab.optimization.schedules import build_schedule, planned_steps
from mlplab.randomness import derive_seed, seed_generators
from mlplab.task import Task

Batch = tuple[Tensor, ...]


class Learner(pl.LightningModule):
    """Combines model, loss, optimizer and schedule into training, validation and test steps.

    For each batch Lightning calls `training_step`, autograd computes the gradient of its `loss`, and `optimizer_step`
    updates the weights. After each epoch Lightning calls `validation_step` for the batches of the validation part.
    `engine=plain` runs just that. The default engine computes the same bits in less time (docs/performance.md).

    Legend: B batch, F features, C classes. A batch is (features (B, F), targets), where targets are class
    indices (B,) for classification, and scaled values (B, 1) for regression. Where rows have weights, it is
    (features, targets, weights (B,)).

    Args:
        model: (B, F) -> (B, outputs).
        objective: the loss of a batch.
        task: what is learned; scores are reported in its unit.
        optimizer: lacks only the parameters.
        scheduler: `name` and options of optimization/schedules.py; a function as `name` is the user's own schedule.
        l1, l2: penalties on the parameters of the kinds of `applies_to`.
        applies_to: kinds of parameters that penalties and weight decay apply to.
        groups: parameters with options of their own, see `parameter_groups`.
        monitor, mode: the value that a plateau schedule watches, and whether small (`min`) or large (`max`) is good.
        max_norm: largest length of a unit's incoming weights; None for no limit.
        augmentation: changes the rows of training batches; None leaves them as they are.
        seed: of the run; dropout masks follow from it and from the step.
        metrics: name → a metric of validation and test, besides the scores of the task.
        card: plain values that make a checkpoint complete (architecture, preprocessing, class names).
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        objective: Objective,
        task: Task,
        optimizer: OptimizerFactory,
        scheduler: dict[str, Any] | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        applies_to: Sequence[str] = ("weight",),
        groups: Sequence[Mapping[str, Any]] = (),
        monitor: str = "val/loss",
        mode: str = "min",
        max_norm: float | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        metrics: Mapping[str, Metric] = {},
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.task = task
        # Not built here: the parameters may still move to another device or dtype.
        self.optimizer_factory = optimizer
        self.scheduler = scheduler or {"name": "none"}
        self.l1, self.l2 = l1, l2
        self.applies_to, self.groups = tuple(applies_to), groups
        # Collected once: walking through the modules at every step takes long beside a small network's step.
        self.regularized = regularized_parameters(model, applies_to) if l1 > 0 or l2 > 0 else []
        self.max_norm = max_norm
        self.limited = incoming_weights(model) if max_norm is not None else []
        self.augmentation = augmentation
        self.monitor, self.mode = monitor, mode
        self.seed = seed
        self.compile_seconds = 0.0
        self.card = card or {}
        self._scores = {part: Scores(task, metrics) for part in ("val", "test")}

    def forward(self, features: Tensor) -> Tensor:
        # For `learner(features)` from outside; the steps below call the model directly.
        return self.model(features)  # type: ignore[no-any-return]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._seed_step(self.current_epoch, batch_idx)

    def _seed_step(self, epoch: int, batch_idx: int) -> None:
        """Seeds the generators for one step, so that its dropout masks depend on seed, epoch and batch alone."""
        seed_generators(derive_seed(self.seed, "step", epoch, batch_idx, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        features, targets, *weights = batch
        outputs = None
        if self.augmentation is None:
            outputs = self.model(features)
            loss = self.objective(outputs, targets, *weights)
        else:
            loss = self.augmentation(self.model, self.objective, features, targets, *weights)
        penalty = l1_l2_penalty(self.regularized, l1=self.l1, l2=self.l2)
        # Curves show the loss without penalties, so that it compares with that of the validation.
        total = self.mean_over_processes(loss + penalty, len(targets))
        found = {"loss": total, "data_loss": loss.detach()}
        # From the outputs the accuracy of the epoch is computed when it ends; rows that were mixed have no one class.
        return found if outputs is None else {**found, "outputs": outputs.detach()}

    def mean_over_processes(self, loss: Tensor, n_rows: int) -> Tensor:
        """Scales the loss of a process so that the mean over processes is the mean over the whole batch.

        Processes have different numbers of rows if the batch does not divide evenly.
        """
        if self.trainer.world_size == 1:
            return loss
        if n_rows == 0:  # the mean of no rows is NaN; its gradient reaches no weight
            loss = loss.nan_to_num()
        rows = torch.tensor(float(n_rows), device=self.device)
        return loss * n_rows / self.trainer.strategy.reduce(rows, reduce_op="mean")

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        closure = optimizer_closure
        # Lightning wraps the optimizer; the wrapped one has the class.
        if isinstance(getattr(optimizer, "optimizer", optimizer), LBFGS) and optimizer_closure is not None:

            def closure() -> Any:
                # A line search compares values of one function, so each evaluation needs the same dropout masks.
                self._seed_step(epoch, batch_idx)
                return optimizer_closure()

        # A skipped update counts as a step, so that schedules and the seeds of steps stay where they were.
        with contextlib.suppress(SkipUpdate):
            optimizer.step(closure=closure)
        if self.max_norm is not None:
            limit_norms(self.limited, self.max_norm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("test", batch)

    def predict_step(self, batch: Tensor | Batch, batch_idx: int = 0) -> Tensor:
        """Predicts probabilities (B, C), or values (B, 1) in the target's unit, from features (B, F)."""
        features = batch if isinstance(batch, Tensor) else batch[0]
        return predictions(self.model(features), self.task)

    def _evaluate(self, part: str, batch: Batch) -> dict[str, Tensor]:
        features, targets, *weights = batch
        outputs = self.model(features)
        # One of several processes may have no rows of a small last batch; their mean loss would be NaN.
        loss = self.objective(outputs, targets, *weights) if len(targets) else outputs.new_zeros(())
        predicted, targets = self._scores[part].update(loss, outputs, targets, *weights)
        return {"predictions": predicted, "targets": targets}

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _log_scores(self, part: str) -> None:
        named = {f"{part}/{name}": value for name, value in self._scores[part].compute().items()}
        # The scores already cover all processes; sync_dist only silences Lightning's warning.
        self.log_dict(named, sync_dist=self.trainer.world_size > 1)
        self._scores[part].reset()

    def total_steps(self) -> int | None:
        """Counts the updates of the run if it is not stopped early; None if it has no limit."""
        trainer = self.trainer
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        scheduling = [one.scheduling for one in callbacks if isinstance(one, GradientAccumulationScheduler)]
        return planned_steps(
            batches_per_epoch=sized_len(trainer.datamodule.train_dataloader()),  # type: ignore[attr-defined]
            max_epochs=trainer.max_epochs,
            max_steps=trainer.max_steps,
            limit_train_batches=trainer.limit_train_batches or 1.0,
            # The last such callback sets the Trainer's value, but only when an epoch begins, later than this.
            accumulate_grad_batches=scheduling[-1] if scheduling else trainer.accumulate_grad_batches,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # A loss of one's own may learn, too.
        learned = self.model if next(self.objective.parameters(), None) is None else self
        optimizer = build_optimizer(self.optimizer_factory, learned, applies_to=self.applies_to, groups=self.groups)
        trainer = self.trainer
        # It adds groups without names, which PyTorch takes only where the other groups have none.
        if any(isinstance(callback, BaseFinetuning) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group.pop("param_names", None)
        schedule = build_schedule(
            optimizer=optimizer,
            total_steps=self.total_steps(),
            monitor=self.monitor,
            mode=self.mode,
            **self.scheduler,
        )
        if schedule is None:
            return optimizer
        if isinstance(schedule["scheduler"], ReduceLROnPlateau):
            schedule["frequency"] = trainer.check_val_every_n_epoch or 1  # other epochs have no validation value
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Makes the checkpoint usable alone: prediction and export read no other file of the run.
        checkpoint["card"] = self.card
