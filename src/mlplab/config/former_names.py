"""Maps names of code in earlier versions to present ones. Imports nothing of the project."""

from typing import Any

NAMES: tuple[str, ...] = ("mlplab",)
"""Names of this package over time, the present one last. Files of earlier runs may contain the others."""

RENAMED = {
    "mlplab.callbacks.Divergence": "mlplab.callbacks.NonFiniteGuard",
    "mlplab.callbacks.Pruning": "mlplab.sweeps.search.trial_pruning.Pruning",
    "mlplab.callbacks.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping",
    "mlplab.data.table.source.table": "mlplab.data.table.table_source.table",
    "mlplab.runs.tensorboard.CalmTensorBoardLogger": "mlplab.loggers.tensorboard.CalmTensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger": "mlplab.loggers.experiment_trackers.ResumableWandbLogger",
    "lightning.pytorch.loggers.MLFlowLogger": "mlplab.loggers.experiment_trackers.ResumableMLFlowLogger",
    "mlplab.runs.csv_log.ResumableCSVLogger": "mlplab.loggers.csv_log.ResumableCSVLogger",
}
"""Name of code in an earlier version's conf/ → its present name, so that runs with the old name resume."""


def present_name(name: Any) -> Any:
    """Returns the present name of an earlier version's code; any other name as it is."""
    if not isinstance(name, str):
        return name
    for former in NAMES[:-1]:
        if name.startswith(f"{former}."):
            name = NAMES[-1] + name.removeprefix(former)
    return RENAMED.get(name, name)


def use_present_names(node: Any) -> None:
    """Replaces `_target_`s of earlier versions by present ones, in place in nested dicts and lists."""
    waiting, seen = [node], set()
    while waiting:
        part = waiting.pop()
        # An untrusted container may contain itself.
        if not isinstance(part, dict | list) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict) and "_target_" in part:
            part["_target_"] = present_name(part["_target_"])
        waiting += part.values() if isinstance(part, dict) else part
