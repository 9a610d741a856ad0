"""Builds the parts of a run from its configuration: data, learner, callbacks, loggers and Trainer."""

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch import profilers
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mlplab.augmentation import Augmentation, RandomShift
from mlplab.callbacks.compatibility import FINDERS, require_compatible
from mlplab.callbacks.own_module import OwnModule
from mlplab.callbacks.pruning import Pruning
from mlplab.config.checks import direction_of, require_metric
from mlplab.config.commands import install
from mlplab.config.trainer_flags import PROFILERS
from mlplab.data.dataset import Dataset
from mlplab.data.module import DataModule, ExpandedDataModule, Source
from mlplab.data.own_data import OwnData
from mlplab.data.preprocessing import ScalePixels
from mlplab.engine.attach import attach
from mlplab.engine.compiling import compile_network
from mlplab.errors import RunFailed, RunStopped, UserError
from mlplab.instantiation import accepted_options, instantiate, is_data_module
from mlplab.learner import Learner
from mlplab.models import MLP
from mlplab.models.bins import N_BINS, quantile_edges, tree_edges
from mlplab.models.inputs import InputLayer, PixelInputs, WithInputs, build_inputs
from mlplab.models.mlp_options import EMBEDDING_RULES, require_embedding_options
from mlplab.models.numeric_embeddings import EmbeddedInputs, PiecewiseEmbedding
from mlplab.objectives.objective import build_objective, n_outputs
from mlplab.optimization.max_norm import incoming_weights
from mlplab.optimization.optimizers import OptimizerFactory, build_optimizer
from mlplab.optimization.parameter_groups import freeze
from mlplab.own_parts import (
    build_metrics,
    build_network,
    build_own_objective,
    build_scheduler,
    require_network,
    try_objective,
)
from mlplab.processors import available_cores
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import FORMAT, OWN_MODULE, AtomicCheckpointIO, model_card, require_plain
from mlplab.runs.processes import environment_of

ONE_THREAD_BELOW = 25_000_000
"""Multiplications per step (batch rows × weights) below which one thread is as fast as two, or faster.

Two threads wait for one another some twenty times a step. docs/performance.md has the measurements.
"""

ROWS_TO_INITIALIZE_FROM = 10_000
"""Most training rows that a network is given by `initialize_from`. Their statistics are then known to a hundredth."""

LEVELS_IN_16_BITS = 256
"""Whole numbers up to which bfloat16, with its 8 significant bits, is exact."""

PATHS = {"path", "test_path", "directory"}
"""Options of data sources that name files or folders."""

DATA_OPTIONS = ("batch_size", "validation_fraction", "test_fraction", "split_seed", "folds", "fold")


def _plain(node: Any) -> dict[str, Any]:
    """Resolves a part of the configuration to plain values."""
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]


def require_device(config: DictConfig) -> None:
    """Refuses a GPU that is not available, before any data is read.

    Raises:
        UserError: PyTorch finds no GPU, or float16 is asked for without one.
    """
    accelerator, precision = config.trainer.accelerator, str(config.trainer.precision)
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator=mps must find Apple's GPU", "PyTorch sees none", "trainer=cpu")
    # Apple's GPU, which PyTorch calls mps, counts as a GPU for Lightning's accelerator=gpu.
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise UserError(f"trainer.accelerator={accelerator} must find a GPU", "PyTorch sees none", "trainer=cpu")
    if config.trainer.get("sync_batchnorm") and not is_on_gpu(config):
        # PyTorch's SyncBatchNorm has no code for the CPU, and says so at the first step.
        raise UserError(
            "trainer.sync_batchnorm must run on GPUs", "the run is on the CPU", "model.normalization=layer without it"
        )
    if precision.startswith("16-") and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise UserError(
            "float16 precision must run on a GPU",
            f"trainer.precision={precision}",
            "trainer.precision=bf16-mixed",
        )


def is_on_gpu(config: DictConfig) -> bool:
    """Returns whether a run trains on a GPU."""
    if config.trainer.accelerator == "auto":
        return bool(torch.cuda.is_available() or torch.backends.mps.is_available())
    return bool(config.trainer.accelerator != "cpu")


def build_data(
    config: DictConfig, trained: Callable[[], Mapping[str, Any] | None] | None = None
) -> DataModule | OwnData:
    """Builds the data module, the project's or one's own.

    The project's takes `DATA_OPTIONS` itself; all other options go to the data source.

    Args:
        config: as conf/ composes it.
        trained: reads the card of the run that goes on, so that a table is taken for what it was.
    """
    if is_data_module(config.data.get("_target_")):
        return _build_own_data(config)
    options = {name: config.data[name] for name in DATA_OPTIONS if name in config.data}
    # A source is called with its own options only, so that its signature decides which ones it accepts.
    source = {name: value for name, value in _plain(config.data).items() if name not in DATA_OPTIONS}
    task = source.pop("task", "auto")
    accepted = accepted_options("data", source)
    if "task" in accepted:  # only tables can be either classification or regression
        source["task"] = task

    def read() -> Source:
        card = trained() if trained and "trained" in accepted else None
        dataset = instantiate("data", source if card is None else {**source, "trained": card})
        if not (isinstance(dataset, Dataset) or hasattr(dataset, "inputs")):
            raise UserError(
                "data._target_ must return a mlplab.data.dataset.Dataset",
                f"{source['_target_']} returned {type(dataset).__name__}",
                "Dataset(name, features, targets)",
            )
        # Labels are so many classifications.
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
    """Builds a LightningDataModule; it takes those of `DATA_OPTIONS` that it has arguments for."""
    given = _plain(config.data)
    accepted = accepted_options("data", {n: v for n, v in given.items() if n not in (*DATA_OPTIONS, "task")})
    chosen = [word.partition("=")[0] for word in typed_overrides()]
    for name in DATA_OPTIONS:
        if name not in accepted and f"data.{name}" in chosen:
            raise UserError(
                f"data.{name} must be an option of {given['_target_']}", f"it takes {', '.join(accepted)}",
                f"leaving data.{name} out",
            )  # fmt: skip
    # Others were refused, or are taken as **options.
    left = {*DATA_OPTIONS, "task"} - {*accepted}
    options = {name: value for name, value in given.items() if name not in left}
    return OwnData(instantiate("data", options), options, int(config.seed))


CONFIGURED_BY_MODULE = ("model", "loss", "optimizer", "scheduler", "regularization", "metrics")
"""Groups that a LightningModule of one's own only heeds by arguments of these names."""


def build_module(config: DictConfig, data: DataModule | OwnData) -> pl.LightningModule:
    """Builds a LightningModule of one's own.

    Its `__init__` is given what it has arguments for, beside its own options: `in_features`, `out_features` and `task`
    of the data; `model`, the network of conf/model; `loss`, the objective of conf/loss; `optimizer`, which lacks only
    the parameters.

    Raises:
        UserError: it is no LightningModule, or a group was chosen that it has no argument for.
    """
    node = _plain(config.module)
    target = str(node.get("_target_"))
    accepted = accepted_options("module", node)
    for word in typed_overrides():
        group = word.partition("=")[0].lstrip("+~").partition(".")[0]
        if group in CONFIGURED_BY_MODULE and group not in accepted:
            raise UserError(
                f"what a module of one's own does must be chosen in conf/module: {target} takes {', '.join(accepted)}",
                word, f"module.OPTION=…, or an argument {group} of its __init__",
            )  # fmt: skip
    if isinstance(data, DataModule) and "model" not in accepted:
        _expand(data)
    wanted = [name for name in accepted if name in GIVEN and name not in node]
    parts: dict[str, Any] = {"in_features": data.n_features} if "in_features" in wanted else {}
    if set(wanted) - {"in_features"}:
        learner = build_learner(config, data)
        parts |= {"model": learner.model, "loss": learner.objective, "optimizer": learner.optimizer_factory}
        parts |= {"task": data.task, "out_features": n_outputs(learner.objective.name, data.task)}
    seed_generators(derive_seed(config.seed, "initialization"))
    module = instantiate("module", node, **{name: parts[name] for name in wanted})
    if not isinstance(module, pl.LightningModule) or not is_overridden("training_step", module):
        raise UserError(
            "module must be a LightningModule with a training_step", f"{target} built {type(module).__name__}",
            "model=…, for a network that the project's own learner trains",
        )  # fmt: skip
    for name, value in module.hparams.items():
        try:
            require_plain(value)
        except RunFailed:
            raise UserError(
                "save_hyperparameters() must store plain values, as checkpoints do",
                f"{name} is {type(value).__name__}",
                f"self.save_hyperparameters(ignore=['{name}'])",
            ) from None  # fmt: skip
    return module


GIVEN = ("in_features", "out_features", "task", "model", "loss", "optimizer")


def _expand(data: DataModule) -> None:
    """Puts the input layer of compactly stored features before the batches, as the module knows only numbers."""
    encoding = data.preprocessor.input_encoding()
    if encoding is None:
        return
    inputs = build_inputs(encoding, data.task.n_features)
    if next(inputs.parameters(), None) is not None:
        raise UserError(
            "a module of one's own must be given categories as one-hot columns", "some of this table are embedded",
            "data.one_hot_levels=1000, or an argument model of its __init__",
        )  # fmt: skip
    data.__class__ = ExpandedDataModule
    data.inputs = inputs  # type: ignore[attr-defined]
    data.task = replace(data.task, n_features=inputs.out_features)


def for_own_module(config: DictConfig, data: DataModule | OwnData, learner: pl.LightningModule) -> list[Callback]:
    """Returns the callback that completes a LightningModule of one's own; none for the project's learner."""
    if isinstance(learner, Learner):
        return []
    card = {
        "format": FORMAT,
        "model": {"name": OWN_MODULE, "architecture": _plain(config.module)},
        "data": data.as_dict(),
    }
    return [OwnModule(config.monitor, int(config.seed), card)]


def typed_overrides() -> list[str]:
    """Returns what was typed, where Hydra runs."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def build_learner(config: DictConfig, data: DataModule | OwnData) -> Learner:
    """Builds the learner: a network initialised from the seed, its loss, optimizer and schedule."""
    task = data.task
    own_metrics = _plain(config.metrics) if config.get("metrics") else {}
    if config.get("module") is None:  # else it monitors what it logs
        require_metric("monitor", config.monitor, config.mode, task.kind, list(own_metrics))
    _require_defined_metrics(config, data)
    has_weights = any(weights is not None for weights in data.weights.values())
    loss = _plain(config.loss)
    counted: dict[str, Any] = {"class_counts": data.class_counts, "has_weights": has_weights}
    own = loss.get("_target_") is not None
    objective = build_own_objective(loss, task, **counted) if own else build_objective(task=task, **loss, **counted)
    if task.kind == "regression" and loss.get("name") == "auto" and loss.get("label_smoothing"):
        print("note    loss.label_smoothing is of classes and labels: a regression has none", flush=True)
    scheduler = build_scheduler(_plain(config.scheduler))
    watched = scheduler.pop("monitor", None)  # of a schedule of one's own
    good = config.mode if watched is None else direction_of("scheduler.monitor", watched, task.kind, list(own_metrics))
    model_config = _plain(config.model)
    frozen = model_config.pop("freeze", None) or []
    compiled = model_config.pop("compile", False)  # no part of the architecture: it is not passed to the network
    embedding = _take_embedding(model_config)
    # Everything that follows draws from this seed: first the embeddings of the input layer, then the network.
    seed_generators(derive_seed(config.seed, "initialization"))
    columns = _build_inputs(config, data)
    inputs = columns if embedding is None else _embed_numbers(columns, embedding, data)
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
            model = WithInputs(nn.Flatten(), model)  # pictures of a LightningDataModule
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
    compile_seconds = compile_network(model, _a_batch(data)) if compiled else 0.0
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
        augmentation=_augmentation(config, data, model),
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
        UserError: it would be NaN in each epoch.
    """
    monitored = {"monitor": config.monitor}
    for name, node in (config.get("callbacks") or {}).items():
        monitored[f"callbacks.{name}.monitor"] = (node or {}).get("monitor")
    targets = data.part("val")[1]
    for key, metric in monitored.items():
        # Of several labels, one that varies is enough.
        if metric == "val/auroc" and bool((targets == targets[0]).all()):
            one = f"of class {data.task.class_names[int(targets[0])]!r}" if data.task.class_names else "alike"
            raise UserError(
                f"{key}=val/auroc must have validation rows of two classes",
                f"all {len(targets)} are {one}",
                "monitor=val/loss mode=min, or a larger data.validation_fraction",
            )


def _build_inputs(config: DictConfig, data: DataModule | OwnData) -> InputLayer | None:
    """Builds the input layer of data that are stored compactly; None if the features go to the network as they are.

    Raises:
        UserError: a column has more categories than 16-bit precision can tell apart.
    """
    encoding = data.preprocessor.input_encoding()
    if encoding is None:
        return None
    most, precision = max(encoding.get("n_levels", [0])), str(config.trainer.precision)
    if precision in ("bf16-true", "16-true") and most > LEVELS_IN_16_BITS:
        raise UserError(
            f"a column with more than {LEVELS_IN_16_BITS} categories must be trained in 32-bit or mixed precision",
            f"trainer.precision={precision} with a column of {most} categories",
            f"trainer.precision={precision.replace('true', 'mixed')}",
        )
    return build_inputs(encoding, data.task.n_features)


def _take_embedding(model_config: dict[str, Any]) -> dict[str, Any] | None:
    """Takes the options of the numeric embedding out of those of the network; returns None if there is none.

    Raises:
        UserError: an option breaks its rule, or belongs to another embedding.
    """
    # A network of one's own may have no embedding in its file, or one that it computes itself.
    is_own = "numeric_embedding" in accepted_options("model", {"_target_": model_config.get("_target_")})
    if is_own or "numeric_embedding" not in model_config:
        return None
    options = {name: model_config.pop(name, None) for name in EMBEDDING_RULES}
    require_embedding_options(options)
    given = {name: value for name, value in options.items() if value is not None}
    return None if given["numeric_embedding"] == "none" else given


def _embed_numbers(inputs: InputLayer | None, options: dict[str, Any], data: DataModule | OwnData) -> EmbeddedInputs:
    """Builds the numeric embedding of the columns of the data, behind their input layer.

    Raises:
        UserError: no column is numeric.
    """
    name = options.pop("numeric_embedding")
    n_features = data.task.n_features
    n_columns = data.preprocessor.n_numeric(n_features)
    if n_columns == 0:
        raise UserError(
            f"model.numeric_embedding={name} must have a numeric column", "all columns are categorical",
            "model.numeric_embedding=none",
        )  # fmt: skip
    features, targets = data.part("train")
    if features.ndim > 2:  # pictures of a LightningDataModule
        shape = tuple(features.shape[1:])
        raise UserError(
            f"model.numeric_embedding={name} must be for rows of numbers",
            f"each is of shape {shape}",
            "model.numeric_embedding=none",
        )
    if name != "piecewise":
        return EmbeddedInputs(inputs, n_features=n_features, name=name, n_columns=n_columns, **options)
    if isinstance(data, OwnData):
        raise UserError(
            "model.numeric_embedding=piecewise must see all training rows, for its bins",
            "a LightningDataModule of one's own gives them in batches", "model.numeric_embedding=periodic",
        )  # fmt: skip
    # By the training part alone.
    numbers = inputs(features) if isinstance(inputs, PixelInputs) else features[:, :n_columns]
    n_bins = options.pop("n_bins", N_BINS)
    if options.pop("bins", "quantile") == "quantile":
        edges = quantile_edges(numbers, n_bins)
    else:
        are_classes = data.task.kind != "regression"
        edges = tree_edges(numbers, targets, n_bins, are_classes=are_classes, weights=data.weights["train"])
    most = max(len(of_column) - 1 for of_column in edges)
    embedded = EmbeddedInputs(inputs, n_features=n_features, name=name, n_columns=n_columns, n_bins=most, **options)
    assert isinstance(embedded.embedding, PiecewiseEmbedding)
    embedded.embedding.set_edges(edges)
    return embedded


TRIED_ROWS = 64
"""Rows that a network and the user's own losses and metrics are tried on."""


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
    # Rows of the real data, as a network may depend on their dtype.
    rows = data.part("train")[0][:TRIED_ROWS]
    # In evaluation mode dropout draws no random numbers, and batch normalisation does not update its statistics.
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


def _augmentation(config: DictConfig, data: DataModule | OwnData, model: nn.Module) -> Augmentation | None:
    """Builds what changes training batches; None if nothing does.

    Raises:
        UserError: images are to be shifted, but the data are none; or the network is compiled.
    """
    options = _plain(config.get("augmentation") or {})
    if not any(options.values()):
        return None
    if options.get("mixup") and config.model.get("compile") and isinstance(model, WithInputs):
        # Compiled is the network with its input layer, behind which rows are mixed.
        raise UserError(
            "augmentation.mixup of categories, pixels and embeddings must have a network that is not compiled",
            "model.compile=true",
            "model.compile=false",
        )
    most, shape, shift = options.pop("shift", 0), data.image_shape, None
    if most and shape is None:
        raise UserError(
            "augmentation.shift must be for images", f"{data.name} has none", "augmentation.shift=0, or data=digits"
        )
    if most and shape is not None:
        if most >= min(shape):
            raise UserError(
                f"augmentation.shift must be smaller than the images, {shape[0]}×{shape[1]}",
                f"augmentation.shift={most}",
                "augmentation.shift=2",
            )
        shift = RandomShift(*shape, most, data.preprocessor)  # type: ignore[arg-type]  # only the project's data have images
    preprocessing = data.preprocessor
    unit = preprocessing.std if isinstance(preprocessing, ScalePixels) else 1.0
    n_numeric = preprocessing.n_numeric(data.task.n_features)
    return Augmentation(**options, shift=shift, n_numeric=n_numeric, unit=unit)


def _optimizer_factory(config: DictConfig, model: nn.Module) -> OptimizerFactory:
    """Builds the optimizer without its parameters. Tries it once, so that a bad option is refused before the run."""
    options: Any = OmegaConf.to_container(config.optimizer, resolve=True, throw_on_missing=True)
    options.pop("groups", None)
    accepted_options("optimizer", options)
    options["_partial_"] = True  # its parameters come later
    is_sgd = options["_target_"] == "torch.optim.SGD"
    if is_sgd and options.get("fused") and str(config.trainer.precision) in ("bf16-true", "16-true"):
        # PyTorch 2.13: with 16-bit weights, fused SGD reads momentum buffers before they are initialised.
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


def _a_batch(data: DataModule | OwnData) -> torch.Tensor:
    features = data.part("train")[0]
    return features if data.batch_size == "full" else features[: data.batch_size]


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
        callback = instantiate("callbacks", node)
        if not isinstance(callback, Callback):
            raise UserError(
                f"callbacks.{name} must build a Callback",
                f"{node.get('_target_')} built {type(callback).__name__}",
                "a class that extends lightning.pytorch.callbacks.Callback",
            )
        if isinstance(callback, FINDERS):  # it has found its value before
            continue
        if isinstance(callback, Pruning):
            from mlplab.sweeps.search.study import trial_of  # only a search needs it

            callback.find_trial = trial_of
        if is_job and isinstance(callback, ProgressBar):
            callback.disable()
        callbacks.append(callback)
    return callbacks


def build_loggers(config: DictConfig) -> list[Logger]:
    """Builds the loggers of conf/logger.

    Raises:
        UserError: one of them needs a package that is not installed.
    """
    try:
        nodes = (config.get("logger") or {}).values()
        return [instantiate("logger", node) for node in nodes if node]
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
        raise misfit("trainer must be given flags that fit", error, flags) from error
    # Configurations of earlier releases have no engine.
    is_own = not (isinstance(learner, Learner) and isinstance(data, DataModule))
    engine = OmegaConf.select(config, "engine.name", default="fast")
    attach(trainer, learner, engine=engine, seed=int(config.seed) if is_own else None)
    return trainer


def _fitting_flags(config: DictConfig, data: DataModule | OwnData) -> dict[str, Any]:
    """Returns the flags of conf/trainer.

    Raises:
        UserError: one does not fit the data, which Lightning would find out when the run directory is claimed.
    """
    flags = _plain(config.trainer)
    # `threads` is PyTorch's setting, which no Trainer accepts.
    del flags["threads"]
    interval = flags.get("val_check_interval")
    n_batches = len(data.train_dataloader()) if isinstance(data, DataModule) else math.inf
    # Lightning finds this out too, but only in `fit`, when the run directory is claimed.
    if isinstance(interval, int) and interval > n_batches and flags.get("check_val_every_n_epoch") is not None:
        raise UserError(
            f"trainer.val_check_interval must not exceed the {n_batches} batches of an epoch",
            f"trainer.val_check_interval={interval}",
            f"trainer.val_check_interval={n_batches}, or with trainer.check_val_every_n_epoch=null",
        )
    share = flags.get("overfit_batches") or 0
    if isinstance(share, float) and 0 < share < 1 and isinstance(data, DataModule):
        # Lightning takes the same share of the validation, which is a batch or two here.
        raise UserError(
            "trainer.overfit_batches must be a number of batches", f"trainer.overfit_batches={share}",
            f"trainer.overfit_batches={max(1, round(share * n_batches))}",
        )  # fmt: skip
    if flags.get("profiler") is not None:
        # Without a file, Lightning writes profiles to its log, which `silence_lightning` silences.
        kind = getattr(profilers, PROFILERS[flags["profiler"]])
        flags["profiler"] = kind(dirpath=Path(config.paths.run) / "profile", filename="profile")
    return flags


def misfit(requirement: str, error: Exception, flags: Iterable[str]) -> UserError:
    """Makes the refusal of trainer flags that Lightning rejects, and suggests another value of the flag it names."""
    reason = " ".join(str(error).split())
    # Lightning's messages often name several flags; the first one is usually the one at fault.
    named = min((flag for flag in flags if flag in reason), key=reason.index, default=None)
    return UserError(requirement, reason, f"another trainer.{named}, or leaving it out" if named else "trainer=auto")


def use_threads(config: DictConfig, data: DataModule | OwnData, network: nn.Module, copies: int = 1) -> None:
    """Sets PyTorch's number of threads from `trainer.threads`, for `copies` such networks trained at once."""
    threads = config.trainer.threads
    if threads == "auto":  # one for a network so small that threads would mostly wait for each other
        weights = sum(parameter.numel() for parameter in network.parameters())
        # Of data of one's own, a batch may be of any form.
        is_small = isinstance(data, DataModule) and copies * len(_a_batch(data)) * weights < ONE_THREAD_BELOW
        threads = 1 if is_small else available_cores()
    torch.set_num_threads(threads)


SILENCED = (
    # Lightning 2.6 uses an API that PyTorch 2.13 deprecates.
    ".*isinstance.treespec, LeafSpec.*",
    # Our batches come from memory in the order that the seed gives, whatever Lightning thinks of their class.
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    # A LightningModule of one's own may go without a validation, whatever the data have.
    ".*have no `validation_step`.*",
    # Lightning warns of GradientAccumulationScheduler beside an own `optimizer_step`; the learner's supports it.
    ".*overriding `LightningModule.optimizer_.*",
    # trainer.strategy=ddp with a single process has nothing to synchronise.
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    # Observing callbacks (figures, histograms, …) may be dropped when a run resumes.
    ".*Be aware that when using `ckpt_path`.*",
    "GPU available but not used.*",
    # On the login node of a cluster and in a job of one task there is nothing for `srun` to start.
    *(["The `srun` command is available.*"] if os.environ.get("SLURM_NTASKS", "1") == "1" else []),
)
"""Warnings of Lightning that do not apply here, as regular expressions."""


def silence_lightning() -> None:
    """Silences messages of Lightning that do not apply here: found hardware, and advice on data loaders."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # It has a handler of its own; with Hydra's, each message would be shown twice.
    logging.getLogger("lightning").propagate = False
    # Callbacks speak only where they are asked to: by verbose=true, or for a summary of the model.
    logging.getLogger("lightning.pytorch.callbacks").setLevel(logging.INFO)
    told = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    told.setLevel(logging.INFO)
    told.addFilter(_is_of_a_callback)
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)


def _is_of_a_callback(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).parent.name == "callbacks"
