"""Runs a learning rate range test: raises the learning rate at every step, and records the loss (Smith 2017)."""

import math
import shlex
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback

from mlplab.callbacks.training_curves import data_loss
from mlplab.errors import RunFailed
from mlplab.figures import as_png, rate_range_figure
from mlplab.loggers.tensorboard import log_picture
from mlplab.optimization.rate_range import smoothed, suggestions
from mlplab.optimization.schedules import planned_steps
from mlplab.runs.files import write_atomically, write_bytes, write_json

NAME = "learning_rate_range"
EXPLODED = 4.0
"""Multiple of the lowest average loss at which the test ends, if it also exceeds the average of the first steps."""

MEMORY = 0.9
"""Decay of the running average for that. Figure and suggestions use `smoothed`, which looks forwards as well."""

BEGUN = 10
"""Steps before which the test does not end."""


class LearningRateRange(Callback):
    """Raises the learning rate from `low` to `high` by a constant factor per step, and suggests one.

    NOTE[DIFF]: Lightning's `lr_find` runs a fit of its own and restores a checkpoint after it. Here the test is a run
    like any other, with a directory and curves.

    Args:
        directory: of the run.
        low, high: the ends of the range.
        n_steps: updates from `low` to `high`; fewer if the run is limited to fewer.
    """

    def __init__(self, directory: str, low: float, high: float, n_steps: int) -> None:
        self.directory = Path(directory)
        self.low, self.high, self.n_steps = low, high, n_steps
        self.planned = np.geomspace(low, high, n_steps)
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded_at: float | None = None
        self._average, self._first, self._lowest = 0.0, 0.0, math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        steps = planned_steps(
            batches_per_epoch=int(trainer.num_training_batches),
            max_epochs=trainer.max_epochs,
            max_steps=trainer.max_steps,
            limit_train_batches=1.0,
            accumulate_grad_batches=1,
        )
        self.planned = np.geomspace(self.low, self.high, min(self.n_steps, steps or self.n_steps))
        self._set_rate(trainer)

    def _set_rate(self, trainer: pl.Trainer) -> None:
        """Sets the rate of the next step now, so that other callbacks see it when the step begins."""
        rate = float(self.planned[min(trainer.global_step, len(self.planned) - 1)])
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self.rates.append(rate)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = data_loss(outputs, 1)
        value = math.nan if loss is None else float(loss)
        self.losses.append(value)
        n = len(self.losses)
        self._average = MEMORY * self._average + (1 - MEMORY) * value
        average = self._average / (1 - MEMORY**n)  # corrects the bias of starting at 0
        self._lowest = min(self._lowest, average)
        if n <= BEGUN:
            self._first = average
        if not math.isfinite(value) or average > max(EXPLODED * self._lowest, self._first):
            self.exploded_at = self.rates[-1]
            trainer.should_stop = True
        else:
            self._set_rate(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        measured = [pair for pair in zip(self.rates, self.losses, strict=False) if math.isfinite(pair[1])]
        rates, losses = np.array(measured, dtype=np.float64).reshape(-1, 2).T
        if len(rates) <= BEGUN:
            raise RunFailed(
                f"the loss exploded after {len(rates)} steps, at {self.rates[-1]:.2g}; try a smaller "
                f"callbacks.{NAME}.low, {self.planned[0] / 1000:.2g} for example"
            )
        curve = smoothed(losses)
        found = suggestions(rates, curve, float(losses[0]))
        command = self._command(found["valley"]) if found else None
        content = {"rates": rates.tolist(), "losses": losses.tolist(), "smoothed": curve.tolist()}
        write_json(
            self.directory / f"{NAME}.json",
            {"suggestions": found, "command": command, "exploded_at": self.exploded_at, **content},
        )
        self._draw(trainer, rates, losses, curve, found)
        if not found:
            raise RunFailed(
                f"no learning rate from {rates[0]:.2g} to {rates[-1]:.2g} made the loss fall; try another "
                f"callbacks.{NAME}.low, .high or more .n_steps"
            )
        told = ", ".join(f"{rate:.2g} ({rule})" for rule, rate in found.items())
        print(f"rates   {told}\ntry     {command}", flush=True)

    def _draw(self, trainer: pl.Trainer, rates: Any, losses: Any, curve: Any, found: dict[str, float]) -> None:
        figure = rate_range_figure(rates, losses, curve, found)
        folder = self.directory / "figures"
        folder.mkdir(exist_ok=True)
        png = as_png(figure)
        write_bytes(folder / f"{NAME}.png", png)
        write_atomically(
            folder / f"{NAME}.svg", lambda path: figure.savefig(path, format="svg", metadata={"Date": None})
        )
        log_picture(trainer.loggers, NAME, png, trainer.global_step)

    def _command(self, rate: float) -> str:
        """Returns the command of this run with a fixed learning rate instead of the range test."""
        mine = ("experiment=", "optimizer.lr=", f"callbacks.{NAME}", "trainer.max_steps=", "trainer.max_epochs=")
        asked = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
        words = [word for word in asked if not word.lstrip("+~").startswith((*mine, "paths.", "sweep."))]
        return shlex.join(["python", "train.py", *words, f"optimizer.lr={rate:.2g}"])
