"""Which jobs can be trained in one stack, and which cannot be trained in any."""

import json
from collections.abc import Mapping
from typing import Any

from mlplab.models.mlp import MLP

FREE = {
    "seed": None,
    "data": {"split_seed"},
    "model": {
        "dropout", "input_dropout", "initialization", "initialization_std", "bias_initialization", "bias_std",
    },
    "loss": {"label_smoothing"},
    "optimizer": {
        "lr", "momentum", "dampening", "betas", "eps", "weight_decay", "alpha", "momentum_decay", "lr_decay",
        "initial_accumulator_value",
    },
    "scheduler": {"step_size", "gamma", "min_lr", "warmup_fraction", "factor", "patience", "threshold", "cooldown",
                  "eps", "pct_start", "div_factor", "final_div_factor", "anneal_strategy", "three_phase"},
    "regularization": {"l1", "l2"},
    "trainer": {"gradient_clip_val"},
}  # fmt: skip
"""What may differ between the members of a stack: group → names."""

FREE_OF_EARLY_STOPPING = {"min_delta", "patience"}

OF_THE_SWEEP = {"sweep", "paths", "resume", "trust", "hydra"}
"""What says nothing about training."""

CALLBACKS = {
    "lightning.pytorch.callbacks.EarlyStopping",
    *(
        f"mlplab.callbacks.{name}"
        for name in (
            "Checkpoints", "Divergence", "Figures", "GradientNorms", "Histograms", "ProgressLine",
            "Pruning", "TrainingCurves",
        )
    ),
}  # fmt: skip
"""Callbacks that each member has for itself. Others would look at a Trainer that trains many networks."""

LOGGERS = {"mlplab.runs.tensorboard.CalmTensorBoardLogger", "mlplab.runs.csv_log.ResumableCSVLogger"}

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
"""Flags of the Trainer with the values that a stack can have; what is not here it takes as it is."""


def key_of(values: Mapping[str, Any]) -> str:
    """What must be the same in all members of a stack, from a job's configuration in plain values."""
    kept = {}
    for group, content in values.items():
        if group in OF_THE_SWEEP or (group in FREE and FREE[group] is None):
            continue
        free = FREE.get(group) or ()
        kept[group] = {n: v for n, v in content.items() if n not in free} if isinstance(content, dict) else content
    model = kept.get("model")
    if isinstance(model, dict) and model.get("_target_") not in (None, f"{MLP.__module__}.MLP", "mlplab.models.MLP"):
        kept["model"] = values["model"]  # of somebody's own network nobody knows what its options do
    kept["callbacks"] = {
        name: {n: v for n, v in node.items() if n not in FREE_OF_EARLY_STOPPING}
        if str(node.get("_target_", "")).endswith(".EarlyStopping")
        else node
        for name, node in (values.get("callbacks") or {}).items()
        if isinstance(node, dict)
    }
    return json.dumps(kept, sort_keys=True, default=str)


def why_alone(values: Mapping[str, Any]) -> str | None:
    """What in a job's configuration keeps it out of any stack; None where nothing does."""
    trainer = values.get("trainer") or {}
    engine = (values.get("engine") or {}).get("name", "fast")
    if engine != "fast":
        return f"engine={engine}"
    for flag, possible in FLAGS.items():
        if flag in trainer and trainer[flag] not in possible:
            return f"trainer.{flag}={trainer[flag]}"
    for flag in ("threads", "precision", "gradient_clip_val", "gradient_clip_algorithm"):
        if flag not in trainer:
            return f"no trainer.{flag}"
    if values.get("on_divergence") == "skip":
        return "on_divergence=skip"
    if (values.get("model") or {}).get("compile"):
        return "model.compile=true"
    for group, known in (("callbacks", CALLBACKS), ("logger", LOGGERS)):
        for name, node in (values.get(group) or {}).items():
            if isinstance(node, dict) and node.get("_target_") not in known:
                return f"{group}.{name}"
    targets = [str(node.get("_target_")) for node in (values.get("callbacks") or {}).values() if node]
    for needed in ("Checkpoints", "Divergence", "TrainingCurves"):
        if not any(target.endswith(f".{needed}") for target in targets):
            return f"callbacks without {needed}"
    return None
