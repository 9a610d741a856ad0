"""Finds what the user's own LightningModule and LightningDataModule leave unread in the configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from mlplab.errors import UserError
from mlplab.instantiation import accepted_options, is_data_module, plain_values

DATA_OPTIONS = ("batch_size", "validation_fraction", "test_fraction", "split_seed", "folds", "fold")
"""Options of data that the project's DataModule reads itself."""

GIVEN = ("in_features", "out_features", "task", "model", "loss", "optimizer")
"""Arguments that the `__init__` of the user's own LightningModule gets, if it has them."""

OF_LEARNER = ("model", "loss", "optimizer", "scheduler", "regularization", "augmentation", "metrics")
"""Groups that reach the user's own LightningModule only through arguments of these names."""


@dataclass(frozen=True)
class Unread:
    """Groups or options that a class of the user's does not read.

    Attributes:
        names: such as `optimizer`, or `data.folds`.
        target: dotted name of the class.
        accepted: names of its arguments.
    """

    names: list[str]
    target: str
    accepted: list[str]


def unread(config: DictConfig) -> Iterator[Unread]:
    """Yields what each of the user's own modules leaves unread.

    Raises:
        UserError: it does not accept an option of its own part of the configuration.
    """
    if config.get("module"):
        node = plain_values(config.module)
        accepted = accepted_options("module", node)
        yield Unread([name for name in OF_LEARNER if name not in accepted], str(node["_target_"]), accepted)
    if is_data_module(config.data.get("_target_")):
        node = plain_values(config.data)
        accepted = accepted_options("data", {n: v for n, v in node.items() if n not in (*DATA_OPTIONS, "task")})
        yield Unread([f"data.{n}" for n in DATA_OPTIONS if n not in accepted], str(node["_target_"]), accepted)


def require_read(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuses overrides that the user's own modules would ignore.

    Raises:
        UserError: for the first of them.
    """
    for part in unread(config):
        takes = ", ".join(part.accepted)
        for word in overrides:
            key = word.partition("=")[0].lstrip("+~")
            if key in part.names and key.startswith("data."):
                raise UserError(f"{key} must be an option of {part.target}", f"it takes {takes}", f"leaving {key} out")
            group = key.partition(".")[0]
            if group in part.names:
                argument = f", or an argument {group} of its __init__" if group in GIVEN else ""
                raise UserError(
                    f"what a module of one's own does must be chosen in conf/module: {part.target} takes {takes}",
                    word, f"module.OPTION=…{argument}",
                )  # fmt: skip
