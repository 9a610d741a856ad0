"""Loads the weights that a run starts from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from mlplab.config.paths import find_run, shortest
from mlplab.errors import UserError, first_of, printable
from mlplab.runs.checkpoint import read_checkpoint

log = logging.getLogger("mlplab")

SHOWN = 6
"""Maximum of weight names to list."""


def load_weights(path: Path, learner: pl.LightningModule, *, all_of_them: bool = False) -> str:
    """Loads those weights of a run or checkpoint that fit by name and shape; describes which matched and which not.

    Names are compared without `model.` and `network.`, so that weights also fit behind another input layer, or from a
    plain state dict.

    Args:
        path: of a run's directory, or of a checkpoint.
        learner: takes the weights; its others stay as they are.
        all_of_them: whether every weight must be there.

    Raises:
        UserError: the file cannot be read, no weight fits, or not all of them.
    """
    _, checkpoint = find_run(path.expanduser(), "start_from")
    content = read_checkpoint(checkpoint)
    state: Any = content.get("state_dict", content)
    given = {_name(name): value for name, value in state.items() if isinstance(value, Tensor)}
    own = {_name(name): value for name, value in learner.state_dict().items()}
    fitting = [name for name, value in own.items() if name in given and given[name].shape == value.shape]
    others = [name for name in own if name not in fitting]
    unfit = [f"{name} {_described(name, given, own)}" for name in others]
    unused = [printable(name) for name in given if name not in own]
    if not fitting or (all_of_them and others):
        raise UserError(
            f"start_from must have {'all' if all_of_them else 'some'} weights of the network, by name and shape",
            f"{shortest(checkpoint)} has not: {first_of(unfit, SHOWN)}", "the options of that run, or another one",
        )  # fmt: skip
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(given[name])
    told = f"{len(fitting)} of {len(own)} tensors match"
    if unfit:
        told += f"; as they were drawn: {first_of(unfit, SHOWN)}"
    if unused:
        told += f"; not used: {first_of(unused, SHOWN)}"
    return f"start   from {shortest(checkpoint)}: {told}"


def _name(name: Any) -> str:
    return str(name).removeprefix("model.").removeprefix("network.")


def _described(name: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    if name not in given:
        return "(not there)"
    return f"{tuple(own[name].shape)} instead of {tuple(given[name].shape)}"
