"""Attaches the engine to a Trainer: the only entry from the rest of the project."""

from typing import Literal

import lightning.pytorch as pl
import torch

from mlplab.engine.edited_functions import first_edited
from mlplab.engine.epoch_loop import use_fast_loops
from mlplab.engine.fused_adam import fused_adam
from mlplab.engine.logged_values import use_fast_log_dict
from mlplab.engine.recognition import functions_of_step, functions_of_watchers
from mlplab.engine.resumable_loops import loop_of, use_resumable_loops
from mlplab.engine.trainer import use_fast_trainer
from mlplab.learner import Learner


def attach(
    trainer: pl.Trainer,
    learner: pl.LightningModule,
    *,
    engine: Literal["fast", "plain"] = "fast",
    seed: int | None = None,
) -> None:
    """Gives a Trainer the loops that resume exactly and, with the fast engine, those that save time.

    Args:
        trainer: before `Trainer.fit`.
        learner: the module to fit.
        engine: `plain` runs Lightning's loops, PyTorch's optimizers and autograd on exactly the code of the learner;
            `fast` gives the same bits in less time. It takes over only what it recognises.
        seed: of the run; None unless the generators must be seeded for the user's own loaders, at each epoch.
    """
    # With both engines, as checkpoints are written and read at their safe points.
    use_resumable_loops(trainer)
    loop_of(trainer).seed = seed
    # With deterministic algorithms PyTorch also fills all new memory with NaN, to expose code that reads it too early.
    # That takes up to a tenth of a step, and only helps to find a bug.
    torch.utils.deterministic.fill_uninitialized_memory = trainer._detect_anomaly  # type: ignore[attr-defined]
    # Lightning loads a checkpoint before it sets the precision: weights of 64 bits would be rounded to 32.
    trainer.precision_plugin.convert_module(learner)
    if engine == "fast":
        use_fast_loops(trainer)
        use_fast_trainer(trainer)
        # Any other LightningModule builds its own optimizer.
        if isinstance(learner, Learner):
            learner.optimizer_factory = fused_adam(learner.optimizer_factory)
            use_fast_log_dict(learner)
            # Reads their source now (10 ms), so that the first epoch is as quick as the others.
            first_edited([*functions_of_step(), learner.objective.function, *functions_of_watchers()])
