"""Builds the parts of a run from its configuration: data, learner, callbacks, loggers and Trainer."""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from mlplab.augmentation import Augmentation, RandomShift
from mlplab.callbacks.compatibility import require_compatible
from mlplab.callbacks.pruning import Pruning
from mlplab.config.checks import require_metric
from mlplab.config.commands import install
from mlplab.config.trainer_flags import PROFILERS
from mlplab.data.dataset import Dataset
from mlplab.data.module import DataModule, Source
from mlplab.data.preprocessing import ScalePixels
from mlplab.engine.attach import attach
from mlplab.engine.compiling import compile_network
from mlplab.errors import RunStopped, UserError
from mlplab.instantiation import accepted_options, instantiate
from mlplab.learner import Learner
from mlplab.models.bins import N_BINS, quantile_edges, tree_edges
from mlplab.models.inputs import InputLayer, PixelInputs, WithInputs, build_inputs
from mlplab.models.mlp_options import EMBEDDING_RULES, require_embedding_options
from mlplab.models.numeric_embeddings import EmbeddedInputs, PiecewiseEmbedding
from mlplab.objectives.objective import averaged_over_members, build_objective, n_outputs
from mlplab.optimization.max_norm import incoming_weights
from mlplab.optimization.optimizers import OptimizerFactory, build_optimizer
from mlplab.optimization.schedules import require_known_options
from mlplab.processors import available_cores
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import AtomicCheckpointIO, model_card

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
    # Apple's GPU, which PyTorch calls mps, counts as a GPU for Lightning's accelerator=gpu.
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise UserError(f"trainer.accelerator={accelerator} must find a GPU", "PyTorch sees none", "trainer=cpu")
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


def build_data(config: DictConfig, trained: Callable[[], Mapping[str, Any] | None] | None = None) -> DataModule:
    """Builds the data module. It takes `DATA_OPTIONS` itself; all other options go to the data source.

    Args:
        config: as conf/ composes it.
        trained: reads the card of the run that goes on, so that a table is taken for what it was.
    """
    options = {name: config.data[name] for name in DATA_OPTIONS}
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


def build_learner(config: DictConfig, data: DataModule) -> Learner:
    """Builds the learner: a network initialised from the seed, its loss, optimizer and schedule."""
    task = data.task
    require_metric("monitor", config.monitor, config.mode, task.kind)
    _require_defined_metrics(config, data)
    has_weights = any(weights is not None for weights in data.weights.values())
    objective = build_objective(
        task=task, class_counts=data.class_counts, has_weights=has_weights, **_plain(config.loss)
    )
    if task.kind == "regression" and config.loss.name == "auto" and config.loss.get("label_smoothing"):
        print("note    loss.label_smoothing is of classes and labels: a regression has none", flush=True)
    scheduler = _plain(config.scheduler)
    require_known_options(**scheduler)
    model_config = _plain(config.model)
    compiled = model_config.pop("compile", False)  # no part of the architecture: it is not passed to the network
    embedding = _take_embedding(model_config)
    # Everything that follows draws from this seed: first the embeddings of the input layer, then the network.
    seed_generators(derive_seed(config.seed, "initialization"))
    columns = _build_inputs(config, data)
    inputs = columns if embedding is None else _embed_numbers(columns, embedding, data)
    widths = [1] * task.n_features if inputs is None else inputs.column_widths
    # The widths follow from the data, so the configuration never has to repeat them.
    shapes: dict[str, Any] = {"in_features": sum(widths), "out_features": n_outputs(objective, task)}
    accepted = accepted_options("model", {**model_config, **shapes})
    # Of ensembles alone.
    of_ensemble = {"column_widths": widths, "average_of": averaged_over_members(shapes["out_features"], task)}
    shapes |= {name: value for name, value in of_ensemble.items() if name in accepted}
    if model_config.get("scaling_initialization") == "auto":
        model_config["scaling_initialization"] = "random_signs" if embedding is None else "normal"
    with _one_thread():  # the last bits of orthogonal initialization depend on the number of threads
        model = instantiate("model", model_config, **shapes)
        # A network may look at training rows before its first step.
        initialize_from = getattr(model, "initialize_from", None)
        if inputs is not None and isinstance(model, nn.Module):
            model = WithInputs(inputs, model)
        if initialize_from is not None:
            features = data.part("train")[0]
            features = features[torch.randperm(len(features))[:ROWS_TO_INITIALIZE_FROM]]
            with torch.no_grad():
                initialize_from(features if inputs is None else inputs(features))
        _require_outputs(model, model_config, data, shapes["out_features"])
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
        monitor=config.monitor,
        mode=config.mode,
        max_norm=_max_norm(config, model),
        augmentation=_augmentation(config, data, model),
        seed=config.seed,
    )
    learner.compile_seconds = compile_seconds
    learner.card = model_card(
        model,
        model_config,
        task=task,
        preprocessing=data.preprocessor,
        objective=objective,
        data=data.as_dict(),
        precision=str(config.trainer.precision),
    )
    return learner


def _require_defined_metrics(config: DictConfig, data: DataModule) -> None:
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


def _build_inputs(config: DictConfig, data: DataModule) -> InputLayer | None:
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


def _embed_numbers(inputs: InputLayer | None, options: dict[str, Any], data: DataModule) -> EmbeddedInputs:
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
    if name != "piecewise":
        return EmbeddedInputs(inputs, n_features=n_features, name=name, n_columns=n_columns, **options)
    # By the training part alone.
    features, targets = data.part("train")
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


def _require_outputs(model: Any, model_config: Mapping[str, Any], data: DataModule, n_outputs: int) -> None:
    """Checks the shape of the outputs by passing two rows through the network in evaluation mode.

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
    # Two rows of the real data, as a network may depend on their dtype.
    rows = data.part("train")[0][:2]
    # In evaluation mode dropout draws no random numbers, and batch normalisation does not update its statistics.
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(rows)
    except (KeyboardInterrupt, RunStopped):
        raise
    except BaseException:
        return  # an error in the network's code: training raises it again, and logs its traceback
    finally:
        model.train()
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(rows), n_outputs):
        raise UserError(
            f"the network's outputs must have shape (B, {n_outputs})",
            f"{target} gave {shape} for {len(rows)} rows",
            "out_features as the width of its last layer",
        )


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


def _augmentation(config: DictConfig, data: DataModule, model: nn.Module) -> Augmentation | None:
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
        shift = RandomShift(*shape, most, data.preprocessor)
    preprocessing = data.preprocessor
    unit = preprocessing.std if isinstance(preprocessing, ScalePixels) else 1.0
    n_numeric = preprocessing.n_numeric(data.task.n_features)
    return Augmentation(**options, shift=shift, n_numeric=n_numeric, unit=unit)


def _optimizer_factory(config: DictConfig, model: nn.Module) -> OptimizerFactory:
    """Builds the optimizer without its parameters. Tries it once, so that a bad option is refused before the run."""
    accepted_options("optimizer", config.optimizer)
    if not config.optimizer.get("_partial_"):
        raise UserError("optimizer must have _partial_: true, to get its parameters later", "it has not", "adding it")
    options: Any = OmegaConf.to_container(config.optimizer, resolve=True, throw_on_missing=True)
    is_sgd = options["_target_"] == "torch.optim.SGD"
    if is_sgd and options.get("fused") and str(config.trainer.precision) in ("bf16-true", "16-true"):
        # PyTorch 2.13: with 16-bit weights, fused SGD reads momentum buffers before they are initialised.
        options["fused"] = False
    factory: OptimizerFactory = instantiate("optimizer", options)
    # Only its errors matter: Lightning builds the optimizer that trains, when the weights are on their device.
    build_optimizer(factory, model, applies_to=list(config.regularization.applies_to))
    return factory


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _a_batch(data: DataModule) -> torch.Tensor:
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
        callback = instantiate("callbacks", node)
        if not isinstance(callback, Callback):
            raise UserError(
                f"callbacks.{name} must build a Callback",
                f"{node.get('_target_')} built {type(callback).__name__}",
                "a class that extends lightning.pytorch.callbacks.Callback",
            )
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
    config: DictConfig, callbacks: list[Callback], loggers: list[Logger], data: DataModule, learner: pl.LightningModule
) -> pl.Trainer:
    """Builds Lightning's Trainer from conf/trainer, for a learner and its data."""
    require_compatible(callbacks, loggers)
    flags = _plain(config.trainer)
    # `threads` is PyTorch's setting, which no Trainer accepts.
    del flags["threads"]
    use_threads(config, data, learner)
    interval, n_batches = flags.get("val_check_interval"), len(data.train_dataloader())
    # Lightning finds this out too, but only in `fit`, when the run directory is claimed.
    if isinstance(interval, int) and interval > n_batches and flags.get("check_val_every_n_epoch") is not None:
        raise UserError(
            f"trainer.val_check_interval must not exceed the {n_batches} batches of an epoch",
            f"trainer.val_check_interval={interval}",
            f"trainer.val_check_interval={n_batches}, or with trainer.check_val_every_n_epoch=null",
        )
    if flags.get("profiler") is not None:
        # Without a file, Lightning writes profiles to its log, which `silence_lightning` silences.
        kind = getattr(profilers, PROFILERS[flags["profiler"]])
        flags["profiler"] = kind(dirpath=Path(config.paths.run) / "profile", filename="profile")
    try:
        trainer = pl.Trainer(
            **flags,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # `Batches` shares rows between processes itself
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
    attach(trainer, learner, engine=OmegaConf.select(config, "engine.name", default="fast"))
    return trainer


def misfit(requirement: str, error: Exception, flags: Iterable[str]) -> UserError:
    """Makes the refusal of trainer flags that Lightning rejects, and suggests another value of the flag it names."""
    reason = " ".join(str(error).split())
    # Lightning's messages often name several flags; the first one is usually the one at fault.
    named = min((flag for flag in flags if flag in reason), key=reason.index, default=None)
    return UserError(requirement, reason, f"another trainer.{named}, or leaving it out" if named else "trainer=auto")


def use_threads(config: DictConfig, data: DataModule, network: nn.Module, copies: int = 1) -> None:
    """Sets PyTorch's number of threads from `trainer.threads`, for `copies` such networks trained at once."""
    threads = config.trainer.threads
    if threads == "auto":  # one for a network so small that threads would mostly wait for each other
        weights = sum(parameter.numel() for parameter in network.parameters())
        is_small = copies * len(_a_batch(data)) * weights < ONE_THREAD_BELOW
        threads = 1 if is_small else available_cores()
    torch.set_num_threads(threads)


SILENCED = (
    # Lightning 2.6 uses an API that PyTorch 2.13 deprecates.
    ".*isinstance.treespec, LeafSpec.*",
    # Our batches come from memory in the order that the seed gives, whatever Lightning thinks of their class.
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
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
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)
