"""Records and restores the frozen parts of a network, where callbacks freeze and unfreeze them."""

from collections.abc import Mapping, Sequence

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BaseFinetuning, Callback
from torch.nn.modules.batchnorm import _BatchNorm

Frozen = dict[str, list[str]]


def frozen_parts(pl_module: pl.LightningModule, callbacks: Sequence[Callback]) -> Frozen | None:
    """Returns the names of frozen parameters, and of normalisation layers without running statistics.

    None if no callback changes them: parts that conf/model freezes stay frozen.
    """
    if not any(isinstance(callback, BaseFinetuning) for callback in callbacks):
        return None
    return {
        "parameters": [name for name, one in pl_module.named_parameters() if not one.requires_grad],
        "statistics": [name for name, one in _batch_norms(pl_module).items() if not one.track_running_stats],
    }


def restore_frozen_parts(pl_module: pl.LightningModule, frozen: Mapping[str, Sequence[str]] | None) -> None:
    """Freezes exactly the parts that `frozen_parts` recorded.

    In a resumed run, Lightning's callbacks first freeze the same parts as at the run's beginning.
    """
    if frozen is None:
        return
    for name, parameter in pl_module.named_parameters():
        parameter.requires_grad_(name not in frozen["parameters"])
    for name, layer in _batch_norms(pl_module).items():
        layer.track_running_stats = name not in frozen["statistics"]


def _batch_norms(pl_module: pl.LightningModule) -> dict[str, _BatchNorm]:
    return {name: one for name, one in pl_module.named_modules() if isinstance(one, _BatchNorm)}
