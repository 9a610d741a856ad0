"""Names that code of earlier versions had, and what it is called now. Imports nothing of the project."""

from typing import Any

NAMES: tuple[str, ...] = ("mlplab",)
"""Names that this package has had, today's last. Each but the last may stand in files of earlier runs."""

RENAMED = {
    "mlplab.callbacks.Divergence": "mlplab.callbacks.NonFiniteGuard",
    "mlplab.callbacks.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping",
    "mlplab.data.table.source.table": "mlplab.data.table.table_source.table",
    "mlplab.runs.tensorboard.CalmTensorBoardLogger": "mlplab.loggers.tensorboard.CalmTensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger": "mlplab.loggers.experiment_trackers.ResumableWandbLogger",
    "lightning.pytorch.loggers.MLFlowLogger": "mlplab.loggers.experiment_trackers.ResumableMLFlowLogger",
    "mlplab.runs.csv_log.ResumableCSVLogger": "mlplab.loggers.csv_log.ResumableCSVLogger",
}
"""Name of code in conf/ of an earlier version → its name now. Runs that were configured with the old name resume."""


def present_name(name: Any) -> Any:
    """Returns what code of an earlier version is called now; anything else as it is."""
    if not isinstance(name, str):
        return name
    for former in NAMES[:-1]:
        if name.startswith(f"{former}."):
            name = NAMES[-1] + name.removeprefix(former)
    return RENAMED.get(name, name)


def use_present_names(node: Any) -> None:
    """Replaces the `_target_`s of earlier versions in nested dicts and lists by today's, in place."""
    waiting, seen = [node], set()
    while waiting:
        part = waiting.pop()
        # What somebody else wrote may contain itself.
        if not isinstance(part, dict | list) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict) and "_target_" in part:
            part["_target_"] = present_name(part["_target_"])
        waiting += part.values() if isinstance(part, dict) else part
