"""From the configuration to the parts of a run: data, learner, callbacks, loggers and Trainer."""

import inspect
import os
from typing import Any

import hydra.utils
import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mlplab.config.suggestions import nearest_name
from mlplab.data.module import DataModule
from mlplab.errors import Refusal
from mlplab.lean_loop import use_lean_loop
from mlplab.learner import Learner
from mlplab.objectives.objective import build_objective, n_outputs
from mlplab.optimization.schedules import require_known_options
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import AtomicCheckpointIO, model_card

SMALL_NETWORK = 2_000_000
"""Multiplications per step (batch rows × weights) below which a second thread costs more than it brings."""

DATA_OPTIONS = ("batch_size", "validation_fraction", "test_fraction", "split_seed")


def require_device(config: DictConfig) -> None:
    """Refuses a GPU that is not there, before any data is read.

    Raises:
        Refusal: PyTorch sees none.
    """
    accelerator = config.trainer.accelerator
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise Refusal(f"trainer.accelerator={accelerator} must find a GPU", "PyTorch sees none", "trainer=cpu")


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
    scheduler: dict[str, Any] = OmegaConf.to_container(config.scheduler, resolve=True)  # type: ignore[assignment]
    require_known_options(**scheduler)
    learner = Learner(
        model=model,
        objective=objective,
        task=task,
        optimizer=hydra.utils.instantiate(config.optimizer, _convert_="all"),
        scheduler=scheduler,
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
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
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


def _sensible_threads(data: DataModule, learner: Learner) -> int:
    """One thread for a network so small that two would mostly wait for each other."""
    rows = len(data.part("train")[1]) if data.batch_size == "full" else data.batch_size
    weights = sum(parameter.numel() for parameter in learner.model.parameters())
    return 1 if rows * weights < SMALL_NETWORK else _available_cores()


def _available_cores() -> int:
    """The cores that this process may use, where the operating system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
