"""Refuses the callbacks of Lightning that do not work in a run. All others do."""

from collections.abc import Sequence

from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    DeviceStatsMonitor,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    OnExceptionCheckpoint,
    ProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    ThroughputMonitor,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlplab.errors import UserError

NEVER: dict[type[Callback], tuple[str, str, str]] = {
    BatchSizeFinder: (
        "data.batch_size must stay what the configuration says",
        "{name} changes it, and a resumed run would not know",
        "-m data.batch_size=32,64,128, which compares some",
    ),
    LearningRateFinder: (
        "optimizer.lr must stay what the configuration says",
        "{name} changes it, and a resumed run would not know",
        "experiment=learning_rate_range_test, which finds one",
    ),
    OnExceptionCheckpoint: (
        "a new run must begin from its seed",
        "{name} makes it begin from a file in its dirpath",
        "leaving it out: checkpoints/last.ckpt exists after an error too",
    ),
    BackboneFinetuning: (
        "{name} must have a module called backbone to freeze",
        "the learner has none",
        "a subclass of lightning.pytorch.callbacks.BaseFinetuning, which freezes parts of pl_module.model",
    ),
}
"""Callback → requirement, what was given, what to try."""

WITH_LOGGER = (DeviceStatsMonitor, LearningRateMonitor, ThroughputMonitor)


def require_compatible(callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> None:
    """Checks the callbacks of a run before it begins.

    Raises:
        UserError: a callback does not work in a run, or not together with another one.
    """
    for callback in callbacks:
        name = type(callback).__name__
        kind = next((kind for kind in NEVER if isinstance(callback, kind)), None)
        if type(callback) is BaseFinetuning:  # abstract
            kind = BackboneFinetuning
        if kind is not None:
            raise UserError(*(text.format(name=name) for text in NEVER[kind]))
        if isinstance(callback, WITH_LOGGER) and not loggers:
            raise UserError(f"{name} must have a logger", "logger=none", "logger=csv")
    bars = [type(callback).__name__ for callback in callbacks if isinstance(callback, ProgressBar)]
    if len(bars) > 1:
        raise UserError("a run must have one progress bar", " and ".join(bars), "~callbacks.progress besides")
    _require_averages_of_what_is_pruned(callbacks)


def _require_averages_of_what_is_pruned(callbacks: Sequence[Callback]) -> None:
    """Refuses weight averaging that pruning would confuse.

    Averaging pairs weights by their order, which pruning changes unless it prunes all of them. WeightAveraging also
    pairs buffers by their order, and masks are buffers.

    Raises:
        UserError: such callbacks are combined.
    """
    for pruning in (callback for callback in callbacks if isinstance(callback, ModelPruning)):
        prunes_all = set(pruning._parameter_names) == set(ModelPruning.PARAMETER_NAMES)
        kinds = WeightAveraging if prunes_all else (WeightAveraging, StochasticWeightAveraging)
        averaging = next((type(callback).__name__ for callback in callbacks if isinstance(callback, kinds)), None)
        if averaging is not None:
            raise UserError(
                "weights that are averaged must keep their names and their order",
                f"{averaging} together with ModelPruning, which splits and reorders them",
                "one of the two, or StochasticWeightAveraging and ModelPruning with parameter_names: [weight, bias]",
            )


def require_resumable(callbacks: Sequence[Callback], network: nn.Module) -> None:
    """Checks the callbacks of a run that resumes from a checkpoint.

    Raises:
        UserError: a callback cannot restore its exact state from a checkpoint.
    """
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in network.modules())
    for callback in callbacks:
        if isinstance(callback, SpikeDetection):
            reason, remedy = "SpikeDetection of Lightning 2.6 cannot load its own state", "a new run"
        elif isinstance(callback, StochasticWeightAveraging) and has_batch_norm:
            # It recomputes the statistics in an extra epoch after the last one, during which no checkpoint is written.
            reason = "StochasticWeightAveraging with batch normalisation does not"
            remedy = "a new run, with lightning.pytorch.callbacks.WeightAveraging, which can resume"
        else:
            continue
        raise UserError("callbacks of a run that goes on must have all their state in checkpoints", reason, remedy)
