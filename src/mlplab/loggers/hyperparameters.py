"""Logs the configuration and the final metrics."""

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

from mlplab.config.as_yaml import as_yaml
from mlplab.config.config_rules import OPTIMIZER_RULES, RULES
from mlplab.config.resolvers import without_secrets
from mlplab.objectives.options import SCORES
from mlplab.own_code import unread

COMPARED = ("data", "model", "loss", "optimizer", "scheduler", "regularization", "augmentation", "trainer")
"""Groups that affect what is learned."""

NOT_COMPARED = (
    "callbacks", "engine", "logger", "mode", "monitor", "name", "notes", "on_divergence", "paths", "resume",
    "start_from", "sweep", "tags", "test", "train", "trust", "verbose",
)  # fmt: skip
"""Other groups and values of conf/. Groups in neither list are the user's own, and are compared too."""

COMPARED_FLAGS = (
    "max_epochs",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "accumulate_grad_batches",
)


OF_OTHER_RUNS = [
    "name",
    *(f"optimizer.{name}" for name in OPTIMIZER_RULES),
    *(name for name in RULES if name.startswith(("scheduler.", "loss."))),
]
"""Columns that only some runs have."""


FIRST_COLUMNS = ("optimizer", "optimizer.lr", "seed")
"""Columns that are always shown, together with typed options."""


def hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Flattens the configuration: dotted name → number, boolean or string. What nothing reads is left out.

    `optimizer` is the name of the choice, `optimizer.lr` one of its values. The name is that of the file in conf/, as
    momentum and sgd are the same class. Without Hydra it is the class or function.
    """
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    own = [str(key) for key in config if key not in ("seed", *COMPARED, *NOT_COMPARED)]
    resolved = without_secrets(config, ("seed", *COMPARED, *own))
    table: dict[str, Any] = {"seed": resolved["seed"]}
    if config.get("name") is not None:
        table["name"] = str(without_secrets(config, ("name",))["name"])
    ignored = {name for part in unread(config) for name in part.names}
    for group in (one for one in (*COMPARED, *own) if one not in ignored):
        if not isinstance(resolved[group], dict):
            table[group] = _plain(resolved[group])
            continue
        values: dict[str, Any] = dict(resolved[group])
        own_name = values.pop("name", None) or str(values.get("_target_", "")).rsplit(".", 1)[-1]
        name = chosen.get(group) or own_name
        if name:
            table[group] = name
        for key, value in values.items():
            if key.startswith("_") or f"{group}.{key}" in ignored or (group == "trainer" and key not in COMPARED_FLAGS):
                continue
            table[f"{group}.{key}"] = _plain(value)
    return table


def _plain(value: Any) -> bool | int | float | str:
    # The HParams tab takes no lists.
    return value if isinstance(value, bool | int | float | str) else str(value)


def log_configuration(
    loggers: list[Logger], config: DictConfig, text: str | None = None, *, kind: str | None = "classification"
) -> None:
    """Logs the hyper-parameters to every logger; to TensorBoard also the configuration and the user's notes as text.

    Args:
        loggers: of the run.
        config: of the run.
        text: the configuration as YAML, if it has been formatted already.
        kind: of the task, for the scores in TensorBoard's custom scalars; None if the metrics are unknown.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("config", _verbatim(as_yaml(config) if text is None else text))
            noted = {key: value for key in ("name", "tags", "notes") if (value := config.get(key)) not in (None, [])}
            if noted:
                noted = without_secrets(config, list(noted))
                logger.experiment.add_text("notes", _verbatim(as_yaml(noted)))
            # TensorBoard's tab of all scalars begins with the gradient norms of all layers.
            if kind is not None:
                logger.experiment.add_custom_scalars(_layout(kind))
        else:
            logger.log_hyperparams(hyperparameters(config))


def _layout(kind: str) -> dict[str, Any]:
    # Regular expressions, as each of several targets has its own scores.
    scores = {name: ["Multiline", [rf"^val/{name}(\W.*)?$"]] for name in SCORES[kind] if name != "loss"}
    return {"loss": {"training and validation": ["Multiline", ["^train/loss$", "^val/loss$"]]}, "validation": scores}


def _verbatim(text: str) -> str:
    # Markdown shows an indented block unchanged.
    return "".join(f"    {line}\n" for line in text.splitlines())


def log_final_metrics(loggers: list[Logger], config: DictConfig, result: dict[str, Any]) -> None:
    """Writes hyper-parameters, best validation and test metrics for TensorBoard's HParams tab.

    They go into the run itself, so the tab must be told which scalars are results, or it would list all of them.
    TensorBoard takes that list, and the columns of hyper-parameters, from one of the runs.
    """
    writers = [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
    if not writers:
        return
    # A separate name, as the curve of val/… ends with the last validation, not the best.
    best = {name.replace("val/", "val_best/"): value for name, value in result["validation"].items()}
    # Booleans become text: as numbers, to which `hparams` converts them, they could only be filtered by range.
    table = {n: str(v).lower() if isinstance(v, bool) else v for n, v in hyperparameters(config).items()}
    # A stopped run has no test yet, but others have.
    scores = {**best, **{name.replace("val/", "test/"): 0.0 for name in result["validation"]}, **result["test"]}
    columns, _, _ = hparams(dict.fromkeys(OF_OTHER_RUNS, "") | table, scores)  # type: ignore[no-untyped-call]
    # TensorBoard shows the first five, so options that differ come first, then in alphabetical order.
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    first = {*FIRST_COLUMNS, *(re.split("[=@]", word.lstrip("+"))[0] for word in typed)}
    data = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(data.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in first
    data.content = content.SerializeToString()
    _, start, end = hparams(table, {})  # type: ignore[no-untyped-call]
    summaries = [*([columns] if best else []), start, end]
    if not config.trainer.get("enable_autolog_hparams", True):
        summaries = []
    for writer in writers:
        for summary in summaries:
            writer.file_writer.add_summary(summary)
        for name, value in best.items():
            writer.add_scalar(name, value, result["steps"])
        writer.flush()
