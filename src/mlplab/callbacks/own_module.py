"""Completes the user's own LightningModule for a run: seeds, monitored value, checkpoint card."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.randomness import derive_seed, seed_all


class OwnModule(Callback):
    """Seeds each step of a module, requires the monitored value to be logged, and completes checkpoints.

    Random numbers of a step depend on seed, epoch and batch, so a resumed run draws the same.

    Args:
        monitor: the value that decides early stopping and the best checkpoint.
        seed: of the run.
        card: plain values to store beside the weights in `checkpoints/*.ckpt`.

    Attributes:
        validated: names of the values that the last validation has logged.
    """

    def __init__(self, monitor: str, seed: int, card: dict[str, Any]) -> None:
        self.monitor, self.seed, self.card = monitor, seed, card
        self.validated: set[str] = set()
        self._sums: dict[str, Mapping[str, Tensor]] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = derive_seed(self.seed, "step", trainer.current_epoch, batch_idx, trainer.global_rank)
        seed_all(seed, pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._sums:  # after the first step since the checkpoint, when all values exist again
            _add_sums(trainer, self._sums)
            self._sums = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            results = trainer._results  # of the validation, which has not ended yet
            self.validated = set(results.metrics(on_step=False)["callback"]) if results is not None else set()
            self._require_monitored(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A module that logs in its test alone has nothing to monitor; its last weights count.
        if not trainer.enable_validation and trainer.callback_metrics:
            self._require_monitored(trainer)

    def _require_monitored(self, trainer: pl.Trainer) -> None:
        logged = [name for name in trainer.callback_metrics if not name.endswith("_step")]
        if self.monitor not in logged:
            # A value of the validation, if there is one.
            fitting = [name for name in logged if name in self.validated] or logged
            near = nearest_name(self.monitor.replace("/", "_"), fitting) or next(iter(fitting), None)
            raise UserError(
                f"monitor={self.monitor} must be a value that the module logs before a validation ends",
                f"it logs {', '.join(logged) or 'nothing'}",
                f"monitor={near}" if near else f"self.log('{self.monitor}', …) in its validation_step",
            )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["card"] = self.card
        # best.ckpt has no loops, as no run resumes from it. Each of several processes has its own sums.
        if "loops" in checkpoint and trainer.world_size == 1:
            checkpoint["logged_sums"] = _sums_of_epoch(trainer)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._sums = checkpoint.get("logged_sums", {})


def _sums_of_epoch(trainer: pl.Trainer) -> dict[str, dict[str, Tensor]]:
    """Returns the sums of `self.log` in this epoch, which Lightning 2.6 stores in no checkpoint."""
    found = _results(trainer).items()
    return {
        key: {"value": r.value, **_rows(r)} for key, r in found if r.is_tensor and r.meta.on_epoch and r.update_called
    }


def _add_sums(trainer: pl.Trainer, sums: Mapping[str, Mapping[str, Tensor]]) -> None:
    for key, result in _results(trainer).items():
        if key not in sums:
            continue
        before, meta = sums[key], result.meta
        if meta.is_max_reduction or meta.is_min_reduction:
            result.value = meta.reduce_fx(result.value, before["value"].to(result.value.device))
            continue
        # Adding in this order gives the same bits as an uninterrupted sum.
        result.value = result.value + before["value"].to(result.value.device)
        if meta.is_mean_reduction:
            result.cumulated_batch_size = result.cumulated_batch_size + before["rows"].to(result.value.device)


def _rows(result: Any) -> dict[str, Tensor]:
    return {"rows": result.cumulated_batch_size} if result.meta.is_mean_reduction else {}


def _results(trainer: pl.Trainer) -> Any:
    return trainer.fit_loop.epoch_loop._results


def of_validation(trainer: pl.Trainer, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the learner's val/… values, or what another module's validation logged, with the monitored value."""
    own = next((one for one in getattr(trainer, "callbacks", ()) if isinstance(one, OwnModule)), None)
    if own is None:
        return {name: value for name, value in metrics.items() if name.startswith("val/")}
    # When training has ended, the metrics are those of a validation alone.
    names = own.validated if trainer.state.fn == "fit" else metrics.keys()
    return {name: value for name, value in metrics.items() if name in {*names, own.monitor}}
