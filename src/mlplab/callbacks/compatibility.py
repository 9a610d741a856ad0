"""Refuses those callbacks of Lightning that do not work in a run."""

from collections.abc import Sequence

from lightning.pytorch import callbacks as lightnings
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlplab.errors import UserError

NEVER: dict[type[Callback], tuple[str, str, str]] = {
    lightnings.BasePredictionWriter: (
        "a callback must have something to do",
        "{name} waits for predictions, which no run makes",
        "scripts/predict.py, which writes a file of them",
    ),
    lightnings.OnExceptionCheckpoint: (
        "a new run must begin from its seed",
        "{name} makes it begin from a file in its dirpath",
        "leaving it out: checkpoints/last.ckpt exists after an error too",
    ),
}
"""Callback that never works → requirement, what was given, hint."""

FINDERS = (lightnings.BatchSizeFinder, lightnings.LearningRateFinder)
"""Callbacks that search a value before the run, and are then left out: see `mlplab.finders`."""

FREEZING = "model.freeze=[hidden.0]"

# Lightning also refuses these without a logger, but only after the run directory is claimed.
WITH_LOGGER = (lightnings.DeviceStatsMonitor, lightnings.LearningRateMonitor, lightnings.ThroughputMonitor)
AVERAGING = (lightnings.WeightAveraging, lightnings.StochasticWeightAveraging)


def require_compatible(callbacks: Sequence[Callback], loggers: Sequence[Logger], learner: nn.Module) -> None:
    """Checks the callbacks of a run before it begins.

    Raises:
        UserError: a callback does not work in a run, or not with another one.
    """
    for callback in callbacks:
        name = type(callback).__name__
        refused = [reason for kind, reason in NEVER.items() if isinstance(callback, kind)]
        if refused:
            raise UserError(*(text.format(name=name) for text in refused[0]))
        if type(callback) is lightnings.BaseFinetuning:
            raise UserError(
                "BaseFinetuning must say what it freezes", "it is abstract", f"a subclass of it, or {FREEZING}"
            )
        if isinstance(callback, lightnings.BackboneFinetuning) and not hasattr(learner, "backbone"):
            raise UserError(
                f"{name} must have a module called backbone to freeze", f"{type(learner).__name__} has none",
                f"a subclass of BaseFinetuning, which freezes parts of pl_module.model, or {FREEZING}",
            )  # fmt: skip
        if isinstance(callback, WITH_LOGGER) and not loggers:
            raise UserError(f"{name} must have a logger", "logger=none", "logger=csv")
    bars = [type(callback).__name__ for callback in callbacks if isinstance(callback, lightnings.ProgressBar)]
    if len(bars) > 1:
        raise UserError("a run must have one progress bar", f"there are {' and '.join(bars)}", "~callbacks.progress")
    averaging = [type(callback).__name__ for callback in callbacks if isinstance(callback, AVERAGING)]
    # Averaging pairs weights by order, which pruning changes, and would average the masks, which are buffers.
    if averaging and any(isinstance(callback, lightnings.ModelPruning) for callback in callbacks):
        raise UserError(
            "weights that are averaged must keep their names and their order",
            "ModelPruning splits and reorders them",
            f"ModelPruning or {averaging[0]} alone",
        )


def require_resumable(callbacks: Sequence[Callback], network: nn.Module) -> None:
    """Checks the callbacks of a run that resumes from a checkpoint.

    Raises:
        UserError: a callback cannot restore its exact state from a checkpoint.
    """
    # StochasticWeightAveraging recomputes the statistics of these modules.
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in network.modules())
    for callback in callbacks:
        if isinstance(callback, lightnings.SpikeDetection):
            reason, hint = "SpikeDetection of Lightning 2.6 cannot load its own state", "a new run"
        elif isinstance(callback, lightnings.StochasticWeightAveraging) and has_batch_norm:
            # It does so in an extra epoch after the last, in which no checkpoint is written.
            reason = "StochasticWeightAveraging with batch normalisation does not"
            hint = "a new run, with lightning.pytorch.callbacks.WeightAveraging, which can resume"
        else:
            continue
        raise UserError("callbacks of a resumed run must have all their state in checkpoints", reason, hint)
