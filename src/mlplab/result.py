"""Evaluates the best state of a trained run, says why training ended, and writes result.json."""

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig

from mlplab.callbacks import Calibration, Checkpoints, NonFiniteGuard, OwnModule
from mlplab.callbacks.checkpoints import Best
from mlplab.callbacks.pruned_weights import remove_masks
from mlplab.config.paths import shortest
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import Diverged, RunStopped
from mlplab.loggers.hyperparameters import log_final_metrics
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import write_json
from mlplab.runs.interruption import Interruption
from mlplab.runs.memory import explain_out_of_memory
from mlplab.runs.run_reading import found_before
from mlplab.runs.summary import log_result, print_if_verbose


def evaluate_best(
    config: DictConfig,
    directory: RunDirectory,
    trainer: pl.Trainer,
    learner: pl.LightningModule,
    data: DataModule | OwnData,
    loggers: list[Logger],
    divergence: Diverged | None,
    interruption: Interruption,
) -> dict[str, Any]:
    """Evaluates the best state on validation and test part; writes and returns the content of result.json.

    Raises:
        Diverged: training diverged, and `on_divergence` is `raise`.
    """
    # The user may have removed the callback from conf/callbacks.
    checkpoints = _find(trainer, Checkpoints)
    if checkpoints is not None:
        directory.add_seconds("checkpoints", checkpoints.seconds)
    compile_seconds = getattr(learner, "compile_seconds", 0.0)
    if compile_seconds:
        directory.add_seconds("compile", compile_seconds)
    if divergence is not None and config.on_divergence == "raise":
        raise divergence
    # The reason alone: the advice that follows it belongs in the error message.
    ended = str(divergence).partition("; try")[0] if divergence else stop_reason(trainer, interruption)
    if not config.get("train", True):
        ended = "not trained"

    directory.begin_phase("test")
    is_interrupted = interruption.received is not None
    # Without a best state, the last one is evaluated unless the run diverged or was interrupted.
    can_be_evaluated = _best_of(trainer) is not None or not (is_interrupted or ended.startswith("diverged"))
    with explain_out_of_memory(data):
        validation_metrics = validation_of_best(trainer, learner, data) if can_be_evaluated else {}
        # An interrupted run may be resumed, and the test part is to be used once.
        is_tested = can_be_evaluated and not is_interrupted and config.get("test", True)
        test_metrics = test_best(trainer, learner, data) if is_tested else {}
    if can_be_evaluated and (missing := _why_not_evaluated("val", learner, data)):
        print_if_verbose(config, f"note    no validation, so the last weights count: {missing}")
    if is_tested and (missing := _why_not_evaluated("test", learner, data)):
        print_if_verbose(config, f"note    no test: {missing}")
    best, guard, calibration = _best_of(trainer), _find(trainer, NonFiniteGuard), _find(trainer, Calibration)
    result = {
        # A LightningModule of one's own may have no validation, and monitor a value of training.
        "objective": validation_metrics.get(config.monitor, _logged(trainer, config.monitor)),
        "monitor": config.monitor,
        "mode": config.mode,
        "ended": ended,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "skipped_steps": guard.skipped if guard is not None else 0,
        "best_epoch": best.epoch if best is not None else None,
        "best_step": best.step if best is not None else None,
        "validation": validation_metrics,
        "test": test_metrics,
    }
    found = found_before(directory.path)
    if found:
        result["found"] = found
    if calibration is not None and calibration.summary:
        result["calibration"] = calibration.summary
    # The file first: it is there even if a logger raises.
    write_json(directory.path / "result.json", result)
    log_final_metrics(loggers, config, result)
    directory.note(epoch=result["epochs"], step=result["steps"])
    log_result(result)
    return result


def mark_finished(
    directory: RunDirectory, result: dict[str, Any], divergence: Diverged | None, interruption: Interruption
) -> None:
    """Marks the run as finished in status.json.

    Raises:
        RunStopped: a signal interrupted the run.
        Diverged: the loss, a gradient or the monitored value was not finite.
    """
    ended = result["ended"]
    if interruption.received:
        reached = f"epoch {result['epochs']}, step {result['steps']}"
        message = f"stopped by {interruption.name} in {reached}; all of it is saved"
        raise RunStopped(f"{message}; resume={shortest(directory.path)} goes on", interruption.status)
    if ended.startswith("diverged"):
        raise divergence or Diverged(f"{ended}; try a smaller optimizer.lr, or trainer.gradient_clip_val=1")
    # Sweeps and searches read the flag, to tell pruned trials from those that ran to their end.
    directory.end("finished", ended, **({"pruned": True} if ended.startswith("pruned") else {}))


def sweep_objective(result: dict[str, Any]) -> float:
    """Returns the best value of `monitor`, by which a sweep compares runs; NaN if there is none."""
    return math.nan if result["objective"] is None else float(result["objective"])


def _find(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]


def _best_of(trainer: pl.Trainer) -> Best | None:
    """Returns the best state of the run; None if none was kept."""
    checkpoints = _find(trainer, Checkpoints)
    return checkpoints.best if checkpoints is not None and checkpoints.best.weights is not None else None


def stop_reason(trainer: pl.Trainer, interruption: Interruption) -> str:
    """Returns why training ended: "epoch limit", "converged", "diverged: …" and so on."""
    # In order of importance: a run that diverged may also have reached a limit.
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stopped = {c.stopping_reason: c.monitor for c in callbacks if isinstance(c, EarlyStopping)}
    if EarlyStoppingReason.NON_FINITE_METRIC in stopped:
        monitor = stopped[EarlyStoppingReason.NON_FINITE_METRIC]
        return f"diverged: {monitor} is not finite in epoch {trainer.current_epoch + 1}"
    if interruption.received:
        return "stopped"
    # A callback may say why it has stopped the run.
    told = [reason for one in callbacks if (reason := getattr(one, "stop_reason", None)) is not None]
    if told:
        return str(told[0])
    if stopped.keys() - {EarlyStoppingReason.NOT_STOPPED}:
        return "converged"
    if 0 <= trainer.max_steps <= trainer.global_step:  # -1 is no limit
        return "step limit"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "epoch limit"
    # A callback of the user's may stop the run, too.
    times = [one.time_remaining() for one in callbacks if isinstance(one, Timer)]
    if any(time is not None and time <= 0 for time in times):
        return "time limit"
    return "stopped by a callback" if trainer.should_stop else "ended"


def validation_of_best(
    trainer: pl.Trainer, learner: pl.LightningModule, data: DataModule | OwnData
) -> dict[str, float]:
    """Returns the validation metrics of the best state, or of the last one if the run never validated.

    A callback may replace the weights at the end of training, as weight averaging does. Such weights are validated
    here, and become the best state if their score is better.
    """
    checkpoints, best = _find(trainer, Checkpoints), _best_of(trainer)
    if best is not None and not checkpoints.has_other_weights:
        return dict(best.metrics)
    metrics: dict[str, float] = {}
    # Without training, `trainer.enable_validation` is false.
    if _is_finite(learner) and trainer.limit_val_batches and _why_not_evaluated("val", learner, data) is None:
        # Lightning logs to `trainer.loggers` whatever it validates.
        loggers = trainer.loggers
        if best is not None:
            trainer.loggers = []  # the curves already have a point at this step
        metrics = _evaluated(trainer.validate(learner, data.module, verbose=False))
        trainer.loggers = loggers
    if best is None:
        return metrics
    checkpoints.consider(trainer, learner, metrics, trainer.current_epoch)
    checkpoints.write_best(trainer, learner)
    return dict(checkpoints.best.metrics)


def test_best(trainer: pl.Trainer, learner: pl.LightningModule, data: DataModule | OwnData) -> dict[str, float]:
    """Evaluates the test part, once, with the best weights by validation."""
    best = _best_of(trainer)
    if best is not None and best.weights is not None:
        # Before loading, as the stored weights have their usual names, without masks.
        remove_masks(learner)
        learner.load_state_dict(best.weights)
    elif not _is_finite(learner):
        return {}
    if _why_not_evaluated("test", learner, data):
        return {}
    return _evaluated(trainer.test(learner, data.module, verbose=False))


def _why_not_evaluated(part: str, learner: pl.LightningModule, data: DataModule | OwnData) -> str | None:
    """Returns why the user's own module or data cannot be tested, or validated; None if they can."""
    step = "validation_step" if part == "val" else "test_step"
    owners: tuple[tuple[object, str, type], ...] = (
        (learner, step, pl.LightningModule), (data.module, f"{part}_dataloader", pl.LightningDataModule),
    )  # fmt: skip
    missing = [(owner, name) for owner, name, parent in owners if not is_overridden(name, owner, parent)]
    return f"{type(missing[0][0]).__name__} has no {missing[0][1]}" if missing else None


def _logged(trainer: pl.Trainer, name: str) -> float | None:
    is_own = _find(trainer, OwnModule) is not None
    return float(trainer.callback_metrics[name]) if is_own and name in trainer.callback_metrics else None


def _evaluated(results: Any) -> dict[str, float]:
    return {name: float(value) for name, value in results[0].items()} if results else {}


def _is_finite(learner: pl.LightningModule) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in learner.parameters())
