"""Validates without calling empty hooks, as `mlplab.engine.epoch_loop` does for training.

For a small network, validation in Lightning's own loop takes as long as a dozen steps. Most of that is spent on empty
hooks, and on inspecting the signatures of the others.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from mlplab.engine.gpu_data import copy_to_device
from mlplab.engine.hooks import Hooks, overriding, why_not_plain
from mlplab.engine.logged_values import FastResults
from mlplab.engine.resumable_loops import loop_of

HOOKS = (
    "on_validation_model_eval",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_validation_model_train",
)
"""Hooks that callbacks and the LightningModule may override, in the order of their calls."""


class FastValidationLoop(_EvaluationLoop):
    """Validates during training, with the least overhead that keeps Lightning's semantics.

    It needs one data loader of known length, one device, full precision, and `validation_step(batch, batch_idx)`;
    otherwise it uses Lightning's loop. A test compares the two.
    """

    _results: FastResults

    def __init__(self, trainer: pl.Trainer) -> None:
        # The arguments with which Lightning builds its own.
        super().__init__(trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False)
        self._results = FastResults(training=False)
        self._is_verified = False
        self.n_runs = 0
        self._hooks: Hooks | None = None

    def run(self) -> list[dict[str, Any]]:
        # The epoch loop checks whether a validation has run.
        self.n_runs += 1
        self.setup_data()
        if self.skip or not self._can_be_fast():
            return super().run()  # type: ignore[no-any-return]
        if not self._is_verified:
            # Lightning checks the signature of `validation_step` once as well.
            self._verify_dataloader_idx_requirement()
            self._is_verified = True
        with torch.no_grad():
            return [self._validate()]

    def _can_be_fast(self) -> bool:
        trainer = self.trainer
        return (
            trainer.validating
            and not self.restarting
            and self._is_sequential
            and self.num_dataloaders == 1
            and isinstance(self.max_batches[0], int)
            and why_not_plain(trainer, "validation_step") is None
        )

    def _validate(self) -> dict[str, Any]:
        """Runs one validation, as `_EvaluationLoop.run` does, and returns the logged values."""
        trainer, connector = self.trainer, self.trainer._logger_connector
        self._has_run = False
        self.batch_progress.reset_on_run()
        loader = self._combined_loader.flattened[0]  # type: ignore[union-attr]
        copy_to_device(loader, trainer.strategy.root_device)
        _set_sampler_epoch(loader, loop_of(trainer).n_epochs_done)
        hooks = self._hooks = self._hooks.as_now() if self._hooks else Hooks(trainer, HOOKS)

        # Modules that were in evaluation mode before, such as frozen ones, stay in it.
        modes = [(part, part.training) for part in trainer.lightning_module.modules()]
        if hooks.is_overridden("on_validation_model_eval"):
            hooks.call("on_validation_model_eval")
        else:
            _set_evaluation_mode([part for part, _ in modes])
        hooks.call("on_validation_start")
        hooks.call("on_validation_epoch_start")
        try:
            for batch_idx, batch in enumerate(islice(loader, int(self.max_batches[0]))):
                self._step(hooks, batch, batch_idx)
        finally:
            # Also after an error, as in Lightning's loop.
            self.on_iteration_done()
        connector.epoch_end_reached()
        by_step = connector.update_eval_epoch_metrics() if self._results.has_logged() else {}
        connector._evaluation_epoch_end()
        hooks.call("on_validation_epoch_end")
        connector.on_epoch_end()
        logged = {**by_step, **connector.metrics["log"]}
        connector.log_eval_end_metrics(logged)
        hooks.call("on_validation_end")
        connector.reset_results()
        if hooks.is_overridden("on_validation_model_train"):
            hooks.call("on_validation_model_train")
        else:
            for part, mode in modes:
                vars(part)["training"] = mode
        # A `trainer.val_check_interval` given as a time counts from here.
        trainer._last_val_time = time.monotonic()  # type: ignore[attr-defined]
        return logged

    def _step(self, hooks: Hooks, batch: Any, batch_idx: int) -> None:
        """Validates one batch, as `_EvaluationLoop._evaluation_step` does."""
        trainer, progress, results = self.trainer, self.batch_progress, self._results
        connector, module = trainer._logger_connector, trainer.lightning_module
        progress.is_last_batch = batch_idx + 1 >= self.max_batches[0]
        if trainer.strategy.root_device.type != "cpu":
            batch = trainer.strategy.batch_to_device(batch)
        progress.increment_ready()
        connector.on_batch_start(batch)
        hooks.call("on_validation_batch_start", batch, batch_idx)
        progress.increment_started()
        attributes = vars(module)  # past the slow `__setattr__` of `nn.Module`
        attributes["_current_fx_name"] = "validation_step"
        output = module.validation_step(batch, batch_idx)
        attributes["_current_fx_name"] = None
        progress.increment_processed()
        hooks.call("on_validation_batch_end", output, batch, batch_idx)
        has_logged = results.has_logged()
        if has_logged:
            connector.on_batch_end()
        results.batch = results.batch_size = None
        progress.increment_completed()
        self._has_run = True
        if has_logged:
            connector.update_eval_step_metrics(self._seen_batches_per_dataloader[0])
        self._seen_batches_per_dataloader[0] += 1
        # Lightning ends a validation on SIGTERM between two batches.
        if not progress.is_last_batch and trainer.received_sigterm:
            raise SIGTERMException


def _set_evaluation_mode(parts: Sequence[nn.Module]) -> None:
    """Calls `parts[0].eval()`, or sets the flags past the slow `nn.Module.__setattr__` if no part overrides it."""
    if any(overriding(parts, name, nn.Module) for name in ("eval", "train")):
        parts[0].eval()
        return
    for part in parts:
        vars(part)["training"] = False
