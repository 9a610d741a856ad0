"""One run from its configuration to its result, from top to bottom."""

import inspect
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra.utils
import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mlplab.callbacks import Checkpoints, Divergence, Status
from mlplab.config.rules import check
from mlplab.config.suggestions import nearest_name
from mlplab.data.module import DataModule
from mlplab.errors import Refusal, RunFailed, RunStopped
from mlplab.lean_loop import use_lean_loop
from mlplab.learner import Learner
from mlplab.objectives.objective import build_objective, n_outputs
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import AtomicCheckpointIO, model_card
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import write_json
from mlplab.runs.hyperparameters import log_configuration, log_final_metrics
from mlplab.runs.interruption import Interruption, stop_on_signal
from mlplab.runs.manifest import describe_environment
from mlplab.runs.summary import describe_after, describe_before

log = logging.getLogger("mlplab")

SMALL_NETWORK = 2_000_000
"""Multiplications per step (batch rows × weights) below which a second thread costs more than it brings."""

DATA_OPTIONS = ("batch_size", "validation_fraction", "test_fraction", "split_seed")


def train(config: DictConfig) -> float:
    """Runs what the configuration says, and returns the best value of `monitor`.

    Everything that can be refused is refused before the run directory is claimed. What the run learns and what
    becomes of it is in that directory.

    Raises:
        Refusal: the configuration cannot be run.
        RunFailed: a single run diverged. In a sweep the value is NaN instead, and the next job begins.
        RunStopped: Ctrl-C; what was reached is saved.
    """
    check(config)
    _quiet()
    _require_device(config)
    directory = RunDirectory(Path(config.paths.run))
    data = build_data(config)
    data.setup()
    learner = build_learner(config, data)
    loggers = build_loggers(config)
    trainer = build_trainer(config, [*build_callbacks(config), Status(directory)], loggers, data, learner)
    if not _is_first_process():
        trainer.fit(learner, data)
        _test_best(trainer, learner, data)
        return math.nan

    directory.claim()
    with _recorded(directory):
        _write_manifest(directory, config, data, learner)
        print(describe_before(data, learner.model, directory.path), flush=True)
        log_configuration(loggers, config)

        directory.begin_phase("fit")
        with stop_on_signal(trainer) as interruption:
            trainer.fit(learner, data)
        ended = why_it_ended(trainer, interruption)

        directory.begin_phase("test")
        validation_metrics = _validation_of_best(trainer, learner, data, interruption.received is not None)
        test_metrics = {} if interruption.received else _test_best(trainer, learner, data)
        result = _result(config, trainer, ended, validation_metrics, test_metrics)
        write_json(directory.path / "result.json", result)
        log_final_metrics(loggers, config, directory.tensorboard, result)
        directory.update(epoch=result["epochs"], step=result["steps"])
        has_tensorboard = any(isinstance(logger, TensorBoardLogger) for logger in loggers)
        print(describe_after(result, directory.path, has_tensorboard=has_tensorboard), flush=True)

        if interruption.received:
            reached = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
            raise RunStopped(f"stopped by {interruption.name} in {reached}; all of it is saved", interruption.status)
        if ended.startswith("diverged"):
            message = f"{ended}; try a smaller optimizer.lr, or trainer.gradient_clip_val=1"
            if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
                directory.end("failed", message)
                log.warning(message)
                return math.nan
            raise RunFailed(message)
        directory.end("finished", ended)
    return result["objective"] if result["objective"] is not None else math.nan


# --- from configuration to parts ---------------------------------------------------------------------------


def build_data(config: DictConfig) -> DataModule:
    """The data module: options of the split and the batches are its own, the rest belongs to the source."""
    options = {name: config.data[name] for name in DATA_OPTIONS}
    source = {name: value for name, value in config.data.items() if name not in (*DATA_OPTIONS, "task")}
    _require_accepted("data", source)
    return DataModule(lambda: hydra.utils.instantiate(source, _convert_="all"), seed=config.seed, **options)


def build_learner(config: DictConfig, data: DataModule) -> Learner:
    """The network, freshly initialised from the seed, with its loss and optimizer."""
    task = data.task
    loss: dict[str, Any] = OmegaConf.to_container(config.loss, resolve=True)  # type: ignore[assignment]
    objective = build_objective(task=task, class_counts=data.class_counts, **loss)
    model_config: dict[str, Any] = OmegaConf.to_container(config.model, resolve=True)  # type: ignore[assignment]
    seed_generators(derive_seed(config.seed, "initialization"))
    shapes = {"in_features": task.n_features, "out_features": n_outputs(objective, task)}
    _require_accepted("model", {**model_config, **shapes})
    model: nn.Module = hydra.utils.instantiate(model_config, **shapes, _convert_="all")
    _require_accepted("optimizer", config.optimizer)
    learner = Learner(
        model=model,
        objective=objective,
        task=task,
        optimizer=hydra.utils.instantiate(config.optimizer, _convert_="all"),
        scheduler=OmegaConf.to_container(config.scheduler, resolve=True),  # type: ignore[arg-type]
        l1=config.regularization.l1,
        l2=config.regularization.l2,
        penalised=list(config.regularization.applies_to),
        monitor=config.monitor,
        mode=config.mode,
        seed=config.seed,
    )
    learner.card = model_card(
        model, model_config, task=task, preprocessing=data.preprocessor, loss=objective.function.__name__
    )
    return learner


def build_callbacks(config: DictConfig) -> list[Callback]:
    """The callbacks of conf/callbacks, in the order of the file."""
    nodes = (config.get("callbacks") or {}).values()
    return [hydra.utils.instantiate(node, _convert_="all") for node in nodes if node]


def build_loggers(config: DictConfig) -> list[Logger]:
    """The loggers of conf/logger.

    Raises:
        Refusal: one of them needs a package that is not installed.
    """
    try:
        nodes = (config.get("logger") or {}).values()
        return [hydra.utils.instantiate(node, _convert_="all") for node in nodes if node]
    except Exception as error:
        cause = error.__cause__ or error
        if not isinstance(cause, ModuleNotFoundError):
            raise
        names = ", ".join(config.logger)
        raise Refusal(
            f"logger={names} must have its package installed",
            str(cause).splitlines()[0],
            f'pip install -c constraints.txt -e ".[{names}]"',
        ) from None


def build_trainer(
    config: DictConfig, callbacks: list[Callback], loggers: list[Logger], data: DataModule, learner: Learner
) -> pl.Trainer:
    """Lightning's Trainer with the flags of conf/trainer."""
    flags: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    threads = flags.pop("threads")
    torch.set_num_threads(_sensible_threads(data, learner) if threads == "auto" else threads)
    accepted = inspect.signature(pl.Trainer).parameters
    unknown = [name for name in flags if name not in accepted]
    if unknown:
        near = nearest_name(unknown[0], sorted(accepted)) or "max_epochs"
        raise Refusal("trainer must be given flags of Lightning's Trainer", f"trainer.{unknown[0]}", f"trainer.{near}")
    # A gradient clipped to 0 would be no gradient: Lightning takes 0 as "no clipping".
    try:
        trainer = pl.Trainer(
            **flags,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # the batches know their process
            enable_model_summary=False,
            # Left to itself, Lightning adds a way of its own to write checkpoints where it finds none.
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            default_root_dir=config.paths.run,
        )
    except (
        TypeError,
        ValueError,
        RuntimeError,
        MisconfigurationException,
    ) as error:  # what Lightning raises for flags it cannot take
        raise Refusal("trainer must be given flags that fit", str(error).splitlines()[0], "trainer=auto") from error
    use_lean_loop(trainer)
    return trainer


def _require_accepted(group: str, node: Any) -> None:
    """Refuses an option that what `_target_` names does not take, before anything is built.

    Raises:
        Refusal: for the first such option, with those that it takes.
    """
    target = node.get("_target_")
    if target is None:
        raise Refusal(
            f"{group} must name what it builds",
            f"conf/{group} without _target_",
            f"_target_: package.{group}",
        )
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters
    except Exception as error:
        raise Refusal(
            f"{group}._target_ must be importable",
            f"{target}: {error.__cause__ or error}",
            "the full dotted name",
        ) from None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [str(name) for name in node if not str(name).startswith("_") and name not in parameters]
    if unknown:
        raise Refusal(
            f"{group} must be given options that {target} takes",
            f"{group}.{unknown[0]}={node[unknown[0]]}",
            ", ".join(parameters),
        )


# --- the surroundings of a run -----------------------------------------------------------------------------


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
    # Of a run that diverges, which says so itself.
    warnings.filterwarnings("ignore", message=".*Encountered `nan` values in tensor.*")
    warnings.filterwarnings("ignore", message="GPU available but not used.*")


def _require_device(config: DictConfig) -> None:
    accelerator = config.trainer.accelerator
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise Refusal(f"trainer.accelerator={accelerator} must find a GPU", "PyTorch sees none", "trainer=cpu")


def _sensible_threads(data: DataModule, learner: Learner) -> int:
    """One thread for a network so small that two would mostly wait for each other."""
    rows = len(data.part("train")[1]) if data.batch_size == "full" else data.batch_size
    weights = sum(parameter.numel() for parameter in learner.model.parameters())
    return 1 if rows * weights < SMALL_NETWORK else os.cpu_count() or 1


@contextmanager
def _recorded(directory: RunDirectory) -> Iterator[None]:
    """Writes train.log, and the state in which the run ends, however it ends."""
    handler = logging.FileHandler(directory.path / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("mlplab", "lightning.pytorch", "py.warnings")]
    for logger in loggers:
        logger.addHandler(handler)
    log.setLevel(logging.INFO)
    logging.captureWarnings(False)
    try:
        yield
    except RunStopped as stopped:
        directory.end("stopped", str(stopped))
        raise
    except KeyboardInterrupt:
        directory.end("stopped", "Ctrl-C, before anything was saved")
        raise
    except RunFailed as failed:
        directory.end("failed", str(failed))
        raise
    except BaseException as error:
        log.exception("the run failed")
        directory.end("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _write_manifest(directory: RunDirectory, config: DictConfig, data: DataModule, learner: Learner) -> None:
    """Saves what was asked (.hydra/) and what it is made of (manifest.json)."""
    root = Path(OmegaConf.create({"root": "${project_root:}"}).root)
    write_json(
        directory.path / "manifest.json",
        {
            **describe_environment(root),
            "seed": config.seed,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "rows": {part: len(data.part(part)[1]) for part in ("train", "val", "test")},
            },
            "parameters": sum(parameter.numel() for parameter in learner.model.parameters()),
        },
    )
    asked = directory.path / ".hydra"
    asked.mkdir(exist_ok=True)
    OmegaConf.save(config, asked / "config.yaml")
    if HydraConfig.initialized():  # not when called from a notebook or a test
        OmegaConf.save(OmegaConf.create({"hydra": HydraConfig.get()}), asked / "hydra.yaml")
        OmegaConf.save(HydraConfig.get().overrides.task, asked / "overrides.yaml")


# --- after training ----------------------------------------------------------------------------------------


def _find(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]


def why_it_ended(trainer: pl.Trainer, interruption: Interruption) -> str:
    """The reason that training ended, in words of the field."""
    divergence, early_stopping = _find(trainer, Divergence), _find(trainer, EarlyStopping)
    if divergence is not None and divergence.reason:
        return f"diverged: {divergence.reason}"
    reason = None if early_stopping is None else early_stopping.stopping_reason
    if reason == EarlyStoppingReason.NON_FINITE_METRIC:
        return f"diverged: {early_stopping.monitor} is not finite in epoch {trainer.current_epoch}"
    if interruption.received:
        return "stopped"
    if reason not in (None, EarlyStoppingReason.NOT_STOPPED):
        return "converged"
    if 0 <= trainer.max_steps <= trainer.global_step:
        return "step limit"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "epoch limit"
    return "time limit" if trainer.should_stop else "ended"


def _validation_of_best(trainer: pl.Trainer, learner: Learner, data: DataModule, interrupted: bool) -> dict[str, float]:
    """The validation metrics of the best state; of the last one, where the run was too short to be validated."""
    checkpoints = _find(trainer, Checkpoints)
    if checkpoints is not None and checkpoints.best_weights is not None:
        return dict(checkpoints.best_metrics)
    if interrupted or not _is_finite(learner) or not trainer.enable_validation:
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
    checkpoints = _find(trainer, Checkpoints)
    has_best = checkpoints is not None and checkpoints.best_epoch is not None
    return {
        "objective": validation_metrics.get(config.monitor),
        "monitor": config.monitor,
        "mode": config.mode,
        "ended": ended,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "best_epoch": checkpoints.best_epoch if has_best else None,
        "best_step": checkpoints.best_step if has_best else None,
        "validation": validation_metrics,
        "test": test_metrics,
    }
