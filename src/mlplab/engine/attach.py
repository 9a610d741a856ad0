"""The only door from the rooms to the engine."""

from typing import Any

import lightning.pytorch as pl

from mlplab.engine.epoch_loop import use_fast_loops
from mlplab.engine.fused_adam import fused_adam
from mlplab.engine.resumable_loops import use_resumable_loops


def attach(trainer: pl.Trainer, learner: pl.LightningModule, *, engine: str = "fast") -> None:
    """Gives a Trainer the loops that resume exactly and, with the fast engine, those that save time.

    Args:
        trainer: before `Trainer.fit`.
        learner: the module that it is to fit.
        engine: `plain` runs Lightning's loops, PyTorch's optimizers and autograd on exactly the code of the learner;
            `fast` gives the same bits in less time. It takes over only what it recognises.
    """
    use_resumable_loops(trainer)
    if engine == "fast":
        use_fast_loops(trainer)
        own: Any = learner
        if hasattr(learner, "optimizer_factory"):
            own.optimizer_factory = fused_adam(own.optimizer_factory)
