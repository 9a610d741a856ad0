"""Defines a rule for each value of the configuration. Imports nothing heavy."""

import re
from dataclasses import replace
from typing import Any

from mlplab.config.paths import in_a_path
from mlplab.config.suggestions import nearest_name
from mlplab.config.trainer_flags import PRECISIONS, PROFILERS, STRATEGIES
from mlplab.models.mlp_options import OPTIONS as MLP_OPTIONS
from mlplab.objectives.options import OPTIONS as LOSS_OPTIONS
from mlplab.optimization.names import KINDS
from mlplab.rules import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    PROPER_SHARE,
    SHARE,
    SWITCH,
    WHOLE,
    Rule,
    is_integer,
    is_number,
    number_in,
    one_of,
    optional,
    shown,
)


def _is_folder_name(text: str) -> bool:
    return (
        # File systems limit the bytes of a name, not its characters.
        0 < len(text.encode()) <= 100
        and text == text.strip()
        and text.isprintable()
        and not re.search(r"^\.|[/\\]", text)
    )


# NumPy's and Lightning's seeds are below 2**32.
SEED = Rule(lambda v: is_integer(v) and 0 <= v < 2**32, "an integer from 0 to 4294967295", "0")
LIMIT = Rule(lambda v: v is None or (is_integer(v) and v >= -1), "-1 (no limit), or an integer of 0 or more", "100")
# Lightning distinguishes by type: 1.0 is all batches, 1 is one batch.
FRACTION_OR_COUNT = Rule(
    lambda v: v is None or (is_integer(v) and v >= 0) or (isinstance(v, float) and 0 <= v <= 1),
    "a share in [0.0, 1.0], or a number of batches",
    "1.0",
)
# At 1, Adam's bias correction would divide by zero.
BETAS = Rule(
    lambda v: isinstance(v, list) and len(v) == 2 and all(is_number(b) and 0 <= b < 1 for b in v),
    "two numbers in [0, 1)",
    "[0.9,0.999]",
)

RULES: dict[str, Rule] = {
    "seed": SEED,
    "mode": optional(one_of(("min", "max"), "min")),
    "on_divergence": one_of(("stop", "skip", "raise"), "stop"),
    "trust": SWITCH,
    "train": SWITCH,
    "test": SWITCH,
    "verbose": SWITCH,
    "start_from": optional(
        Rule(lambda v: isinstance(v, str) and v.strip() != "", "the directory of a run", "logs/runs/NAME")
    ),
    "model.freeze": optional(
        Rule(
            lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v),
            "a list of names or patterns of parameters",
            "[hidden.0]",
        )
    ),
    "optimizer.groups": optional(
        Rule(
            lambda v: isinstance(v, list) and all(isinstance(g, dict) and isinstance(g.get("params"), str) for g in v),
            "a list of groups, each with a pattern as params and the options of its own",
            "[{params: 'hidden.*', lr: 0.0001}]",
        )
    ),
    "data.batch_size": Rule(
        lambda v: v == "full" or (is_integer(v) and 1 <= v < 2**31), "a positive integer, or full", "32"
    ),
    # Not 0, as validation selects the best weights.
    "data.validation_fraction": PROPER_SHARE,
    "data.test_fraction": replace(SHARE, example="0.15"),
    "data.split_seed": SEED,
    "data.folds": optional(Rule(lambda v: is_integer(v) and 2 <= v <= 1000, "an integer from 2 to 1000", "5")),
    "data.fold": optional(Rule(lambda v: is_integer(v) and v >= 0, "an integer of 0 or more", "0")),
    "data.n_samples": Rule(lambda v: is_integer(v) and 20 <= v <= 10_000_000, "an integer from 20 to 10000000", "1000"),
    "data.noise": NOT_NEGATIVE,
    "data.seed": SEED,
    **{f"loss.{name}": option.rule for name, option in LOSS_OPTIONS.items()},
    "model.compile": SWITCH,
    "regularization.l1": NOT_NEGATIVE,
    "regularization.l2": NOT_NEGATIVE,
    # The kinds of parameters that `parameter_groups` tells apart.
    "regularization.applies_to": Rule(
        lambda v: isinstance(v, list) and all(kind in KINDS for kind in v),
        f"a list of {', '.join(KINDS)}",
        "[weight]",
    ),
    "regularization.max_norm": optional(replace(POSITIVE, example="3.0")),
    "augmentation.noise": replace(NOT_NEGATIVE, example="0.1"),
    "augmentation.mixup": replace(NOT_NEGATIVE, example="0.2"),
    "augmentation.shift": Rule(lambda v: is_integer(v) and v >= 0, "a number of pixels, 0 or more", "2"),
    "scheduler.step_size": COUNT,
    "scheduler.gamma": POSITIVE,
    "scheduler.min_lr": NOT_NEGATIVE,
    "scheduler.warmup_fraction": SHARE,
    "scheduler.factor": PROPER_SHARE,
    "scheduler.patience": Rule(lambda v: is_integer(v) and v >= 0, "an integer of 0 or more", "5"),
    "scheduler.threshold": NOT_NEGATIVE,
    "scheduler.threshold_mode": one_of(("abs", "rel"), "abs"),
    "scheduler.pct_start": PROPER_SHARE,
    "scheduler.div_factor": POSITIVE,
    "scheduler.final_div_factor": POSITIVE,
    "scheduler.anneal_strategy": one_of(("cos", "linear"), "cos"),
    "engine.name": one_of(("fast", "plain"), "fast"),
    "trainer.accelerator": one_of(("auto", "cpu", "gpu", "cuda", "mps"), "auto"),
    "trainer.strategy": Rule(
        lambda v: v in STRATEGIES,
        f"one of {', '.join(STRATEGIES)}: others split the weights, or train copies that do not come back",
        "ddp",
        STRATEGIES,
    ),
    "trainer.num_nodes": COUNT,
    "trainer.sync_batchnorm": SWITCH,
    "trainer.inference_mode": SWITCH,
    "trainer.enable_autolog_hparams": SWITCH,
    "trainer.enable_progress_bar": optional(SWITCH),
    "trainer.reload_dataloaders_every_n_epochs": WHOLE,
    "trainer.benchmark": optional(SWITCH),
    "trainer.profiler": optional(one_of(PROFILERS, "simple")),
    "trainer.precision": one_of(PRECISIONS, "32-true"),
    "trainer.max_epochs": LIMIT,
    "trainer.max_steps": Rule(lambda v: is_integer(v) and v >= -1, "-1 (no limit), or an integer of 0 or more", "-1"),
    "trainer.min_epochs": optional(COUNT),
    "trainer.min_steps": optional(COUNT),
    "trainer.limit_train_batches": FRACTION_OR_COUNT,
    "trainer.limit_val_batches": FRACTION_OR_COUNT,
    "trainer.limit_test_batches": FRACTION_OR_COUNT,
    "trainer.overfit_batches": FRACTION_OR_COUNT,
    "trainer.fast_dev_run": Rule(
        lambda v: isinstance(v, bool) or (is_integer(v) and v >= 1),
        "true, false, or a number of batches",
        "true",
    ),
    "trainer.check_val_every_n_epoch": optional(COUNT),
    "trainer.log_every_n_steps": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": optional(NOT_NEGATIVE),
    "trainer.gradient_clip_algorithm": one_of(("norm", "value"), "norm"),
    "trainer.detect_anomaly": SWITCH,
    "trainer.threads": Rule(
        lambda v: v == "auto" or (is_integer(v) and 1 <= v <= 1024), "auto, or a positive integer up to 1024", "1"
    ),
    "trainer.val_check_interval": Rule(
        lambda v: v is None or (isinstance(v, float) and 0 < v <= 1) or (is_integer(v) and v >= 1),
        "null, a share in (0.0, 1.0], or a number of batches",
        "0.5",
    ),
    "trainer.num_sanity_val_steps": Rule(lambda v: is_integer(v) and v >= -1, "an integer of -1 or more", "0"),
    # The format of Lightning's Timer.
    "trainer.max_time": Rule(
        lambda v: v is None or (isinstance(v, str) and re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", v) is not None),
        "null, or days:hours:minutes:seconds with two digits each",
        "00:00:10:00",
    ),
    "trainer.deterministic": Rule(lambda v: isinstance(v, bool) or v == "warn", "true, false or warn", "true"),
    "data.task": one_of(("auto", "classification", "regression"), "auto"),
    "sweep.name": Rule(
        # YAML reads a name such as 2026 as a number.
        lambda v: isinstance(v, str | int) and not isinstance(v, bool) and _is_folder_name(str(v)),
        "the name of a folder: up to 100 characters without /, the first no point",
        "lr_study",
    ),
    "sweep.retry_failed": SWITCH,
    "sweep.dry_run": SWITCH,
    "sweep.rerun": optional(replace(COUNT, requirement="a positive number of seeds")),
    "sweep.rerun_top": replace(COUNT, requirement="a positive number of settings"),
    "sweep.target": Rule(
        lambda v: (
            v is None or (isinstance(v, dict) and set(v) == {"metric", "value", "mode"} and is_number(v["value"]))
        ),
        "null, or a metric, a value and a mode",
        "{metric: val/accuracy, value: 0.95, mode: max}",
    ),
    "paths.logs": Rule(lambda v: isinstance(v, str) and v.strip() != "", "the name of a folder", "logs"),
    "name": Rule(
        # YAML reads a name such as 2026 as a number.
        lambda v: (
            v is None
            or (isinstance(v, str | int | float) and not isinstance(v, bool) and 0 < len(in_a_path(str(v))) <= 100)
        ),
        "null, or a name with a letter or digit from A to Z or 0 to 9, up to 100 characters",
        "baseline",
    ),
    "tags": Rule(
        lambda v: isinstance(v, list) and all(isinstance(tag, str | int | float) for tag in v),
        "a list of words",
        "[baseline]",
    ),
    "notes": optional(Rule(lambda v: isinstance(v, str | int | float), "text", "'a first try'")),
}

FILE = Rule(lambda v: isinstance(v, str) and v.strip() != "", "the path of a file", "table.csv")

# These hold for the project's own choices. The user's own optimizer or model may use the same names for other things,
# and checks them itself.
MLP_RULES = {name: option.rule for name, option in MLP_OPTIONS.items()}

OPTIMIZER_RULES: dict[str, Rule] = {
    "lr": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": SHARE,
    "dampening": NOT_NEGATIVE,
    "nesterov": SWITCH,
    "betas": BETAS,
    "eps": NOT_NEGATIVE,
    "amsgrad": SWITCH,
    "fused": optional(SWITCH),
    "momentum_decay": NOT_NEGATIVE,
    "decoupled_weight_decay": SWITCH,
    "alpha": SHARE,
    "centered": SWITCH,
    "lr_decay": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
    "rho": SHARE,
    "max_iter": COUNT,
    "max_eval": optional(COUNT),
    "tolerance_grad": NOT_NEGATIVE,
    "tolerance_change": NOT_NEGATIVE,
    "history_size": COUNT,
    # The only line search that PyTorch's LBFGS has.
    "line_search_fn": optional(one_of(("strong_wolfe",), "strong_wolfe")),
    "ns_steps": COUNT,
}

# An epoch is drawn where the number divides its own: 0 would divide by zero.
_EVERY = {"every_n_epochs": COUNT}

CALLBACK_RULES: dict[str, dict[str, Rule]] = {
    "Checkpoints": {"every_seconds": NOT_NEGATIVE, "every_n_epochs": optional(COUNT)},
    "EarlyStopping": {
        "patience": Rule(lambda v: is_integer(v) and v >= 1, "an integer of 1 or more epochs", "15"),
        "min_delta": NOT_NEGATIVE,
    },
    "ExponentialMovingAverage": {"decay": replace(SHARE, example="0.999")},
    "HiddenUnits": _EVERY,
    "Histograms": _EVERY,
    "LayerStatistics": {**_EVERY, "dead_above": SHARE, "vanishing_below": NOT_NEGATIVE},
    "LearnedFunction": _EVERY,
    "LearningRateRange": {
        "low": POSITIVE,
        "high": POSITIVE,
        "n_steps": Rule(lambda v: is_integer(v) and 20 <= v <= 10_000, "an integer from 20 to 10000", "300"),
    },
    "StochasticWeightAverage": {"start_epoch": replace(COUNT, requirement="the number of an epoch, from 1")},
    "WeightImages": _EVERY,
}
"""Class of a callback → rules of its numbers, whatever its name in conf/callbacks is."""


def rules_of_callback(target: Any) -> dict[str, Rule]:
    """Returns the rules of a callback that the project brings or chooses; none for one of the user's own."""
    package, _, name = str(target).rpartition(".")
    is_own = f"{package}.".startswith(("mlplab.callbacks.", "lightning.pytorch.callbacks."))
    return CALLBACK_RULES.get(name, {}) if is_own else {}


_SEEDS = Rule(
    lambda v: isinstance(v, list) and bool(v) and all(is_integer(seed) and seed >= 0 for seed in v),
    "a list of seeds", "[100,101,102]",
)  # fmt: skip
_OPTIONS = optional(Rule(lambda v: isinstance(v, dict), "a mapping of names to values", "{n_startup_trials:5}"))

SWEEP_RULES: dict[str, Rule] = {
    "hydra.launcher.members": replace(COUNT, requirement="a positive number of networks", example="64"),
    "hydra.launcher.processes": Rule(
        lambda v: v == "auto" or (is_integer(v) and v >= 1), "auto or a positive number of processes", "2"
    ),
    "hydra.launcher.ray.init.num_cpus": optional(replace(COUNT, requirement="a positive number of cores", example="2")),
    "hydra.launcher.ray.init.num_gpus": optional(replace(WHOLE, requirement="a number of GPUs", example="1")),
    "hydra.launcher.ray.remote.num_cpus": Rule(
        lambda v: v == "auto" or (is_number(v) and v > 0), "auto, or a positive number of cores", "1"
    ),
    "hydra.launcher.ray.remote.num_gpus": Rule(
        lambda v: v == "auto" or (is_number(v) and v >= 0), "auto, or a number of GPUs, also a part of one", "0.5"
    ),
    "hydra.launcher.timeout_min": replace(COUNT, requirement="a positive number of minutes", example="60"),
    "hydra.launcher.array_parallelism": replace(COUNT, requirement="a positive number of jobs", example="16"),
    "hydra.launcher.cpus_per_task": optional(replace(COUNT, requirement="a positive number of cores", example="2")),
    "hydra.launcher.mem_gb": optional(replace(POSITIVE, requirement="a positive number of gigabytes", example="4")),
    "hydra.sweeper.trials": optional(replace(COUNT, example="20")),
    "hydra.sweeper.epochs": optional(replace(COUNT, example="20")),
    "hydra.sweeper.minutes": optional(replace(POSITIVE, example="20")),
    "hydra.sweeper.batch": optional(replace(COUNT, example="1")),
    "hydra.sweeper.seed": optional(Rule(lambda v: is_integer(v) and v >= 0, "an integer of 0 or more", "0")),
    "hydra.sweeper.sampler_options": _OPTIONS,
    "hydra.sweeper.pruner_options": _OPTIONS,
    "hydra.sweeper.tuning_seeds": _SEEDS,
    # A search also accepts their number.
    "hydra.sweeper.seeds": optional(
        replace(
            _SEEDS,
            holds=lambda v: (is_integer(v) and v > 0) or _SEEDS.holds(v),
            requirement="a list of seeds, or their number",
        )
    ),
}
"""Rules of the settings in conf/hydra/sweeper and conf/hydra/launcher."""


def nearest(value: Any, rule: Rule) -> str:
    """Suggests a valid value: the number in quotes, a list of the given one, a similar name, or the rule's example."""
    number = number_in(value)
    if number is not None and rule.holds(number):
        return shown(number)
    if isinstance(value, str | int | float) and rule.example.startswith("[") and rule.holds([value]):
        return f"[{shown(value)}]"
    return nearest_name(str(value), rule.names) or rule.example
