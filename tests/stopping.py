"""A stop of a run at a step of one's choice."""

from typing import Any

from lightning.pytorch.callbacks import Callback


class StopAt(Callback):
    """Asks for the run to stop at a step, as a signal does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        trainer.fit_loop.stop_requested = trainer.global_step == self.step
