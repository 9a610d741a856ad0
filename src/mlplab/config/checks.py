"""Checks the whole configuration before anything is read or written. Imports nothing heavy."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlplab.config.config_rules import (
    FILE,
    MLP_RULES,
    OPTIMIZER_RULES,
    RULES,
    SWEEP_RULES,
    nearest,
    rules_of_callback,
)
from mlplab.config.differing import flat
from mlplab.config.paths import find_run, require_data_file, require_file
from mlplab.config.resolvers import project_root, without_secrets
from mlplab.config.suggestions import nearest_key, nearest_name
from mlplab.config.trainer_flags import CHOSEN_ELSEWHERE, TRAINER_FLAGS
from mlplab.errors import UserError
from mlplab.models.mlp_options import EMBEDDING_RULES, require_embedding_options
from mlplab.objectives.options import LOSSES, SCORES
from mlplab.optimization.names import NEED_END
from mlplab.parts import is_there, require_part
from mlplab.rules import Rule, shown

REQUIRED = {
    "data": "digits",
    "model": "mlp",
    "loss": "auto",
    "optimizer": "adam",
    "scheduler": "none",
    "trainer": "auto",
    "regularization": "{l1: 0, l2: 0, applies_to: [weight]}",
    "paths": "{logs: logs}",
    "seed": "0",
    "monitor": "val/loss",
}
"""Required groups and values → an example."""

WITHOUT_CLASS = ("engine", "regularization", "augmentation")
"""Groups without a class; their keys are those in `RULES`."""

OTHER_NAMES = {
    "ckpt_path": "resume=logs/runs/NAME", "checkpoint": "resume=logs/runs/NAME", "task_name": "name=…",
}  # fmt: skip
"""Names in other projects → the name to use here."""

CLASS_WEIGHTS = "loss.class_weights"

TABLE = "mlplab.data.table.table_source.table"
ARRAYS = "mlplab.data.arrays.arrays"

PERCEPTRONS = ("mlplab.models.MLP", "mlplab.models.TabM", "mlplab.models.RealMLP")
"""The project's own networks, whose options have rules."""


def check_job_of_sweep(config: DictConfig) -> None:
    """Refuses a sweep's job that `check` refuses, or that needs several machines.

    Raises:
        UserError: for the first fault.
    """
    check(config)
    if _select(config, "trainer.num_nodes", 1) != 1:
        # A launcher gives each job one process on one machine.
        raise UserError(
            "a sweep's jobs must each run on one machine", f"trainer.num_nodes={config.trainer.num_nodes} with -m",
            "one run at a time, without -m: docs/scaling.md",
        )  # fmt: skip


def check(config: DictConfig, *, resume: bool = False) -> None:
    """Refuses a configuration that cannot be run, before anything is read or written.

    Args:
        config: whole.
        resume: whether a run resumes; configurations of earlier releases may have more keys.

    Raises:
        UserError: for the first value that breaks its rule, or the first incompatible pair.
    """
    # First, as all other checks read values in these groups.
    for group, example in REQUIRED.items():
        if config.get(group) is None:
            raise UserError(f"{group} must be chosen", f"{group}=null", f"{group}={example}")
    for group in ("experiment", "debug", "local"):
        if config.get(group) is not None:
            raise UserError(
                f"a file of conf/{group} must begin with the line `# @package _global_`",
                f"the values of this one land under `{group}`, where nothing reads them",
                "adding that line",
            )
    targets = {
        group: _select(config, f"{group}._target_") for group in ("model", "data", "optimizer", "loss", "scheduler")
    }
    _require_rules(config, rules_for({**targets, **_callbacks_of(config)}))
    if not resume:
        _require_known_keys(config)
        _algorithm_has_a_limit(config)
    for check_together in TOGETHER:
        check_together(config)


def rules_for(targets: Mapping[str, Any]) -> dict[str, Rule]:
    """Returns the rules that apply to the chosen classes: group, or `callbacks.NAME` → its `_target_`, or None."""
    of_callbacks = {
        f"{place}.{name}": rule
        for place, target in targets.items()
        if place.startswith("callbacks.")
        for name, rule in rules_of_callback(target).items()
    }
    # First, as other values may refer to these: `max_steps` of a range test.
    rules = of_callbacks | RULES
    # The user's own classes may use the same names for other things.
    if targets.get("model") in PERCEPTRONS:
        rules.update({f"model.{name}": rule for name, rule in (MLP_RULES | EMBEDDING_RULES).items()})
    if targets.get("data") == TABLE:
        require_part("tables", f"data._target_={TABLE}", "data=digits")
        from mlplab.data.table.table_rules import TABLE_RULES

        rules.update({f"data.{name}": rule for name, rule in TABLE_RULES.items()})
    if targets.get("data") == ARRAYS:
        rules["data.path"] = FILE
    if str(targets.get("optimizer")).startswith(("torch.optim.", "mlplab.")):
        rules.update({f"optimizer.{name}": rule for name, rule in OPTIMIZER_RULES.items()})
    # The signature of the user's own code is checked once it is imported.
    own = tuple(f"{group}." for group in ("loss", "scheduler") if targets.get(group) is not None)
    return {key: rule for key, rule in rules.items() if key == CLASS_WEIGHTS or not key.startswith(own)}


def check_sweep(config: DictConfig) -> None:
    """Refuses invalid settings of a sweep itself.

    Raises:
        UserError: for the first value that breaks its rule.
    """
    _require_rules(config, {key: rule for key, rule in RULES.items() if key.startswith("sweep.")})
    if config.get("name") is not None:
        name = shown(without_secrets(config, ("name",))["name"])
        raise UserError("a sweep must be named by sweep.name", f"name={name} with -m", f"sweep.name={name}")
    target = _select(config, "sweep.target")
    if target is not None and not config.get("module"):
        own = [str(name) for name in config.get("metrics") or {}]
        require_metric("sweep.target.metric", target["metric"], target["mode"], None, own)


def check_settings(part: str, settings: Mapping[str, Any]) -> None:
    """Refuses invalid settings of a sweeper or launcher.

    Args:
        part: `hydra.sweeper` or `hydra.launcher`.
        settings: name → value, in plain Python.

    Raises:
        UserError: for the first value that breaks its rule.
    """
    for key, rule in SWEEP_RULES.items():
        name = key.removeprefix(f"{part}.")
        if name in settings and not rule.holds(settings[name]):
            near = nearest(settings[name], rule)
            raise UserError(f"{key} must be {rule.requirement}", f"{key}={shown(settings[name])}", f"{key}={near}")


def _require_rules(config: DictConfig, rules: Mapping[str, Rule]) -> None:
    # null is a value, so a missing key needs its own marker.
    absent = object()
    for key, rule in rules.items():
        value = _select(config, key, absent)
        if value is not absent and not rule.holds(value):
            # A value from the environment may be a password, so it is neither shown nor suggested.
            printed = reduce(lambda node, name: node[name], key.split("."), without_secrets(config))
            near = nearest(value, rule) if printed == value else rule.example
            raise UserError(f"{key} must be {rule.requirement}", f"{key}={shown(printed)}", f"{key}={near}")


def _select(config: DictConfig, key: str, default: Any = None) -> Any:
    """Does the same as `OmegaConf.select`, in plain values."""
    value = OmegaConf.select(config, key, default=default)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _callbacks_of(config: DictConfig) -> dict[str, Any]:
    """Returns the callbacks by their place, `callbacks.NAME` → `_target_`, or None."""
    node = config.get("callbacks")
    places = [f"callbacks.{name!s}" for name in node] if isinstance(node, DictConfig) else []
    return {place: _select(config, f"{place}._target_") for place in places}


def _places_of(config: DictConfig, name: str) -> list[str]:
    """Returns the places of the callbacks that are of a class of the project."""
    found = _callbacks_of(config).items()
    return [place for place, target in found if re.fullmatch(rf"mlplab\.callbacks\.(\w+\.)?{name}", str(target))]


def _loss_fits_task(config: DictConfig) -> None:
    task, loss = _select(config, "data.task"), _select(config, "loss.name")
    # A table's task may be known only after its target is read; then the loss is checked again.
    if loss is None or loss == "auto" or task not in LOSSES or loss in LOSSES[task]:
        return
    fitting = LOSSES[task]
    raise UserError(
        f"the loss must fit the task, which is {task} on this data: one of {', '.join(fitting)}",
        f"loss={loss}",
        f"loss={nearest_name(str(loss), fitting) or fitting[0]}",
    )


def _require_known_keys(config: DictConfig) -> None:
    """Refuses keys that nothing reads: a typing error would be ignored silently."""
    for group in WITHOUT_CLASS:
        known = [key.removeprefix(f"{group}.") for key in RULES if key.startswith(f"{group}.")]
        for key, value in (config.get(group) or {}).items():
            if key not in known and not _is_in_conf(group, key):
                name = f"{group}.{key}"
                near = nearest_key(name, [f"{group}.{one}" for one in known])
                requirement = f"{group} must hold nothing but {', '.join(known)}"
                raise UserError(
                    requirement, f"{name}={shown(value)}", f"{near}={shown(value)}" if near else "leaving it out"
                )
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    added = [word.lstrip("+") for word in words if word.startswith("+")]
    if not added:
        return
    # Files in conf/ may hold extra keys for the user's own code, so only typed keys are checked.
    conf = project_root() / "conf"
    own: Any = OmegaConf.to_container(OmegaConf.load(conf / "config.yaml"))
    present = [key for key in flat(own) if not key.startswith(("defaults", "hydra."))]
    # A group without a file yet, such as module.
    groups = [group for entry in own["defaults"] if isinstance(entry, dict) for group in entry]
    for word in added:
        name, _, value = word.partition("=")
        name = name.partition("@")[0]
        is_known = any(f"{key}.".startswith(f"{name}.") for key in present)
        # The group names a class, whose signature defines its options.
        group = re.split("[./]", name)[0]
        if is_known or group in groups or (conf / group).is_dir() or _is_referred_to(config, name):
            continue
        near = nearest_key(name, [*flat(OmegaConf.to_container(config)), *own])
        near = None if near is None or near == name or near.startswith(f"{name}.") else near
        hint = OTHER_NAMES.get(name) or (f"{near}={value}" if near else "leaving it out")
        requirement = f"names must be those of conf/, or be used by other values as ${{{name}}}"
        raise UserError(requirement, f"+{word}", hint)


def _is_in_conf(group: str, key: Any) -> bool:
    """Returns whether conf/config.yaml, which the user may have edited, has a key in a group."""
    whole = yaml.safe_load((project_root() / "conf" / "config.yaml").read_text(encoding="utf-8"))
    return key in ((whole.get(group) or {}) if group else whole)


def _is_referred_to(config: DictConfig, name: str) -> bool:
    """Returns whether any value of the configuration refers to `${NAME}` or a part of it."""
    texts = map(str, flat(OmegaConf.to_container(config)).values())
    return any(re.search(rf"\$\{{[^}}]*\b{re.escape(name)}\b", text) for text in texts)


def _callbacks_and_loggers_name_what_they_build(config: DictConfig) -> None:
    for group, example in (
        ("callbacks", "lightning.pytorch.callbacks.Timer"),
        ("logger", "lightning.pytorch.loggers.CSVLogger"),
        ("metrics", "my.metric"),
    ):
        node = config.get(group) or {}
        if not isinstance(node, DictConfig | Mapping):
            raise UserError(f"{group} must be one of conf/{group}", f"{group}={shown(node)}", f"{group}=null")
        for name, part in node.items():
            if part is not None and not (isinstance(part, DictConfig) and part.get("_target_")):
                key, hint = f"{group}.{name}", f"{group}.{name}={{_target_: {example}}}"
                if name == "averaging":  # the only one that is chosen by its own group
                    hint = f"callbacks/averaging={part}"
                elif isinstance(part, DictConfig):  # an experiment's options of a callback that is not chosen
                    hint = f"{key}=null, or {group}=… with a choice that has it"
                given = f"{key}={shown(without_secrets(config)[group][name])}"
                raise UserError(f"{key} must be null, or name what it builds", given, hint)


def _trainer_flags_are_known(config: DictConfig) -> None:
    for flag, value in config.trainer.items():
        require_trainer_flag(str(flag), f"trainer.{flag}={shown(value)}")


def require_trainer_flag(flag: str, given: str) -> None:
    """Refuses flags that Lightning's Trainer does not have, and flags that a run sets itself.

    Raises:
        UserError: suggests the nearest name, or where the flag is chosen.
    """
    if flag in CHOSEN_ELSEWHERE:
        raise UserError(f"what trainer.{flag} says must be chosen elsewhere", given, CHOSEN_ELSEWHERE[flag])
    # conf/trainer has one key of this project beside Lightning's flags.
    if flag not in (*TRAINER_FLAGS, "threads"):
        near = nearest_name(flag, [name for name in TRAINER_FLAGS if name not in CHOSEN_ELSEWHERE])
        hint = f"trainer.{near}" if near else "leaving it out; Lightning's documentation of its Trainer has them all"
        raise UserError("trainer must be given flags of Lightning's Trainer", given, hint)


def _monitor_exists(config: DictConfig) -> None:
    metric, mode, task, target = (_select(config, key) for key in ("monitor", "mode", "data.task", "data.target"))
    # Several classifications are labels, which have other scores. The user's own module may log any names.
    if not config.get("module"):
        own = [str(name) for name in config.get("metrics") or {}]
        known = direction_of("monitor", str(metric), None if isinstance(target, list) else task, own)
        if known:
            require_metric("monitor", metric, mode, None if isinstance(target, list) else task, own)
    if mode is None:
        raise UserError(
            f"mode must be given for monitor={metric}, as nothing says whether small or large is good",
            "there is none", "mode=min, or mode=max",
        )  # fmt: skip


def require_metric(key: str, metric: str, mode: str, task: str | None, own: Sequence[str] = ()) -> None:
    """Refuses a metric that the task does not have, or if the task is still unknown, that no task has.

    Args:
        key: of the configuration, for the message.
        metric: as `val/NAME`.
        mode: `min` or `max`.
        task: its kind.
        own: names of metrics of conf/metrics. A metric with several values has them as `val/NAME_VALUE`.

    Raises:
        UserError: there is no such metric, or `mode` is not its direction.
    """
    direction = direction_of(key, metric, task, own)
    # The wrong direction would keep the worst weights as the best.
    if direction not in ("", mode):
        good = "small" if direction == "min" else "large"
        raise UserError(
            f"mode must be {direction} for {key}={metric}, which is good when {good}",
            f"mode={mode}",
            f"{key}={metric} mode={direction}",
        )


def direction_of(key: str, metric: str, task: str | None, own: Sequence[str] = ()) -> str:
    """Returns the good direction of a metric, `min` or `max`; nothing for the user's own metric.

    Args:
        key: as for `require_metric`.
        metric: as `val/NAME`.
        task: its kind.
        own: names of metrics of conf/metrics.

    Raises:
        UserError: there is no such metric.
    """
    known = SCORES.get(str(task)) or {name: good for scores in SCORES.values() for name, good in scores.items()}
    names = {f"val/{name}": direction for name, direction in known.items()}
    if any(f"{metric}_".startswith(f"val/{name}_") for name in own):
        return ""
    if metric not in names:
        names.update({f"val/{name}": "" for name in own})
        close = nearest_name(str(metric), list(names)) or "val/loss"
        raise UserError(f"{key} must be one of {', '.join(names)}", f"{key}={metric}", f"{key}={close}")
    return names[metric]


def _data_file_is_there(config: DictConfig) -> None:
    if _select(config, "data._target_") == ARRAYS:
        require_file(Path(config.data.path).expanduser(), "data.path")
    if _select(config, "data._target_") != TABLE:
        return
    for key in ("path", "test_path"):
        given = _select(config, f"data.{key}")
        if given is not None:
            require_data_file(Path(given).expanduser(), f"data.{key}")
    # Each row would be in the training part and in the test part.
    if _select(config, "data.path") == _select(config, "data.test_path"):
        raise UserError("data.test_path must be another file", "it is data.path", "data.test_path=null")


def _parts_leave_training_rows(config: DictConfig) -> None:
    fractions = [_select(config, f"data.{part}_fraction") for part in ("validation", "test")]
    if None not in fractions and sum(fractions) >= 1:
        raise UserError(
            "data.validation_fraction and data.test_fraction must leave rows for training",
            f"they add up to {sum(fractions):g}",
            "data.validation_fraction=0.15 data.test_fraction=0.15",
        )


def _test_has_rows(config: DictConfig) -> None:
    # The test part of a fold is the fold.
    is_drawn = _select(config, "data.folds") is None
    if is_drawn and _select(config, "data.test_fraction") == 0 and config.get("test", True):
        raise UserError("data.test_fraction must be above 0 for a test", "data.test_fraction=0", "test=false with it")


def _fold_is_one_of_the_folds(config: DictConfig) -> None:
    folds, fold = (_select(config, f"data.{name}") for name in ("folds", "fold"))
    if folds is None and fold is not None:
        raise UserError("data.fold must be one of data.folds", "data.folds=null", f"data.folds=5 data.fold={fold}")
    if folds is not None and (fold is None or fold >= folds):
        requirement = f"data.fold must be a number from 0 to {folds - 1}, as data.folds={folds}"
        raise UserError(
            requirement,
            f"data.fold={shown(fold)}",
            f"data.fold=0{', or -m for a job for each fold' if is_there('sweeps') else ''}",
        )


def _algorithm_has_a_limit(config: DictConfig) -> None:
    # Nothing would be clipped, silently.
    algorithm = _select(config, "trainer.gradient_clip_algorithm", "norm")
    if algorithm != "norm" and not _select(config, "trainer.gradient_clip_val"):
        raise UserError(
            "trainer.gradient_clip_algorithm must be given with trainer.gradient_clip_val",
            f"trainer.gradient_clip_algorithm={algorithm} alone",
            "trainer.gradient_clip_val=1",
        )


def _batch_normalization_has_a_batch(config: DictConfig) -> None:
    # One row has no variance, and PyTorch refuses to train on it.
    if _select(config, "model.normalization") == "batch" and _select(config, "data.batch_size") == 1:
        raise UserError(
            "model.normalization=batch must have at least two rows in a batch",
            "data.batch_size=1",
            "model.normalization=layer, or data.batch_size=32",
        )


def _numeric_embedding_has_the_options(config: DictConfig) -> None:
    if _select(config, "model._target_") in PERCEPTRONS and _select(config, "model.numeric_embedding") is not None:
        require_embedding_options({name: _select(config, f"model.{name}") for name in EMBEDDING_RULES})


def _lbfgs_has_the_plain_gradient(config: DictConfig) -> None:
    if not str(_select(config, "optimizer._target_")).endswith(".LBFGS"):
        return
    # L-BFGS estimates curvature from differences of gradients, which clipping and accumulation distort. A limit on the
    # weights would change them between its steps.
    for key, neutral in (
        ("trainer.gradient_clip_val", None),
        ("trainer.accumulate_grad_batches", 1),
        ("regularization.max_norm", None),
    ):
        # Lightning takes a clip value of 0 for no clipping.
        if _select(config, key, neutral) not in (neutral, 0):
            raise UserError(
                "optimizer=lbfgs must have the plain gradient of one batch",
                f"{key}={_select(config, key)}",
                f"{key}={shown(neutral)}, or optimizer=adam",
            )


def _module_goes_with_the_rest(config: DictConfig) -> None:
    if config.get("module") and config.get("on_divergence") == "skip":
        # Only the project's own `optimizer_step` skips.
        raise UserError(
            "on_divergence must be stop or raise with a module of one's own", "on_divergence=skip", "on_divergence=stop"
        )


def _weights_are_there(config: DictConfig) -> None:
    start, trains = config.get("start_from"), config.get("train", True)
    if start is not None:
        find_run(Path(str(start)).expanduser(), "start_from")
    elif not trains:
        raise UserError(
            "train=false must be given with the weights to test",
            "there is no start_from",
            "train=false start_from=logs/runs/NAME",
        )
    if not trains and not config.get("test", True):
        raise UserError("a run must train or test", "train=false test=false", "test=true")


def _epochs_have_an_order(config: DictConfig) -> None:
    least, most = _select(config, "trainer.min_epochs"), _select(config, "trainer.max_epochs")
    # Both mean that there is no limit.
    if least is not None and most not in (None, -1) and least > most:
        raise UserError(
            "trainer.min_epochs must not exceed trainer.max_epochs",
            f"trainer.min_epochs={least} trainer.max_epochs={most}",
            f"trainer.max_epochs={least}",
        )


def _processes_can_share(config: DictConfig) -> None:
    devices = _select(config, "trainer.devices")
    alone = devices in (1, "1") or (devices == "auto" and _select(config, "trainer.strategy") == "auto")
    alone = alone and _select(config, "trainer.num_nodes", 1) == 1
    if (
        not alone
        and _select(config, "model.normalization") == "batch"
        and not _select(config, "trainer.sync_batchnorm")
    ):
        raise UserError(
            "batch normalisation over several processes must share its statistics",
            "model.normalization=batch without trainer.sync_batchnorm",
            "model.normalization=layer, or on GPUs +trainer.sync_batchnorm=true",
        )


def _benchmark_has_its_way(config: DictConfig) -> None:
    if _select(config, "trainer.benchmark") and _select(config, "trainer.deterministic") is True:
        raise UserError(
            "trainer.benchmark must choose among algorithms of any order of sums", "trainer.deterministic=true",
            "trainer.deterministic=false, which gives up equal bits",
        )  # fmt: skip


def _plateau_is_validated(config: DictConfig) -> None:
    # The plateau schedule lowers the rate when the validation loss no longer falls.
    if _select(config, "scheduler.name") == "plateau" and _select(config, "trainer.limit_val_batches") in (0, 0.0):
        raise UserError("scheduler=plateau must have a validation", "trainer.limit_val_batches=0", "scheduler=cosine")


def _schedule_knows_the_end(config: DictConfig) -> None:
    name = _select(config, "scheduler.name")
    max_epochs, max_steps = _select(config, "trainer.max_epochs"), _select(config, "trainer.max_steps", -1)
    if max_epochs in (-1, None) and max_steps == -1:
        if name in NEED_END:
            raise UserError(
                f"scheduler={name} must know where the run ends",
                "trainer.max_epochs=-1 without trainer.max_steps",
                "trainer.max_epochs=100",
            )
        if _select(config, "callbacks.early_stopping") is None and _select(config, "trainer.max_time") is None:
            raise UserError(
                "a run must have an end", "no limit of epochs, steps or time, and no early stopping",
                "trainer.max_epochs=100",
            )  # fmt: skip


def _averaging_begins_in_time(config: DictConfig) -> None:
    most = _select(config, "trainer.max_epochs")
    for place in _places_of(config, "StochasticWeightAverage"):
        start = _select(config, f"{place}.start_epoch")
        # The weights of one epoch are no mean.
        if start is not None and most not in (None, -1) and start >= most:
            raise UserError(
                f"{place}.start_epoch must be below trainer.max_epochs",
                f"{place}.start_epoch={start} trainer.max_epochs={most}",
                f"{place}.start_epoch={most * 3 // 4}" if most > 1 else "callbacks/averaging=none",
            )


def _range_test_has_the_rate_to_itself(config: DictConfig) -> None:
    for place in _places_of(config, "LearningRateRange"):
        low, high = _select(config, f"{place}.low"), _select(config, f"{place}.high")
        # One that is missing is told where the callback is built.
        if None not in (low, high) and low >= high:
            raise UserError(
                f"{place}.low must be below {place}.high", f"{place}.low={shown(low)} {place}.high={shown(high)}",
                f"{place}.low={high / 1e8:g}",
            )  # fmt: skip
        for key, neutral, choice in (
            # The test raises the rate at each step: a schedule would change it too, and accumulation would skip steps.
            ("scheduler.name", "none", "scheduler"),
            ("trainer.accumulate_grad_batches", 1, "trainer.accumulate_grad_batches"),
            ("trainer.devices", 1, "trainer.devices"),
        ):
            value = _select(config, key, neutral)
            if value not in (neutral, "auto", "1"):
                raise UserError(
                    "a range test must have the learning rate to itself, and one step per batch",
                    f"{choice}={shown(value)}", f"{choice}={neutral}",
                )  # fmt: skip


TOGETHER: tuple[Callable[[DictConfig], None], ...] = (
    _loss_fits_task,
    _trainer_flags_are_known,
    _callbacks_and_loggers_name_what_they_build,
    _monitor_exists,
    _data_file_is_there,
    _parts_leave_training_rows,
    _test_has_rows,
    _fold_is_one_of_the_folds,
    _batch_normalization_has_a_batch,
    _numeric_embedding_has_the_options,
    _lbfgs_has_the_plain_gradient,
    _benchmark_has_its_way,
    _plateau_is_validated,
    _module_goes_with_the_rest,
    _weights_are_there,
    _epochs_have_an_order,
    _processes_can_share,
    _schedule_knows_the_end,
    _averaging_begins_in_time,
    _range_test_has_the_rate_to_itself,
)
"""Checks for incompatible values."""
