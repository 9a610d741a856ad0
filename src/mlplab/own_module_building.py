"""Builds the user's own LightningModule from conf/module, and the callback that completes it in a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig

from mlplab.callbacks.own_module import OwnModule
from mlplab.data.module import DataModule, ExpandedDataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import RunFailed, UserError
from mlplab.instantiation import accepted_options, instantiate, plain_values
from mlplab.learner import Learner
from mlplab.models.inputs import build_inputs
from mlplab.objectives.objective import n_outputs
from mlplab.own_code import GIVEN
from mlplab.randomness import derive_seed, seed_generators
from mlplab.runs.checkpoint import FORMAT, OWN_MODULE, require_plain


def build_module(
    config: DictConfig, data: DataModule | OwnData, build_learner: Callable[[DictConfig, DataModule | OwnData], Learner]
) -> pl.LightningModule:
    """Builds the user's own LightningModule.

    Besides its own options, its `__init__` gets those of these that it has arguments for: `in_features`, `out_features`
    and `task` of the data; `model`, the network of conf/model; `loss`, the objective of conf/loss; `optimizer`, which
    lacks only the parameters.

    Args:
        config: as conf/ composes it.
        data: of its training.
        build_learner: builds the project's learner, for parts that the module takes.

    Raises:
        UserError: it is not a LightningModule.
    """
    node = plain_values(config.module)
    target = str(node.get("_target_"))
    accepted = accepted_options("module", node)
    if isinstance(data, DataModule) and "model" not in accepted:
        _expand(data)
    wanted = [name for name in accepted if name in GIVEN and name not in node]
    parts: dict[str, Any] = {"in_features": data.n_features} if "in_features" in wanted else {}
    if set(wanted) - {"in_features"}:
        learner = build_learner(config, data)
        parts |= {"model": learner.model, "loss": learner.objective, "optimizer": learner.optimizer_factory}
        parts |= {"task": data.task, "out_features": n_outputs(learner.objective.name, data.task)}
    seed_generators(derive_seed(config.seed, "initialization"))
    module = instantiate("module", node, **{name: parts[name] for name in wanted})
    if not isinstance(module, pl.LightningModule) or not is_overridden("training_step", module):
        raise UserError(
            "module must be a LightningModule with a training_step", f"{target} built {type(module).__name__}",
            "model=…, for a network that the project's own learner trains",
        )  # fmt: skip
    for name, value in module.hparams.items():
        try:
            require_plain(value)
        except RunFailed:
            raise UserError(
                "save_hyperparameters() must store plain values, as checkpoints do",
                f"{name} is {type(value).__name__}",
                f"self.save_hyperparameters(ignore=['{name}'])",
            ) from None  # fmt: skip
    return module


def _expand(data: DataModule) -> None:
    """Applies the input layer of compactly stored features to the batches, as the module takes only numbers."""
    encoding = data.preprocessor.input_encoding()
    if encoding is None:
        return
    inputs = build_inputs(encoding, data.task.n_features)
    if next(inputs.parameters(), None) is not None:
        raise UserError(
            "a module of one's own must be given categories as one-hot columns", "some of this table are embedded",
            "data.one_hot_levels=1000, or an argument model of its __init__",
        )  # fmt: skip
    data.__class__ = ExpandedDataModule
    data.inputs = inputs  # type: ignore[attr-defined]
    data.task = replace(data.task, n_features=inputs.out_features)


def for_own_module(config: DictConfig, data: DataModule | OwnData, learner: pl.LightningModule) -> list[Callback]:
    """Returns the callback that completes the user's own LightningModule; none for the project's learner."""
    if isinstance(learner, Learner):
        return []
    card = {
        "format": FORMAT,
        "model": {"name": OWN_MODULE, "architecture": plain_values(config.module)},
        "data": data.as_dict(),
    }
    return [OwnModule(config.monitor, int(config.seed), card)]
