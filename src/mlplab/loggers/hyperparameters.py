"""Logs the configuration and the final metrics."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig
from torch.utils.tensorboard.summary import hparams

from mlplab.config.as_yaml import as_yaml
from mlplab.config.resolvers import without_secrets
from mlplab.loggers.event_file import EventFile

COMPARED = ("data", "model", "loss", "optimizer", "scheduler", "regularization", "trainer")
"""Groups whose values affect what is learned."""

NOT_COMPARED = (
    "callbacks", "engine", "logger", "mode", "monitor", "on_divergence", "paths", "resume", "sweep", "trust",
)  # fmt: skip
"""Other groups and values of conf/. What is in neither list is the user's own, and compared too."""

COMPARED_FLAGS = (
    "max_epochs",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "accumulate_grad_batches",
)


def hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Flattens the configuration: dotted name → number, boolean or string.

    `optimizer` is the name of the choice, `optimizer.lr` a value of it. The name is that of the file in conf/, as
    momentum and sgd are one class. Without Hydra it is the class or function.
    """
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    own = [str(key) for key in config if key not in ("seed", *COMPARED, *NOT_COMPARED)]
    resolved = without_secrets(config, ("seed", *COMPARED, *own))
    table: dict[str, Any] = {"seed": resolved["seed"]}
    for group in (*COMPARED, *own):
        if not isinstance(resolved[group], dict):
            table[group] = _plain(resolved[group])
            continue
        values: dict[str, Any] = dict(resolved[group])
        own_name = values.pop("name", None) or str(values.get("_target_", "")).rsplit(".", 1)[-1]
        name = chosen.get(group) or own_name
        if name:
            table[group] = name
        for key, value in values.items():
            if key.startswith("_") or (group == "trainer" and key not in COMPARED_FLAGS):
                continue
            table[f"{group}.{key}"] = _plain(value)
    return table


def _plain(value: Any) -> bool | int | float | str:
    # The HParams tab takes no lists.
    return value if isinstance(value, bool | int | float | str) else str(value)


def log_configuration(loggers: list[Logger], config: DictConfig, text: str | None = None) -> None:
    """Logs the hyper-parameters to every logger; to TensorBoard the whole configuration as text.

    Args:
        loggers: of the run.
        config: of the run.
        text: the configuration as YAML, if it has been formatted already.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # Markdown shows an indented block unchanged.
            lines = (as_yaml(config) if text is None else text).splitlines()
            logger.experiment.add_text("config", "".join(f"    {line}\n" for line in lines))
        else:
            logger.log_hyperparams(hyperparameters(config))


def log_final_metrics(loggers: list[Logger], config: DictConfig, directory: Path, result: dict[str, Any]) -> None:
    """Writes hyper-parameters, best validation and test metrics for TensorBoard's HParams tab.

    They go to a directory of their own below the run's. The tab lists every scalar in the directory of the
    hyper-parameters, and those of each step would clutter it.
    """
    if not any(isinstance(logger, TensorBoardLogger) for logger in loggers):
        return
    # A name of its own, as the curve of val/… ends with the last validation and not with the best.
    metrics = {name.replace("val/", "val_best/"): value for name, value in result["validation"].items()} | result[
        "test"
    ]
    # The first of the three summaries fixes the columns to those of one run. Without it, the tab collects them from
    # all runs, which may differ (momentum here, betas there).
    # Booleans become text: as numbers, which `hparams` makes of them, they could be filtered by a range only.
    table = {n: str(v).lower() if isinstance(v, bool) else v for n, v in hyperparameters(config).items()}
    _, start, end = hparams(table, {})  # type: ignore[no-untyped-call]
    file = EventFile(directory / "final")
    file.add_summary(start)
    file.add_summary(end)
    file.add_scalars(metrics, result["steps"])
    file.close()
