"""Runs a learning rate range test: raises the learning rate at every step, and records the loss (Smith 2017)."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback

from mlplab.callbacks.training_curves import data_loss
from mlplab.config.commands import command
from mlplab.errors import RunFailed
from mlplab.optimization.schedules import planned_steps
from mlplab.plots import as_png, log_picture, rate_range_figure
from mlplab.runs.files import write_atomically, write_bytes, write_json

Curve = npt.NDArray[np.float64]

NAME = "learning_rate_range"

EXPLODED = 4.0
"""Multiple of the lowest average loss that ends the test, if it also exceeds the average of the first steps."""

MEMORY = 0.9
"""Decay of that running average. Figure and suggestions use `smoothed`, which also looks forwards."""

BEGUN = 10
"""Minimum of steps of the test."""

WIDTH = 0.02
"""Standard deviation of the smoothing, as a share of the curve's length."""

LEAST_FALL = 0.1
"""Minimum fall for a suggestion, relative to the loss before any update."""

DESCENT = 0.05
"""Share of the whole fall at which the descent begins."""


class LearningRateRange(Callback):
    """Raises the learning rate from `low` to `high` by a constant factor per step, and suggests one.

    NOTE[DIFF]: Lightning's `lr_find` runs a fit of its own and restores a checkpoint after it. Here the test is a run
    like any other, with a directory and curves.

    Args:
        directory: of the run.
        low, high: the ends of the range.
        n_steps: updates from `low` to `high`; fewer if the run is limited to fewer.
        verbose: whether the suggestions are printed.
    """

    def __init__(self, directory: str, low: float, high: float, n_steps: int, verbose: bool = True) -> None:
        self.directory, self.verbose = Path(directory), verbose
        self.low, self.high, self.n_steps = low, high, n_steps
        self.planned = np.geomspace(low, high, n_steps)
        self.factors: list[float] = []
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded_at: float | None = None
        self._average, self._first, self._lowest = 0.0, 0.0, math.inf

    @property
    def stop_reason(self) -> str | None:
        """Returns why it has stopped the run, if it has."""
        rate = self.exploded_at
        return None if rate is None else f"the loss exploded at a learning rate of {rate:.2g}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        n_batches = int(trainer.num_training_batches)
        limit = planned_steps(batches_per_epoch=n_batches, max_epochs=trainer.max_epochs, max_steps=trainer.max_steps)
        # If the run is limited to fewer steps, they cover the same range.
        self.planned = np.geomspace(self.low, self.high, min(self.n_steps, limit or self.n_steps))
        # Parameter groups may have their own rates, which stay the same multiples of the test's rate.
        optimizer = trainer.optimizers[0]
        self.factors = [float(group["lr"]) / float(optimizer.defaults["lr"]) for group in optimizer.param_groups]
        self._set_rate(trainer)

    def _set_rate(self, trainer: pl.Trainer) -> None:
        """Sets the rate of the next step now, so that other callbacks see it when the step begins."""
        rate = float(self.planned[min(trainer.global_step, len(self.planned) - 1)])
        for group, factor in zip(trainer.optimizers[0].param_groups, self.factors, strict=True):
            group["lr"] = factor * rate
        self.rates.append(rate)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Reading the loss makes a GPU wait, but the next rate depends on it.
        loss = data_loss(outputs, 1)
        value = math.nan if loss is None else float(loss)
        self.losses.append(value)
        # The number of losses, not `global_step`: the average covers each loss.
        n = len(self.losses)
        self._average = MEMORY * self._average + (1 - MEMORY) * value
        average = self._average / (1 - MEMORY**n)  # corrects the bias of the initial 0
        self._lowest = min(self._lowest, average)
        if n <= BEGUN:
            self._first = average
        # Early losses are noisy, so a rise must also exceed the first losses.
        if not math.isfinite(value) or average > max(EXPLODED * self._lowest, self._first):
            self.exploded_at = self.rates[-1]
            trainer.should_stop = True
        else:
            self._set_rate(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        # The rate of the next step is already set, but has no loss.
        measured = [pair for pair in zip(self.rates, self.losses, strict=False) if math.isfinite(pair[1])]
        rates, losses = np.array(measured, dtype=np.float64).reshape(-1, 2).T
        if len(rates) <= BEGUN:
            raise RunFailed(
                f"the loss exploded after {len(rates)} steps, at {self.rates[-1]:.2g}; try a smaller "
                f"callbacks.{NAME}.low, {self.planned[0] / 1000:.2g} for example"
            )
        curve = smoothed(losses)
        found = suggestions(rates, curve, float(losses[0]))
        command = _command(found["valley"]) if found else None
        content: dict[str, Any] = {"suggestions": found, "command": command, "exploded_at": self.exploded_at}
        content |= {"rates": rates.tolist(), "losses": losses.tolist(), "smoothed": curve.tolist()}
        write_json(self.directory / f"{NAME}.json", content)  # first, as it is useful even without a suggestion
        figure = rate_range_figure(rates, losses, curve, found)
        png = as_png(figure)
        folder = self.directory / "figures"
        folder.mkdir(exist_ok=True)
        write_bytes(folder / f"{NAME}.png", png)
        write_atomically(
            # Without a date, so that the same run draws the same file.
            folder / f"{NAME}.svg",
            lambda path: figure.savefig(path, format="svg", metadata={"Date": None}),
        )
        log_picture(trainer.loggers, NAME, png, trainer.global_step)
        if not found:
            raise RunFailed(
                f"no learning rate from {rates[0]:.2g} to {rates[-1]:.2g} made the loss fall; try another "
                f"callbacks.{NAME}.low, .high or more .n_steps"
            )
        suggested = ", ".join(f"{rate:.2g} ({rule})" for rule, rate in found.items())
        if self.verbose:
            print(f"rates   {suggested}\ntry     {command}", flush=True)


def smoothed(losses: Curve) -> Curve:
    """Smooths losses by a Gaussian of width `WIDTH`: (N,) -> (N,).

    NOTE[DIFF]: the usual exponential average looks backwards only, which shifts the curve to larger rates.
    """
    steps = np.arange(len(losses))
    # A full matrix of weights: a test has some hundred steps. The divisor corrects for the ends of the curve.
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(WIDTH * len(losses), 1.0)) ** 2)
    mean: Curve = weights @ losses / weights.sum(axis=1)
    return mean


def suggestions(rates: Curve, losses: Curve, before: float) -> dict[str, float]:
    """Suggests learning rates by three rules; empty if no rate made the loss fall.

    valley: the middle of the descent, on the logarithmic scale. NOTE[DIFF]: fastai's `lr_find` takes the middle of the
        longest falling subsequence, which includes a long flat beginning that falls only slightly.
    steepest: where the loss falls fastest per factor of the rate (fastai, Lightning).
    minimum/10: a tenth of the rate with the lowest loss (Howard and Gugger 2020, "Deep Learning for Coders", ch. 5).

    Args:
        rates: (N,) growing exponentially.
        losses: (N,) smoothed, at those rates.
        before: the loss of the first batch, before any update.
    """
    lowest = int(losses.argmin())
    fall = float(losses[0] - losses[lowest])
    # If the lowest loss comes first, or is hardly below the first loss, there is no descent.
    if lowest < 2 or losses[lowest] > before - LEAST_FALL * abs(before):
        return {}
    # Relative to the first smoothed loss: `before`, of one batch, is too noisy.
    begun = int(np.flatnonzero(losses < losses[0] - DESCENT * fall)[0])
    slopes = np.gradient(losses[: lowest + 1], np.log(rates[: lowest + 1]))
    return {
        "valley": float(np.sqrt(rates[begun] * rates[lowest])),
        "steepest": float(rates[int(slopes.argmin())]),
        "minimum/10": float(rates[lowest] / 10),
    }


def _command(rate: float) -> str:
    """Returns this run's command with a fixed learning rate instead of the range test."""
    mine = ("experiment=", "optimizer.lr=", f"callbacks.{NAME}", "trainer.max_steps=", "trainer.max_epochs=")
    # Without Hydra, such as in a notebook, there are no overrides to repeat.
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    kept = [word for word in overrides if not word.lstrip("+~").startswith((*mine, "paths.", "sweep."))]
    return command("train.py", *kept, f"optimizer.lr={rate:.2g}")
