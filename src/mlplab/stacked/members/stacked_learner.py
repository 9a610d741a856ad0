"""The LightningModule of a stack: the steps of `Learner` for all members at once."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from mlplab.callbacks.training_curves import are_hits
from mlplab.engine.fused_step import Backward, HasFusedStep, Outputs, Step
from mlplab.objectives.scores import classification_scores, regression_scores
from mlplab.optimization.parameter_groups import parameter_kinds
from mlplab.randomness import derive_seed
from mlplab.stacked.members.member import Member
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_losses import StackedObjective, StackedPenalty
from mlplab.stacked.networks.stacked_optimizer import StackedOptimizer

Batch = tuple[Tensor, Tensor]


class StackedLearner(pl.LightningModule, HasFusedStep):
    """Trains K networks of one shape.

    Legend: K members, B batch, N rows, F features, C outputs. A batch is (features (K, B, F), targets (K, B) or (K, B,
    T)); if all members see the same rows, K is left out.

    Attributes:
        losses: of the last step, without penalties (K,).
        validated: the metrics of the last validation, each (K,).
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = list(members)
        learners = [member.learner for member in members]
        # Members share the task, except mean and std of the target.
        self.task = learners[0].task
        networks = [learner.model for learner in learners]
        self.model = StackedNetwork(networks)
        self.objective = StackedObjective([learner.objective for learner in learners])
        self.penalty = StackedPenalty(
            [learner.l1 for learner in learners],
            [learner.l2 for learner in learners],
            [name for name, kind in parameter_kinds(networks[0]).items() if kind in learners[0].applies_to],
        )
        self.losses, self.hits = torch.empty(0), torch.empty(0)
        self.validated: dict[str, Tensor] = {}
        self._validation: list[tuple[Tensor, Tensor, Tensor]] = []
        self._is_shared = True
        self.optimizer: StackedOptimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Without dropout no seed is needed, and deriving them takes time in every step.
        if not self.model.draws:
            return
        epoch = self.trainer.current_epoch
        self.model.seeds = [derive_seed(m.learner.seed, "step", epoch, batch_idx, 0) for m in self.members]

    def fused_step(self) -> Step | None:
        return self._fused_step if self.model.has_kernels else None

    def _fused_step(self, batch: Batch, batches_per_update: int) -> tuple[Outputs, Backward]:
        """Computes the same as `training_step`, without autograd."""
        assert batches_per_update == 1
        outputs, through_network = self.model.with_backward(batch[0])
        losses, through_losses = self.objective.with_backward(outputs, self._targets_of_all(batch))
        self.losses = losses.detach()
        self._count_hits(outputs, batch)
        # The stack's loss is the sum, so its gradient by each member's loss is 1.
        ones = torch.ones_like(self.losses)
        return {"loss": self.losses.sum()}, lambda: through_network(through_losses(ones))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        outputs = self.model(batch[0])
        losses = self._losses_of(outputs, batch)
        self.losses = losses.detach()
        self._count_hits(outputs.detach(), batch)
        # The sum, as a mean would divide each member's gradient by K.
        return losses.sum()

    def _count_hits(self, outputs: Tensor, batch: Batch) -> None:
        """Counts each member's correctly classified rows (K,), for the training curves; empty for regression."""
        if self.task.kind == "classification":
            self.hits = are_hits(outputs, self._targets_of_all(batch)).sum(-1)

    def on_after_backward(self) -> None:
        # After the backward pass, as the differentiated loss excludes penalties.
        self.penalty.add_gradients(self.model)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        # After the update, as Lightning does.
        for member in self.members:
            member.move_schedule("step")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        outputs = self.model(batch[0])
        self._validation.append((outputs, batch[1], self._losses_of(outputs, batch)))
        self._is_shared = batch[0].ndim == 2

    def _losses_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Computes each member's loss (K,), also on shared rows."""
        return self.objective(outputs, self._targets_of_all(batch))  # type: ignore[no-any-return]

    def _targets_of_all(self, batch: Batch) -> Tensor:
        """Returns each member's targets, also for shared rows."""
        features, targets = batch
        # Expanded, not copied.
        return targets.expand(len(self.members), *targets.shape) if features.ndim == 2 else targets

    def on_validation_epoch_end(self) -> None:
        outputs, targets, losses = zip(*self._validation, strict=True)
        self._validation = []
        n_rows = [part.shape[1] for part in outputs]
        # Weighted by rows, as the last batch may be smaller.
        loss = torch.stack([part * n for part, n in zip(losses, n_rows, strict=True)]).sum(0) / sum(n_rows)
        scores = self._scores(torch.cat(outputs, dim=1), torch.cat(targets, dim=0 if self._is_shared else 1))
        self.validated = {"val/loss": loss, **{f"val/{name}": value for name, value in scores.items()}}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Computes the scores of each member, from outputs (K, N, C)."""
        if self.task.kind == "classification":
            if outputs.shape[-1] == 1:
                second = torch.sigmoid(outputs)
                return classification_scores(torch.cat([1 - second, second], dim=-1), targets)
            return classification_scores(torch.softmax(outputs, dim=-1), targets)
        tasks = [member.learner.task for member in self.members]
        # Each member has the mean and std of its own training rows.
        mean, std = (outputs.new_tensor([getattr(t, f"target_{name}") for t in tasks]) for name in ("mean", "std"))
        predicted, true = (part.squeeze(-1) * std[:, None] + mean[:, None] for part in (outputs, targets))
        return regression_scores(predicted, true)

    def configure_optimizers(self) -> Optimizer:
        for member in self.members:
            member.configure()
        self.optimizer = StackedOptimizer(
            [member.optimizer for member in self.members], self.model, [member.learner.model for member in self.members]
        )
        return self.optimizer

    def write_optimizer(self, member: Member) -> None:
        """Copies the stack's state to a member's own optimizer, as if it had trained alone."""
        self.optimizer.write_to_members([self.members.index(member)])

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the members of these rows. The others get their own memory."""
        # The optimizer first, as it writes states back while the rows still exist.
        self.optimizer.select(rows)
        self.model.select(rows)
        self.objective.select(rows)
        self.penalty.select(rows)
        self.losses = self.losses[list(rows)] if len(self.losses) else self.losses
        self.hits = self.hits[list(rows)] if len(self.hits) else self.hits
        self.members = [self.members[row] for row in rows]
