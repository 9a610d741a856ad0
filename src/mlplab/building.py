"""Builds the parts of a run from its configuration: data, learner, callbacks, loggers and Trainer."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch import profilers
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mlplab.callbacks.compatibility import FINDERS, require_compatible
from mlplab.config.checks import direction_of, require_metric
from mlplab.config.commands import install, typed_overrides
from mlplab.config.resolvers import without_secrets
from mlplab.config.trainer_flags import PROFILERS
from mlplab.data.dataset import Dataset
from mlplab.data.module import DataModule, Source
from mlplab.data.own_data import OwnData
from mlplab.engine.attach import attach
from mlplab.engine.compiling import compile_network
from mlplab.errors import RunStopped, UserError
from mlplab.instantiation import accepted_options, class_of, instantiate, is_data_module, plain_values
from mlplab.learner import Learner
from mlplab.learner_parts import (
    build_metrics,
    build_network,
    build_own_objective,
    build_scheduler,
    require_network,
    try_objective,
)
from mlplab.models import MLP
from mlplab.models.inputs import WithInputs
from mlplab.network_inputs import build_augmentation, embed_numbers, input_layer_of, take_embedding
from mlplab.objectives.objective import build_objective, n_outputs
from mlplab.optimization.max_norm import incoming_weights
from mlplab.optimization.optimizers import OptimizerFactory, build_optimizer
from mlplab.optimization.parameter_groups import freeze
from mlplab.own_code import DATA_OPTIONS, require_read
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import AtomicCheckpointIO, model_card
from mlplab.runs.processes import environment_of
from mlplab.runs.summary import print_if_verbose
from mlplab.trainer_settings import first_batch, flag_error, set_threads_per_process, use_threads

ROWS_TO_INITIALIZE_FROM = 10_000
"""Maximum of training rows for `initialize_from`: enough to know their statistics to about a hundredth."""

PATHS = {"path", "test_path", "directory"}
"""Options of data sources that name files or folders."""


def build_data(
    config: DictConfig, trained: Callable[[], Mapping[str, Any] | None] | None = None
) -> DataModule | OwnData:
    """Builds the data module: the project's or the user's.

    The project's takes `DATA_OPTIONS` itself; all other options go to the data source.

    Args:
        config: as conf/ composes it.
        trained: reads the card of the run to resume, so that a table keeps its column types.

    Raises:
        UserError: the user's own modules would ignore an option that was typed.
    """
    require_read(config, typed_overrides())
    if is_data_module(config.data.get("_target_")):
        return _build_own_data(config)
    options = {name: config.data[name] for name in DATA_OPTIONS if name in config.data}
    # A source gets its own options only: its signature decides which ones it accepts.
    source = {name: value for name, value in plain_values(config.data).items() if name not in DATA_OPTIONS}
    task = source.pop("task", "auto")
    accepted = accepted_options("data", source)
    if "task" in accepted:  # only tables can be either classification or regression
        source["task"] = task

    def read() -> Source:
        card = trained() if trained and "trained" in accepted else None
        dataset = instantiate("data", source if card is None else {**source, "trained": card})
        if not (isinstance(dataset, Dataset) or hasattr(dataset, "inputs")):
            raise UserError(
                "data._target_ must return a Dataset of data/dataset.py",
                f"{source['_target_']} returned {type(dataset).__name__}",
                "Dataset(name, features, targets)",
            )
        # Each label is a binary classification.
        if task not in ("auto", "classification" if dataset.kind == "multilabel" else dataset.kind):
            raise UserError(f"data.task must fit the data: {dataset.kind}", f"data.task={task}", "data.task=auto")
        return dataset  # type: ignore[no-any-return]

    data = DataModule(read, seed=config.seed, **options)
    plain = {name: value for name, value in source.items() if name != "_target_"}
    for name in PATHS & plain.keys():  # absolute, as the checkpoint may be used from another folder
        plain[name] = plain[name] and str(Path(plain[name]).expanduser().absolute())
    data.origin = {"source": source["_target_"], "options": plain, "split": options}
    return data


def _build_own_data(config: DictConfig) -> OwnData:
    """Builds the user's LightningDataModule; passes those of `DATA_OPTIONS` that it has arguments for."""
    given = plain_values(config.data)
    accepted = accepted_options("data", {n: v for n, v in given.items() if n not in (*DATA_OPTIONS, "task")})
    # Others were refused, or are taken as **options.
    left = {*DATA_OPTIONS, "task"} - {*accepted}
    options = {name: value for name, value in given.items() if name not in left}
    return OwnData(instantiate("data", options), options, int(config.seed))


def build_learner(config: DictConfig, data: DataModule | OwnData) -> Learner:
    """Builds the learner: a network initialised from the seed, its loss, optimizer and schedule."""
    task = data.task
    own_metrics = plain_values(config.metrics) if config.get("metrics") else {}
    if not config.get("module"):  # the user's own module monitors what it logs
        require_metric("monitor", config.monitor, config.mode, task.kind, list(own_metrics))
    _require_defined_metrics(config, data)
    has_weights = any(weights is not None for weights in data.weights.values())
    loss = plain_values(config.loss)
    counted: dict[str, Any] = {"class_counts": data.class_counts, "has_weights": has_weights}
    own = loss.get("_target_") is not None
    objective = build_own_objective(loss, task, **counted) if own else build_objective(task=task, **loss, **counted)
    if task.kind == "regression" and loss.get("name") == "auto" and loss.get("label_smoothing"):
        print_if_verbose(config, "note    loss.label_smoothing is of classes and labels: a regression has none")
    scheduler = build_scheduler(plain_values(config.scheduler))
    watched = scheduler.pop("monitor", None)  # of the user's own schedule
    good = config.mode if watched is None else direction_of("scheduler.monitor", watched, task.kind, list(own_metrics))
    model_config = plain_values(config.model)
    frozen = model_config.pop("freeze", None) or []
    compiled = model_config.pop("compile", False)  # not part of the architecture, so not passed to the network
    embedding = take_embedding(model_config)
    # Everything that follows draws from this seed: first the embeddings of the input layer, then the network.
    seed_generators(derive_seed(config.seed, "initialization"))
    columns = input_layer_of(config, data)
    inputs = columns if embedding is None else embed_numbers(columns, embedding, data)
    widths = [1] * task.n_features if inputs is None else inputs.column_widths
    # The widths follow from the data, so the configuration never has to repeat them.
    out_features = n_outputs(objective.name, task)
    if model_config.get("scaling_initialization") == "auto":
        model_config["scaling_initialization"] = "random_signs" if embedding is None else "normal"
    with _one_thread():  # the last bits of orthogonal initialization depend on the number of threads
        require_network(str(model_config["_target_"]))
        model = build_network(model_config, widths=widths, out_features=out_features, task=task)
        # A network may look at training rows before its first step.
        initialize_from = getattr(model, "initialize_from", None)
        if inputs is not None and isinstance(model, nn.Module):
            model = WithInputs(inputs, model)
        if isinstance(model, MLP) and data.part("train")[0].ndim > 2:
            model = WithInputs(nn.Flatten(), model)  # images from the user's LightningDataModule
        if initialize_from is not None:
            features = data.part("train")[0]
            features = features[torch.randperm(len(features))[:ROWS_TO_INITIALIZE_FROM]]
            with torch.no_grad():
                initialize_from(features if inputs is None else inputs(features))
        if isinstance(model, nn.Module):
            freeze(model, frozen)
        outputs = _outputs(model, model_config, data, out_features)
    metrics = {}
    if outputs is not None:  # an error of the network's code is raised by training, with its traceback
        targets, weights = data.part("train")[1][: len(outputs)], data.weights["train"]
        if own:
            try_objective(objective, outputs, targets, *([] if weights is None else [weights[: len(outputs)]]))
        metrics = build_metrics(own_metrics, task, outputs, targets, config.monitor, config.mode)
    compile_seconds = compile_network(model, first_batch(data)) if compiled else 0.0
    learner = Learner(
        model=model,
        objective=objective,
        task=task,
        optimizer=_optimizer_factory(config, model),
        scheduler=scheduler,
        l1=config.regularization.l1,
        l2=config.regularization.l2,
        applies_to=list(config.regularization.applies_to),
        groups=_groups_of(config),
        monitor=watched or config.monitor,
        mode=good or config.mode,
        max_norm=_max_norm(config, model),
        augmentation=build_augmentation(config, data, model),
        seed=config.seed,
        metrics=metrics,
    )
    learner.compile_seconds = compile_seconds
    learner.card = model_card(
        model,
        model_config,
        task=task,
        preprocessing=data.preprocessor,
        objective=objective,
        loss_config=loss,
        metrics=own_metrics,
        data=data.as_dict(),
        precision=str(config.trainer.precision),
    )
    return learner


def _require_defined_metrics(config: DictConfig, data: DataModule | OwnData) -> None:
    """Refuses to monitor val/auroc where all validation rows are of one class.

    Raises:
        UserError: it would be NaN in every epoch.
    """
    monitored = {"monitor": config.monitor}
    for name, node in (config.get("callbacks") or {}).items():
        monitored[f"callbacks.{name}.monitor"] = (node or {}).get("monitor")
    targets = data.part("val")[1]
    for key, metric in monitored.items():
        # With several labels, one that varies is enough.
        if metric == "val/auroc" and bool((targets == targets[0]).all()):
            one = f"of class {data.task.class_names[int(targets[0])]!r}" if data.task.class_names else "alike"
            raise UserError(
                f"{key}=val/auroc must have validation rows of two classes",
                f"all {len(targets)} are {one}",
                "monitor=val/loss mode=min, or a larger data.validation_fraction",
            )


TRIED_ROWS = 64
"""Number of rows for trying a network and the user's own losses and metrics."""


def _outputs(
    model: Any, model_config: Mapping[str, Any], data: DataModule | OwnData, n_outputs: int
) -> torch.Tensor | None:
    """Passes a few rows through the network in evaluation mode, and checks the shape of the outputs: -> (n, C).

    Returns:
        None if the network's own code fails.

    Raises:
        UserError: `model` is no module, or its outputs do not have the shape (B, `n_outputs`).
    """
    target = model_config["_target_"]
    if not isinstance(model, nn.Module):
        raise UserError(
            "model must be an nn.Module",
            f"{target} built {type(model).__name__}",
            "a class that extends torch.nn.Module",
        )
    # Real rows, as a network may depend on their dtype.
    rows = data.part("train")[0][:TRIED_ROWS]
    # In evaluation mode dropout draws no random numbers, and running statistics stay.
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(rows)
    except (KeyboardInterrupt, RunStopped):
        raise
    except BaseException:
        return None  # an error in the network's code: training raises it again, and logs its traceback
    finally:
        model.train()
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(rows), n_outputs):
        raise UserError(
            f"the network's outputs must have shape (B, {n_outputs})",
            f"{target} gave {shape} for {len(rows)} rows",
            "out_features as the width of its last layer",
        )
    return outputs  # type: ignore[no-any-return]


def _max_norm(config: DictConfig, model: nn.Module) -> float | None:
    """Returns the limit of a unit's incoming weights.

    Raises:
        UserError: the network has no weights to limit.
    """
    # Configurations of earlier releases have none.
    max_norm: float | None = config.regularization.get("max_norm")
    if max_norm is not None and not incoming_weights(model):
        raise UserError(
            "regularization.max_norm must be given for a network with layers of torch.nn.Linear",
            f"{type(model).__name__} has none",
            "regularization.max_norm=null",
        )
    return max_norm


def _optimizer_factory(config: DictConfig, model: nn.Module) -> OptimizerFactory:
    """Builds the optimizer without its parameters. Tries it once, so that a bad option is refused before the run."""
    options: Any = OmegaConf.to_container(config.optimizer, resolve=True, throw_on_missing=True)
    options.pop("groups", None)
    accepted_options("optimizer", options)
    options["_partial_"] = True  # its parameters come later
    precision = str(config.trainer.precision)
    # PyTorch 2.13: with 16-bit weights, fused SGD reads momentum buffers before they are initialised.
    loses_momentum = options["_target_"] == "torch.optim.SGD" and precision in ("bf16-true", "16-true")
    # Lightning clips no gradients that a fused optimizer would still have to unscale.
    cannot_clip = bool(config.trainer.gradient_clip_val) and precision in ("bf16-mixed", "16-mixed")
    if options.get("fused") and (loses_momentum or cannot_clip):
        options["fused"] = False
    factory: OptimizerFactory = instantiate("optimizer", options)
    # Only its errors matter: Lightning builds the optimizer that trains, when the weights are on their device.
    build_optimizer(factory, model, applies_to=list(config.regularization.applies_to), groups=_groups_of(config))
    return factory


def _groups_of(config: DictConfig) -> list[dict[str, Any]]:
    groups = config.optimizer.get("groups")
    return OmegaConf.to_container(groups, resolve=True) if groups else []  # type: ignore[return-value]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build_callbacks(config: DictConfig) -> list[Callback]:
    """Builds the callbacks of conf/callbacks, in the order of the file.

    Progress bars are disabled in the jobs of a sweep, which shows the progress of all its jobs.
    """
    # Bars of parallel jobs would overwrite one another on the terminal.
    is_job = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    callbacks = []
    for name, node in (config.get("callbacks") or {}).items():
        if not node:  # callbacks.NAME=null removes one
            continue
        accepted_options(f"callbacks.{name}", node)
        callback = instantiate(f"callbacks.{name}", node)
        if not isinstance(callback, Callback):
            raise UserError(
                f"callbacks.{name} must build a Callback",
                f"{node.get('_target_')} built {type(callback).__name__}",
                "a class that extends lightning.pytorch.callbacks.Callback",
            )
        if isinstance(callback, FINDERS):  # it has found its value before
            continue
        if (is_job or not config.get("verbose", True)) and isinstance(callback, ProgressBar):
            callback.disable()
        callbacks.append(callback)
    return callbacks


def build_loggers(config: DictConfig) -> list[Logger]:
    """Builds the loggers of conf/logger.

    Raises:
        UserError: one of them needs a package that is not installed, or does not take an option.
    """
    nodes = {f"logger.{name}": node for name, node in (config.get("logger") or {}).items() if node}
    printed = without_secrets(config, ("logger",))["logger"] if nodes else {}
    for name, node in nodes.items():
        if class_of(node.get("_target_")) is not None:  # else building it tells why
            # Values from the environment are not shown, and None is possible for any type.
            options = printed[name.removeprefix("logger.")].items()
            accepted_options(name, {key: None if "${" in str(value) else value for key, value in options})
    try:
        return [instantiate(name, node) for name, node in nodes.items()]
    except UserError as error:
        cause = error.__cause__ or error
        if not isinstance(cause, ModuleNotFoundError):
            raise
        names = ", ".join(config.logger)
        raise UserError(
            f"logger={names} must have its package installed",
            str(cause).splitlines()[0],
            install(names),
        ) from None


def build_trainer(
    config: DictConfig,
    callbacks: list[Callback],
    loggers: list[Logger],
    data: DataModule | OwnData,
    learner: pl.LightningModule,
) -> pl.Trainer:
    """Builds Lightning's Trainer from conf/trainer, for a learner and its data."""
    require_compatible(callbacks, loggers, learner)
    use_threads(config, data, learner)
    flags = _fitting_flags(config, data)
    # Without a bar among the callbacks, Lightning would draw its own.
    if flags.get("enable_progress_bar") is None:
        flags["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not flags["enable_progress_bar"]:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    environment = environment_of(config)
    try:
        trainer = pl.Trainer(
            **flags,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[AtomicCheckpointIO(), *environment],
            use_distributed_sampler=not isinstance(data, DataModule),  # `Batches` shares rows between processes itself
            # `describe_before` prints a summary of its own.
            enable_model_summary=False,
            # Lightning would add a ModelCheckpoint of its own if there is no checkpoint callback.
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            default_root_dir=config.paths.run,
        )
    except Exception as error:  # a value of the wrong type can cause any error in there
        keys = [callback.state_key for callback in callbacks]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None and "state_key" in str(error):
            raise UserError(
                "callbacks must differ in their class or in what they watch, as checkpoints tell them apart by these",
                f"there are two of {twice}",
                "leaving one of them out",
            ) from error
        raise flag_error("trainer must be given flags that fit", error, flags) from error
    set_threads_per_process(config, trainer)
    # Configurations of earlier releases have no engine.
    is_own = not (isinstance(learner, Learner) and isinstance(data, DataModule))
    engine = OmegaConf.select(config, "engine.name", default="fast")
    attach(trainer, learner, engine=engine, seed=int(config.seed) if is_own else None)
    return trainer


def _fitting_flags(config: DictConfig, data: DataModule | OwnData) -> dict[str, Any]:
    """Returns the flags of conf/trainer.

    Raises:
        UserError: one does not fit the data. Lightning would notice only after the run directory is claimed.
    """
    flags = plain_values(config.trainer)
    # `threads` is PyTorch's setting, which no Trainer accepts.
    del flags["threads"]
    interval = flags.get("val_check_interval")
    n_batches = len(data.train_dataloader()) if isinstance(data, DataModule) else math.inf
    # Lightning checks this too, but only in `fit`, after the run directory is claimed.
    if isinstance(interval, int) and interval > n_batches and flags.get("check_val_every_n_epoch") is not None:
        raise UserError(
            f"trainer.val_check_interval must not exceed the {n_batches} batches of an epoch",
            f"trainer.val_check_interval={interval}",
            f"trainer.val_check_interval={n_batches}, or with trainer.check_val_every_n_epoch=null",
        )
    share = flags.get("overfit_batches") or 0
    if isinstance(share, float) and 0 < share < 1 and isinstance(data, DataModule):
        # Lightning takes the same share of the validation, here a batch or two.
        raise UserError(
            "trainer.overfit_batches must be a number of batches", f"trainer.overfit_batches={share}",
            f"trainer.overfit_batches={max(1, round(share * n_batches))}",
        )  # fmt: skip
    if flags.get("profiler") is not None:
        # Without a file, Lightning writes profiles to its log, which `silence_lightning` silences.
        kind = getattr(profilers, PROFILERS[flags["profiler"]])
        flags["profiler"] = kind(dirpath=Path(config.paths.run) / "profile", filename="profile")
    return flags
