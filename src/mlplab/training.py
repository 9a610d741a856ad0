"""One run from its configuration to its result, from top to bottom."""

import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from mlplab.building import build_callbacks, build_data, build_learner, build_loggers, build_trainer, require_device
from mlplab.callbacks import Checkpoints, Divergence, History, LearningRateRange, Pruning, Status
from mlplab.config.checks import check
from mlplab.config.paths import shortest
from mlplab.data.module import DataModule
from mlplab.errors import Diverged, Refusal, RunStopped, printable
from mlplab.learner import Learner
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import write_json
from mlplab.runs.hyperparameters import log_configuration, log_final_metrics
from mlplab.runs.interruption import Interruption, stop_on_signal
from mlplab.runs.memory import enough_memory
from mlplab.runs.recording import recorded, write_manifest
from mlplab.runs.resuming import Saved, go_on, newest_checkpoint
from mlplab.runs.summary import describe_after, describe_before

log = logging.getLogger("mlplab")

COPIES = 12
"""Times the size of the network that its files take: three of weights, two moments and the best weights each."""

ROOM_FOR_LOGS = 5_000_000
"""Bytes beside the checkpoints."""


def train(config: DictConfig, *, resume: bool = False) -> float:
    """Runs what the configuration says, and returns the best value of `monitor`.

    Everything that can be refused is refused before the run directory is claimed. What the run learns and what
    becomes of it is in that directory.

    Args:
        config: as conf/ composes it.
        resume: whether the run in `paths.run` goes on, from its newest checkpoint.

    Raises:
        Refusal: the configuration cannot be run.
        RunFailed: it diverged (`Diverged`), or memory or the disk ran out.
        RunStopped: by a signal; what was reached is saved.
    """
    check(config)
    _quiet()
    require_device(config)
    directory = RunDirectory(Path(config.paths.run))
    data = build_data(config)
    data.setup()
    learner = build_learner(config, data)
    loggers = build_loggers(config)
    watching = [Status(directory), History(directory.path)]
    trainer = build_trainer(config, [*build_callbacks(config), *watching], loggers, data, learner)
    if not _is_first_process():
        _follow(trainer, learner, data, newest_checkpoint(directory.checkpoints) if resume else None)
        return math.nan

    weights = sum(parameter.nbytes for parameter in learner.model.parameters())
    room = COPIES * weights + ROOM_FOR_LOGS
    directory.reopen(room) if resume else directory.claim(room)
    with recorded(directory), stop_on_signal() as interruption:
        saved = go_on(config, directory, data, loggers) if resume else None
        text = None
        if not resume:
            text = write_manifest(directory, config, data, sum(p.numel() for p in learner.model.parameters()))
        if data.description is not None:
            write_json(directory.path / "data.json", data.description.as_dict())
            for warning in data.description.warnings:
                log.warning(printable(warning))
        print(describe_before(data, learner.model, directory.path), flush=True)
        if saved is None:
            log_configuration(loggers, config, text)

        directory.begin_phase("fit")
        divergence = _fit(trainer, learner, data, saved, interruption)
        checkpoints = _find(trainer, Checkpoints)
        if checkpoints is not None:
            directory.add_seconds("checkpoints", checkpoints.seconds)
        if learner.compile_seconds:
            directory.add_seconds("compile", learner.compile_seconds)
        if divergence is not None and config.on_divergence == "raise":
            raise divergence
        ended = str(divergence).partition("; try")[0] if divergence else why_it_ended(trainer, interruption)

        directory.begin_phase("test")
        is_interrupted = interruption.received is not None
        has_best = checkpoints is not None and checkpoints.best_weights is not None
        can_be_judged = has_best or not (is_interrupted or ended.startswith("diverged"))
        with enough_memory(data):
            validation_metrics = _validation_of_best(trainer, learner, data) if can_be_judged else {}
            test_metrics = _test_best(trainer, learner, data) if can_be_judged and not is_interrupted else {}
        result = _result(config, trainer, ended, validation_metrics, test_metrics)
        write_json(directory.path / "result.json", result)
        log_final_metrics(loggers, config, directory.tensorboard, result)
        directory.update(epoch=result["epochs"], step=result["steps"])
        has_tensorboard = any(isinstance(logger, TensorBoardLogger) for logger in loggers)
        print(describe_after(result, directory.path, has_tensorboard=has_tensorboard), flush=True)

        if interruption.received:
            reached = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
            message = f"stopped by {interruption.name} in {reached}; all of it is saved"
            raise RunStopped(f"{message}; resume={shortest(directory.path)} goes on", interruption.status)
        if ended.startswith("diverged"):
            raise divergence or Diverged(f"{ended}; try a smaller optimizer.lr, or trainer.gradient_clip_val=1")
        directory.end("finished", ended, **({"pruned": True} if ended.startswith("pruned") else {}))
    return result["objective"] if result["objective"] is not None else math.nan


def _fit(
    trainer: pl.Trainer, learner: Learner, data: DataModule, saved: Saved | None, interruption: Interruption
) -> Diverged | None:
    """Trains, and returns what made the run diverge, if it did."""
    try:
        if saved is not None:  # Lightning would load weights of 64 bits before it makes room for them
            trainer.precision_plugin.convert_module(learner)
        with interruption.finishing_the_step(trainer), enough_memory(data):
            trainer.fit(learner, data, ckpt_path=saved.path if saved else None, weights_only=True)
    except MisconfigurationException as error:  # flags that only turn out not to fit the data
        reason = " ".join(str(error).split())
        raise Refusal("trainer must be given flags that fit the data", reason, "trainer=auto") from error
    except Diverged as divergence:
        return divergence
    return None


def _follow(trainer: pl.Trainer, learner: Learner, data: DataModule, saved: Saved | None) -> None:
    """What a process other than the first does: it trains along, and writes nothing."""
    with stop_on_signal(is_first_process=False) as interruption:
        if _fit(trainer, learner, data, saved, interruption) is None and interruption.received is None:
            _validation_of_best(trainer, learner, data)
            _test_best(trainer, learner, data)


def _is_first_process() -> bool:
    """Whether this process is the one that writes; Lightning sets LOCAL_RANK in the others that it starts."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def _quiet() -> None:
    """Silences what Lightning says about itself: hardware it found, and advice for data read from a disk."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Lightning 2.6 under PyTorch 2.13.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # Our batches come from memory in the order that the seed gives, whatever Lightning thinks of their class.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*(No positive|No negative) samples in targets.*")
    # A run that goes on without some of what watched it.
    warnings.filterwarnings("ignore", message=".*Be aware that when using `ckpt_path`.*")
    # Of a run that diverges, which says so itself.
    warnings.filterwarnings("ignore", message=".*Encountered `nan` values in tensor.*")
    warnings.filterwarnings("ignore", message="GPU available but not used.*")


def _find(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]


def why_it_ended(trainer: pl.Trainer, interruption: Interruption) -> str:
    """The reason that training ended, in words of the field."""
    early_stopping = _find(trainer, EarlyStopping)
    reason = None if early_stopping is None else early_stopping.stopping_reason
    if reason == EarlyStoppingReason.NON_FINITE_METRIC:
        return f"diverged: {early_stopping.monitor} is not finite in epoch {trainer.current_epoch + 1}"
    if interruption.received:
        return "stopped"
    pruning = _find(trainer, Pruning)
    if pruning is not None and pruning.pruned_at is not None:
        return f"pruned at validation {pruning.pruned_at}"
    range_test = _find(trainer, LearningRateRange)
    if range_test is not None and range_test.exploded_at is not None:
        return f"the loss exploded at a learning rate of {range_test.exploded_at:.2g}"
    if reason not in (None, EarlyStoppingReason.NOT_STOPPED):
        return "converged"
    if 0 <= trainer.max_steps <= trainer.global_step:
        return "step limit"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "epoch limit"
    return "time limit" if trainer.should_stop else "ended"


def _validation_of_best(trainer: pl.Trainer, learner: Learner, data: DataModule) -> dict[str, float]:
    """The validation metrics of the best state; of the last one, where the run was too short to be validated."""
    checkpoints = _find(trainer, Checkpoints)
    if checkpoints is not None and checkpoints.best_weights is not None:
        return dict(checkpoints.best_metrics)
    if not _is_finite(learner) or not trainer.enable_validation:
        return {}
    return _evaluated(trainer.validate(learner, data, verbose=False))


def _test_best(trainer: pl.Trainer, learner: Learner, data: DataModule) -> dict[str, float]:
    """Looks at the test part, once, with the weights that validation chose."""
    checkpoints = _find(trainer, Checkpoints)
    if checkpoints is not None and checkpoints.best_weights is not None:
        learner.load_state_dict(checkpoints.best_weights)
    elif not _is_finite(learner):
        return {}
    return _evaluated(trainer.test(learner, data, verbose=False))


def _evaluated(results: Any) -> dict[str, float]:
    return {name: float(value) for name, value in results[0].items()} if results else {}


def _is_finite(learner: Learner) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in learner.parameters())


def _result(
    config: DictConfig,
    trainer: pl.Trainer,
    ended: str,
    validation_metrics: dict[str, float],
    test_metrics: dict[str, float],
) -> dict[str, Any]:
    checkpoints, divergence = _find(trainer, Checkpoints), _find(trainer, Divergence)
    has_best = checkpoints is not None and checkpoints.best_epoch is not None
    return {
        "objective": validation_metrics.get(config.monitor),
        "monitor": config.monitor,
        "mode": config.mode,
        "ended": ended,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "skipped_steps": divergence.skipped if divergence is not None else 0,
        "best_epoch": checkpoints.best_epoch if has_best else None,
        "best_step": checkpoints.best_step if has_best else None,
        "validation": validation_metrics,
        "test": test_metrics,
    }
