"""Builds the parts of a learner, the project's own or named by a `_target_`: network, loss, metrics, schedule.

A checkpoint is data. The code that it names is used only if the user's own conf/ names it too, or the configuration of
a run that this user has begun.
"""

import copy
import re
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD

from mlplab.errors import RunStopped, UserError, described, printable
from mlplab.instantiation import accepted_options, build_function, class_of, instantiate
from mlplab.objectives.objective import OWN, Objective, averaged_over_members, require_weights, resolve_class_weights
from mlplab.objectives.options import SCORES
from mlplab.objectives.scores import Metric, Scores
from mlplab.optimization.schedules import build_schedule, require_known_options
from mlplab.runs.trust import PROJECT
from mlplab.runs.untrusted_config import is_harmless, known_code, walk
from mlplab.task import Task

CONF = PROJECT / "conf"

OF_ENTRY = ("interval", "monitor", "frequency")
"""Options of the user's own schedule that Lightning reads, not its class."""


def require_network(target: str) -> None:
    """Refuses a LightningModule with its own steps as a network: the project's learner would ignore them.

    Raises:
        UserError: says how to train it by its own steps.
    """
    found = class_of(target)
    is_module = found is not None and issubclass(found, pl.LightningModule)
    if is_module and found.training_step is not pl.LightningModule.training_step:  # type: ignore[union-attr]
        raise UserError(
            "model must be a network, whose steps the project's own learner makes",
            f"{target} is a LightningModule with a training_step of its own",
            "module=NAME, with its file in conf/module instead of conf/model",
        )


def build_network(config: Mapping[str, Any], *, widths: list[int], out_features: int, task: Task) -> Any:
    """Builds the network that conf/model describes, with the widths that follow from the data.

    Args:
        config: of conf/model, as plain values.
        widths: of each column, after the input layer.
        out_features: width of the outputs.
        task: what is learned.

    Raises:
        UserError: it cannot be built, or does not take an option.
    """
    options = dict(config)
    shapes: dict[str, Any] = {"in_features": sum(widths), "out_features": out_features}
    accepted = accepted_options("model", {**options, **shapes})
    # Only ensembles take these.
    of_ensemble = {"column_widths": widths, "average_of": averaged_over_members(out_features, task)}
    shapes |= {name: value for name, value in of_ensemble.items() if name in accepted}
    activation = options.get("activation")
    if isinstance(activation, Mapping):
        options["activation"] = build_function("model.activation", activation, n_arguments=1)
    built = {name: value for name, value in options.items() if callable(value)}
    return instantiate("model", {name: v for name, v in options.items() if name not in built}, **built, **shapes)


def build_own_objective(
    loss: Mapping[str, Any], task: Task, *, class_counts: Sequence[float] = (), has_weights: bool = False
) -> Objective:
    """Builds the objective of a `_target_`: a function of outputs and targets, or a module called with them.

    Args:
        loss: `_target_` and options, as plain values. `class_weights` is resolved as for `build_objective`; a class
            takes them as an argument of its own, a function with each call.
        task: what is learned.
        class_counts: as for `build_objective`.
        has_weights: likewise.

    Raises:
        UserError: the loss cannot be built, takes no such option, or takes no weights although rows have some.
    """
    # `+loss._target_=…` leaves what conf/loss/auto.yaml gives.
    left = {"name": "auto", "class_weights": None, "label_smoothing": 0.0}
    options = {name: value for name, value in loss.items() if name not in left or value != left[name]}
    weights = resolve_class_weights(options.get("class_weights"), task, class_counts)
    if weights is not None:
        options["class_weights"] = weights.tolist()
    function = build_function("loss", options)
    if isinstance(function, partial):
        # As a buffer of the objective, they follow the network to its device.
        function.keywords.pop("class_weights", None)
    else:
        weights = None
    if has_weights:
        require_weights(str(loss["_target_"]), function.forward if isinstance(function, nn.Module) else function)
    return Objective(function, class_weights=weights, name=OWN)


def try_objective(objective: Objective, outputs: Tensor, targets: Tensor, *weights: Tensor) -> None:
    """Tries the user's own loss on a few rows: refuses it if it fails, or is not one number.

    Raises:
        UserError: gives the error, and its place in the code.
    """
    shapes = f"outputs {tuple(outputs.shape)[1:]} and targets {tuple(targets.shape)[1:]} of each row"
    loss = _tried("loss", f"be computed from {shapes}", objective, outputs, targets, *weights)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(
            "loss must be one number for a batch, as a tensor", f"it is of {found}", "its mean over the rows"
        )


def build_metrics(
    config: Mapping[str, Any], task: Task, outputs: Tensor, targets: Tensor, monitor: str = "", mode: str = ""
) -> dict[str, Metric]:
    """Builds the metrics of conf/metrics, and tries them on a few rows.

    Args:
        config: name → `_target_` and options, or None.
        task: what is learned.
        outputs: of the network, of some rows.
        targets: of these rows.
        monitor: the monitored value.
        mode: its direction, which must agree with a metric's own `higher_is_better`.

    Raises:
        UserError: one cannot be built or computed, or has the name of a score; or the mode is not its direction.
    """
    metrics = {}
    for name, node in config.items():
        if node is None:
            continue
        key = f"metrics.{name}"
        if name in SCORES[task.kind]:
            raise UserError("metrics must not have the names of scores", key, f"+metrics.my_{name}=…")
        metric = metrics[name] = build_function(key, node)
        scores = Scores(task, {name: metric})
        scores.update(outputs.new_zeros(()), outputs, targets)
        _tried(key, "be computed from predictions and targets", scores.compute)
        is_better = getattr(metric, "higher_is_better", None)
        if f"{monitor}_".startswith(f"val/{name}_") and is_better is not None and is_better is not (mode == "max"):
            good = "max" if is_better else "min"
            raise UserError(
                f"mode must be {good} for monitor={monitor}", f"mode={mode}", f"monitor={monitor} mode={good}"
            )
    return metrics


def _tried(key: str, must: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # On a few rows a metric may have reasons to warn; a shape that PyTorch broadcasts is a mistake.
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", ".*Using a target size.*")
            return function(*arguments)
    except (UserError, RunStopped, KeyboardInterrupt):
        raise
    except BaseException as error:  # user code may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        missing = re.search(r"missing \d+ required \S+ arguments?: '(\w+)'", str(error))
        raise UserError(
            f"{key} must {must}", f"{described(error)} ({Path(place.filename).name}, line {place.lineno})",
            f"{key}.{missing[1]}=…" if missing else "another one, or a function of one's own around it",
        ) from error  # fmt: skip


def build_scheduler(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `build_schedule` for conf/scheduler, with a factory as the name of a `_target_`.

    Raises:
        UserError: the schedule is not known, or cannot be built.
    """
    if config.get("_target_") is None:
        require_known_options(**config)
        return dict(config)
    of_entry = {name: config[name] for name in OF_ENTRY if name in config}
    if of_entry.get("interval") not in (None, "epoch", "step"):
        raise UserError(
            "scheduler.interval must be epoch or step",
            f"scheduler.interval={of_entry['interval']}",
            "scheduler.interval=epoch",
        )
    # `+scheduler._target_=…` leaves what conf/scheduler/none.yaml gives.
    options = {name: v for name, v in config.items() if name not in of_entry and (name, v) != ("name", "none")}
    accepted_options("scheduler", options, also=OF_ENTRY)
    factory = instantiate("scheduler", {**options, "_partial_": True})
    of_nothing = SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    _tried(
        "scheduler",
        "be built by its _target_",
        partial(
            build_schedule,
            factory,
            of_nothing,
            total_steps=10,
            monitor="",
            mode="min",
            **{k: v for k, v in of_entry.items() if k != "monitor"},
        ),
    )
    return {"name": factory, **of_entry}


def require_known_code(group: str, described: Mapping[str, Any], checkpoint: Path) -> Mapping[str, Any]:
    """Returns a checkpoint's configuration of a group, if conf/ or the run's own configuration names the same code.

    Raises:
        UserError: it names other code, or refers to values outside itself.
    """
    known = known_code(group, CONF, checkpoint.parent.parent)
    for place, value in walk(copy.deepcopy(dict(described))):
        if place and place[-1] == "_target_" and value not in known:
            raise UserError(
                f"code that a checkpoint names must be named in conf/{group}, too: a checkpoint is data",
                f"{checkpoint} names {printable(str(value))}",
                f"a file conf/{group}/NAME.yaml with the line _target_: {printable(str(value))}",
            )
        if not all(is_harmless(text) for text in (value, *place) if isinstance(text, str)):
            raise UserError(
                "a checkpoint must refer to nothing outside itself",
                f"{checkpoint}: {printable('.'.join(place))}={printable(str(value))}", "another checkpoint",
            )  # fmt: skip
    return described
