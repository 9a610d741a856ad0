"""Decides which jobs train in one stack, and why a job trains alone.

It checks first the configuration, then the built network, loss, optimizer and data. `same_step` also checks that the
code is unedited.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.optim import Optimizer

from mlplab import callbacks
from mlplab.engine.monkeypatches import has_genuine_step, has_step_hooks
from mlplab.engine.recognition import INPUTS, method_on_instance, why_other_layers
from mlplab.instantiation import is_data_module
from mlplab.loggers.csv_log import ResumableCSVLogger
from mlplab.loggers.tensorboard import CalmTensorBoardLogger
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP, BatchNorm, HiddenLayer
from mlplab.models.mlp_options import OPTIONS as MLP_OPTIONS
from mlplab.objectives.objective import Objective
from mlplab.objectives.options import OPTIONS as LOSS_OPTIONS
from mlplab.stacked.networks.stacked_optimizer import STACKABLE
from mlplab.stacked.networks.stacked_tensors import named_tensors
from mlplab.sweeps.search.trial_pruning import Pruning

if TYPE_CHECKING:
    from mlplab.stacked.members.member import Member

# --- the configuration -----------------------------------------------------------------------------------------------

FREE: dict[str, Any] = {
    "seed": None,
    # A schedule only changes the learning rate, and each member has its own.
    "scheduler": None,
    # Other splits have parts of the same sizes.
    "data": {"split_seed"},
    "model": {name for name, option in MLP_OPTIONS.items() if option.may_differ_in_stack},
    "loss": {name for name, option in LOSS_OPTIONS.items() if option.may_differ_in_stack},
    # Each member has its own penalties.
    "regularization": {"l1", "l2"},
    "trainer": {"gradient_clip_val"},
}  # fmt: skip
"""Options that may differ between the members of a stack: group → names; None for all of it."""

FREE_OF_EARLY_STOPPING = {"min_delta", "patience"}

OF_THE_SWEEP = {"sweep", "paths", "resume", "trust", "hydra"}
"""Groups of the configuration that have no effect on training."""

CALLBACKS = (
    callbacks.Calibration, callbacks.Checkpoints, callbacks.Figures, callbacks.GradientNorms, callbacks.Histograms,
    callbacks.History, callbacks.NonFiniteGuard, callbacks.ProgressLine, callbacks.Status,
    callbacks.TrainingCurves, EarlyStopping, Pruning,
)  # fmt: skip
"""Callbacks that work for each member separately. Others would see a Trainer of many networks."""

NEEDED_CALLBACKS = (callbacks.Checkpoints, callbacks.NonFiniteGuard, callbacks.TrainingCurves)

LOGGERS = (CalmTensorBoardLogger, ResumableCSVLogger)

FLAGS = {
    "accelerator": ("auto", "cpu"),
    "devices": (1, "auto"),
    "strategy": ("auto",),
    "precision": ("32-true", "64-true", "32", "64", 32, 64),
    "max_time": (None,),
    "limit_val_batches": (None, 1.0),
    "limit_test_batches": (None, 1.0),
    "overfit_batches": (0, 0.0),
    "fast_dev_run": (False,),
    "val_check_interval": (None, 1.0),
    "accumulate_grad_batches": (1,),
    "num_sanity_val_steps": (0,),
    "detect_anomaly": (False, None),
    "profiler": (None,),
}
"""Flags of the Trainer → supported values. Other flags may have any value."""


NEUTRAL: dict[str, Any] = {
    "augmentation.mixup": 0.0,
    "augmentation.noise": 0.0,
    "augmentation.shift": 0,
    "regularization.max_norm": None,
}
"""Options without a stacked version → the value with which they have no effect."""


def config_of_stack(values: Mapping[str, Any]) -> str:
    """Returns the part of a job's configuration, given as plain values, that all members of a stack must share."""
    kept = {}
    for group, content in values.items():
        if group in OF_THE_SWEEP or (group in FREE and FREE[group] is None):
            continue
        free = FREE.get(group) or ()
        kept[group] = {n: v for n, v in content.items() if n not in free} if isinstance(content, dict) else content
    model = kept.get("model")
    if isinstance(model, dict) and model.get("_target_") not in (None, f"{MLP.__module__}.MLP", "mlplab.models.MLP"):
        kept["model"] = values["model"]  # any option of a user's own network may change its shape
    kept["optimizer"] = (values.get("optimizer") or {}).get("_target_")  # options that differ need separate calls
    kept["callbacks"] = {
        name: {n: v for n, v in node.items() if n not in FREE_OF_EARLY_STOPPING}
        if str(node.get("_target_", "")).endswith(".EarlyStopping")
        else node
        for name, node in (values.get("callbacks") or {}).items()
        if isinstance(node, dict)
    }
    # Sorted, as jobs may list their options in another order.
    return json.dumps(kept, sort_keys=True, default=str)


def why_alone(values: Mapping[str, Any]) -> str | None:
    """Returns which part of a job's configuration prevents stacking; None if none does."""
    trainer = values.get("trainer") or {}
    engine = (values.get("engine") or {}).get("name", "fast")
    if engine != "fast":
        return f"engine={engine}"
    if values.get("start_from") is not None or not values.get("test", True):
        return "start_from" if values.get("start_from") is not None else "test=false"
    for group, option in (("model", "freeze"), ("optimizer", "groups")):
        if (values.get(group) or {}).get(option):
            return f"{group}.{option}"
    for group in ("module", "data"):
        target = (values.get(group) or {}).get("_target_")
        if target is not None and (group == "module" or is_data_module(target)):
            return f"{group}={target}"
    for flag, possible in FLAGS.items():
        if flag in trainer and trainer[flag] not in possible:
            return f"trainer.{flag}={trainer[flag]}"
    # A stack reads these itself, without the Trainer's defaults.
    for flag in ("threads", "precision", "gradient_clip_val", "gradient_clip_algorithm"):
        if flag not in trainer:
            return f"no trainer.{flag}"
    # A stack removes a diverging member; it cannot skip one member's update.
    if values.get("on_divergence") == "skip":
        return "on_divergence=skip"
    for key, neutral in NEUTRAL.items():
        group, _, name = key.partition(".")
        value = (values.get(group) or {}).get(name, neutral)
        if value != neutral:
            return f"{key}={value}"
    if (values.get("model") or {}).get("compile"):
        return "model.compile=true"
    for group in ("loss", "scheduler", "metrics", "model"):
        # The user's own network is checked once it is built.
        own = _first_target(values.get(group) or {}, within=group == "model")
        if own is not None:
            return f"{group}={own}"
    for group, known in (("callbacks", CALLBACKS), ("logger", LOGGERS)):
        for name, node in (values.get(group) or {}).items():
            if isinstance(node, dict) and node.get("_target_") not in _targets(known):
                return f"{group}.{name}"
    targets = {node.get("_target_") for node in (values.get("callbacks") or {}).values() if node}
    for needed in NEEDED_CALLBACKS:
        if not targets & _targets([needed]):
            return f"callbacks without {needed.__name__}"
    return None


def _first_target(node: Any, *, within: bool = False) -> str | None:
    """Returns the first `_target_` of a part of the configuration; with `within`, of its nested parts."""
    if not isinstance(node, Mapping):
        return None
    if not within and node.get("_target_") is not None:
        return str(node["_target_"])
    return next(filter(None, map(_first_target, node.values())), None)


def _targets(kinds: Sequence[type]) -> set[str]:
    """Returns both dotted names of classes: by their module, and by the package of all callbacks."""
    modules = [(kind, kind.__module__) for kind in kinds]
    # conf/callbacks uses `mlplab.callbacks.History`; both names mean the same class.
    return {f"{place}.{kind.__name__}" for kind, module in modules for place in (module, module.rpartition(".")[0])}


def why_alone_by_hydra(settings: Any, words: Sequence[str]) -> str | None:
    """Returns which option of `hydra.job` is impossible in a process of many jobs; None if there is none.

    Args:
        settings: `hydra.job` of the sweep.
        words: the job's overrides.
    """
    # Environment variables and the working directory belong to the whole process.
    if settings.env_set or settings.env_copy:
        return "hydra.job.env_set, or env_copy"
    if settings.chdir or any("hydra.job." in word.partition("=")[0] for word in words):
        return "hydra.job.chdir, or others of hydra.job"
    return None


# --- what is built from it -------------------------------------------------------------------------------------------

LARGE = 4_000_000
"""Multiplications of one network per step (batch rows × weights) from which stacking saves no time."""


def why_alone_once_built(member: "Member", optimizer: Optimizer) -> str | None:
    """Returns why a built job cannot train in a stack; None if it can."""
    learner, data = member.learner, member.data
    if any(weights is not None for weights in data.weights.values()):
        return "the weights of its rows have no stacked form"
    if data.task.target_names:
        return "several targets have no stacked form"
    reason = why_no_stacked_network(learner.model)
    if reason is not None:
        return reason
    reason = why_no_stacked_optimizer(optimizer)
    if reason is not None:
        return reason
    replaced = method_on_instance(optimizer)
    if replaced is not None:
        return f"{type(optimizer).__name__}.{replaced} was replaced"
    # "full" is the whole training part.
    rows = len(data.part("train")[1]) if data.batch_size == "full" else data.batch_size
    work = rows * sum(parameter.numel() for parameter in learner.model.parameters())
    if work >= LARGE:
        return f"{rows} rows × {work // rows:,} weights per step keep the processor busy by themselves"
    return None


def stack_shape(member: "Member", optimizer: Optimizer) -> Hashable:
    """Returns the properties beyond the configuration that all members of a stack must share."""
    learner, data = member.learner, member.data
    # Members are tested one by one, so their test parts may differ in size.
    sizes = tuple(len(data.part(part)[1]) for part in ("train", "val"))
    return (network_shape(learner.model), loss_shape(learner.objective), type(optimizer), sizes)


def position_of(member: "Member") -> Hashable:
    """Returns the epoch and step from which the run resumes; all members of a stack must share them."""
    if member.saved is None:
        return None
    content = member.saved.content
    return content["epoch"], content["global_step"]


# --- the loss --------------------------------------------------------------------------------------------------------


def loss_shape(objective: Objective) -> Hashable:
    """Returns the properties of a loss that all members of a stack must share."""
    # As text, since options may be lists, which have no hash.
    options = sorted((name, repr(value)) for name, value in objective.options.items() if name not in FREE["loss"])
    # Weights may differ, as balanced ones follow from the split; but either all members have them or none.
    return objective.function, tuple(options), objective.class_weights is None


# --- the optimizer ---------------------------------------------------------------------------------------------------

ADDITIONS = ("amsgrad", "maximize", "capturable", "differentiable")
"""Options with which rows of different learning rates cannot be updated together."""


def why_no_stacked_optimizer(optimizer: Optimizer) -> str | None:
    """Returns why an optimizer cannot be one member of a `StackedOptimizer`; None if it can."""
    if type(optimizer) not in STACKABLE:
        return f"{type(optimizer).__name__} has no stacked form"
    if not has_genuine_step(type(optimizer)):
        return f"{type(optimizer).__name__}.step was replaced"
    for name in ADDITIONS:
        if any(group.get(name) for group in optimizer.param_groups):
            return f"its option {name} has no stacked form"
    # Rates are compared and stored as numbers.
    if any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        return "its lr is a tensor"
    if has_step_hooks(optimizer):
        return "it has hooks, which see one optimizer at a time"
    return None


# --- the network -----------------------------------------------------------------------------------------------------


def why_no_stacked_network(network: nn.Module) -> str | None:
    """Returns why a network cannot be one member of a `StackedNetwork`; None if it can.

    A perceptron can, also behind the input layer of a table or of pixels. The user's own module can if its class
    declares `stackable = True`: its `forward` must not branch on values of tensors, may change buffers in place only,
    and must return one tensor.
    """
    body: nn.Module = network
    if type(network) is WithInputs:
        body = network.network
        if type(network.inputs) not in INPUTS:
            return f"its input layer {type(network.inputs).__name__} has no stacked form"
    if type(body) is MLP:
        reason = why_other_layers(body) or _why_other_normalization(body)
        if reason is not None:
            return reason
    elif not getattr(type(body), "stackable", False):
        return f"its class {type(body).__name__} does not say stackable = True"
    parameters = list(network.parameters())
    # Stacked tensors have one type and one device.
    kinds = {(parameter.dtype, parameter.device) for parameter in parameters}
    if len(kinds) != 1 or parameters[0].dtype not in (torch.float32, torch.float64):
        return "its parameters are not all float32, or all float64, on one device"
    return None


def _why_other_normalization(network: MLP) -> str | None:
    for layer in (hidden.normalization for hidden in network.hidden if isinstance(hidden, HiddenLayer)):
        if layer is None:
            continue
        has_parts = all(getattr(layer, part, None) is not None for part in ("weight", "bias"))
        # Without a momentum, the running mean covers all steps, which the stacked kernel does not support.
        is_tracked = not isinstance(layer, nn.BatchNorm1d) or (layer.track_running_stats and layer.momentum is not None)
        if type(layer) not in (BatchNorm, nn.LayerNorm) or not (has_parts and is_tracked):
            return f"{type(layer).__name__} is not a normalisation of MLP"
    return None


def network_shape(network: nn.Module) -> Hashable:
    """Returns the properties of a network that all members must share: for a user's module all but tensor values."""
    tensors = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for name, tensor in named_tensors(network)
    )
    modules = tuple((name, type(module), _settings(module)) for name, module in network.named_modules())
    return tensors, modules


def _settings(module: nn.Module) -> Hashable:
    # Private attributes hold tensors and hooks, compared elsewhere.
    own = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    if type(module) is MLP:
        own["architecture"] = {name: v for name, v in module.architecture.items() if name not in FREE["model"]}
    if type(module) in (MLP, HiddenLayer):
        own = {name: value for name, value in own.items() if name not in FREE["model"]}
    return _comparable(own)


def _comparable(value: Any) -> Hashable:
    """Returns a value that is equal for equal settings; an incomparable one is only equal to itself."""
    if isinstance(value, Mapping):
        return tuple((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_comparable(item) for item in value)
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), str(value.tolist())
    try:
        hash(value)
    except TypeError:
        # Only equal to itself, so networks with such a setting are not stacked.
        return id(value)
    return type(value), value
