"""Logs training loss and learning rate, by step and by epoch."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.errors import Diverged

OUTPUTS_HELD = 1_000_000
"""Maximum of outputs to hold before their correctly classified rows are counted."""

STEPS_BUFFERED = 1000
"""Maximum of logged steps to buffer; a longer epoch writes them before its end."""


class TrainingCurves(Callback):
    """Logs `train/loss_step` and `lr` at the steps of `logged_step`, and `train/loss` for every epoch.

    `train/loss` is the mean over the rows of the epoch, measured during training: with dropout, and with changing
    weights. Penalties are left out, so that it compares with `val/loss`. Losses stay on their device until the end of
    the epoch, as reading one at each step would make the CPU wait for the GPU.

    For classification, `train/accuracy` is the share of the epoch's rows that were classified correctly in their
    training step. It is left out if `training_step` does not return its `outputs`.

    Attributes:
        losses: of this epoch's batches, without penalties.
        rows: of each of these batches.
        hits: correctly classified rows of this epoch, and all its rows (with weights: their sums).
        pending: step, loss and learning rate, to be written to the loggers.
        last_step: the last logged step.
    """

    def __init__(self) -> None:
        # The rate at the start of the step, which `on_train_batch_start` sets.
        self._rate = 0.0
        self._state: dict[str, Any] | None = None
        self.last_step = 0
        self.losses: list[Tensor] = []
        self.rows: list[int] = []
        self.hits = (0.0, 0.0)
        self._classifies, self._n_held = False, 0
        self._classified: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.pending: list[tuple[int, Tensor, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._classifies = getattr(getattr(pl_module, "task", None), "kind", None) == "classification"

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Read now, as a schedule changes the rate at the end of the step.
        self._rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = data_loss(outputs, trainer.accumulate_grad_batches)
        if loss is None:  # a `training_step` that skipped its batch
            return
        self.losses.append(loss)
        self.rows.append(_n_rows(batch))
        of_network = outputs.get("outputs") if self._classifies else None
        # The user's own `training_step` may use that name for something else.
        is_pair = isinstance(batch, list | tuple) and len(batch) > 1 and isinstance(batch[1], Tensor)
        if isinstance(of_network, Tensor) and is_pair and of_network.shape[:1] == batch[1].shape:
            self._classified.append((of_network, batch[1], batch[2] if len(batch) > 2 else None))
            self._n_held += of_network.numel()
            if self._n_held >= OUTPUTS_HELD:
                self._count_hits()
        step = trainer.global_step
        # While gradients accumulate, several batches have the same step; it must be logged once.
        if step <= self.last_step:
            return
        logged = logged_step(step, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if logged is not None:
            self.last_step = step
            self.pending.append((logged, loss, self._rate))
            if len(self.pending) >= STEPS_BUFFERED:
                self.flush_logs(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.losses:
            total, n_rows = sums_over_rows(torch.stack(self.losses).tolist(), self.rows)
            if trainer.world_size > 1:
                own = torch.tensor([total, n_rows], dtype=torch.float64, device=pl_module.device)
                total, n_rows = trainer.strategy.reduce(own, reduce_op="sum").tolist()
            # NaN if every update of the epoch was skipped.
            mean = torch.tensor(total / n_rows if n_rows else math.nan, device=pl_module.device)
            named = {"train/loss": mean, **self._accuracy(trainer, pl_module)}
            # The mean already covers all processes; sync_dist only silences Lightning's warning.
            pl_module.log_dict(named, sync_dist=trainer.world_size > 1)
        self.flush_logs(trainer)
        self.losses, self.rows = [], []

    def _accuracy(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Tensor]:
        """Computes the epoch's accuracy over all processes, and resets the counts; empty if unknown."""
        self._count_hits()
        (n_hits, n_rows), self.hits = self.hits, (0.0, 0.0)
        if trainer.world_size > 1 and self._classifies:
            own = torch.tensor([n_hits, n_rows], dtype=torch.float64, device=pl_module.device)
            n_hits, n_rows = trainer.strategy.reduce(own, reduce_op="sum").tolist()
        return {"train/accuracy": torch.tensor(n_hits / n_rows, device=pl_module.device)} if n_rows else {}

    def _count_hits(self) -> None:
        """Counts the held outputs into `hits`: many batches at once, as each operation has a fixed cost."""
        held, self._classified, self._n_held = self._classified, [], 0
        if not held:
            return
        outputs, targets, weights = zip(*held, strict=True)
        hits = are_hits(torch.cat(outputs), torch.cat(targets))
        if weights[0] is None:
            # For an ensemble (N, k), the share of its members.
            found, n_rows = float(hits.sum()) * len(hits) / max(hits.numel(), 1), float(len(hits))
        else:
            of_rows = torch.cat(weights).double()
            shares = hits.double().mean(1) if hits.ndim > 1 else hits.double()
            found, n_rows = float((shares * of_rows).sum()), float(of_rows.sum())
        self.hits = self.hits[0] + found, self.hits[1] + n_rows

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with contextlib.suppress(OSError):  # the exception may be that the disk is full
            self.flush_logs(trainer)
            if isinstance(exception, Diverged) and exception.step is not None:
                for logger in trainer.loggers:
                    logger.log_metrics({"train/loss_step": exception.loss}, step=exception.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns the losses of the current epoch. Pending steps were flushed before the checkpoint."""
        self._count_hits()
        # `torch.stack` refuses an empty list.
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
        return {
            "losses": losses, "rows": torch.tensor(self.rows), "last_step": self.last_step, "hits": list(self.hits),
        }  # fmt: skip

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.world_size > 1:  # the first process writes the checkpoint, and knows only its own rows
            states: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, self.state_dict())
            checkpoint["training_curves"] = states

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = checkpoint.get("training_curves", [])
        # With another number of processes, the epoch's loss covers only the first one's rows.
        self._state = states[trainer.global_rank] if len(states) == trainer.world_size else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Each of several processes resumes with its own rows.
        state_dict, self._state = self._state or state_dict, None
        self.losses = list(state_dict["losses"].unbind())
        self.rows = state_dict["rows"].tolist()
        self.last_step = state_dict["last_step"]
        n_hits, n_rows = state_dict.get("hits", (0.0, 0.0))  # release 0.5.0 stored none
        self.hits = n_hits, n_rows

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the pending steps to the loggers. Also called before a checkpoint, which stores the logs' length."""
        if not self.pending:
            return
        steps, losses, rates = zip(*self.pending, strict=True)
        for step, loss, rate in zip(steps, torch.stack(losses).tolist(), rates, strict=True):
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss_step": loss, "lr": rate}, step=step)
        self.pending = []


def are_hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns which rows are classified correctly: (…, N, C), (…, N) -> (…, N).

    A single output is the logit of class 1 of two. Members of an ensemble count separately: (N, k, C) -> (N, k).
    """
    predicted = outputs.squeeze(-1) > 0 if outputs.shape[-1] == 1 else outputs.max(-1).indices
    return predicted == targets.reshape(targets.shape + (1,) * (predicted.ndim - targets.ndim))


def logged_step(step: int, interval: int) -> int | None:
    """Returns the step at which an update is logged, or None: every `interval` steps, before that at powers of two.

    The first update is logged at step 0, as its loss and its gradient are those of the initial weights.
    """
    if step % interval == 0:
        return step
    is_early = step < interval and step & (step - 1) == 0
    return step if is_early and step > 1 else 0 if is_early else None


def sums_over_rows(losses: Sequence[float], rows: Sequence[int]) -> tuple[float, float]:
    """Sums losses and rows of batches, except those with non-finite losses, whose updates were skipped."""
    learned = [(loss, n) for loss, n in zip(losses, rows, strict=True) if math.isfinite(loss)]
    return math.fsum(loss * n for loss, n in learned), math.fsum(n for _, n in learned)


def data_loss(outputs: Any, batches_per_update: int) -> Tensor | None:
    """Returns the loss without penalties if the step returns it, else the step's loss; None if it has none.

    Lightning divides the loss by the number of accumulated batches, which is undone here.
    """
    if not isinstance(outputs, dict) or "loss" not in outputs:
        return None
    if "data_loss" in outputs:
        return outputs["data_loss"]  # type: ignore[no-any-return]
    loss: Tensor = outputs["loss"]
    return loss if batches_per_update == 1 else loss * batches_per_update


def _n_rows(batch: Any) -> int:
    """Returns the number of rows in a batch of tensors; 1 for any other batch, so that all steps weigh the same."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    return first.shape[0] if isinstance(first, Tensor) and first.ndim > 0 else 1
