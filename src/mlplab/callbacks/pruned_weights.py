"""Converts weights that ModelPruning has split into original and mask to plain weights, and back."""

from collections.abc import Mapping, Sequence

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelPruning
from torch import Tensor
from torch.nn.utils import prune


def without_masks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replaces each pruned weight by original times mask, under its usual name, as `prune.remove` does."""
    pruned = _names_of_pruned(state)
    # The names that torch.nn.utils.prune gives to the two halves.
    products = {name: state[f"{name}_orig"] * state[f"{name}_mask"] for name in pruned}
    hidden = {f"{name}{ending}" for name in pruned for ending in ("_orig", "_mask")}
    return {name: value for name, value in state.items() if name not in hidden} | products


def pruned_parts(pl_module: pl.LightningModule) -> dict[str, dict[str, Tensor]]:
    """Returns original and mask of each pruned weight by its usual name, for a resumed run."""
    state = pl_module.state_dict()
    return {name: {"orig": state[f"{name}_orig"], "mask": state[f"{name}_mask"]} for name in _names_of_pruned(state)}


def restore_parts(
    pl_module: pl.LightningModule, callbacks: Sequence[Callback], pruned: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Splits weights again as `pruned_parts` recorded them."""
    for path, parts in pruned.items():
        place, _, name = path.rpartition(".")
        module = pl_module.get_submodule(place)
        mask = parts["mask"].to(getattr(module, name).device)
        prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]
        original = getattr(module, f"{name}_orig")
        with torch.no_grad():
            original.copy_(parts["orig"])
        for callback in callbacks:
            copies = getattr(callback, "_original_layers", None) if isinstance(callback, ModelPruning) else None
            if copies and id(module) in copies:
                # Lightning 2.6 resets a weight (lottery ticket) by giving it the memory of the callback's copy, if both
                # are on one device. From then on the copy is trained too, so further resets have no effect.
                copied = getattr(copies[id(module)]["data"], name)
                if copied.device == original.device:
                    copied.data = original.data


def remove_masks(pl_module: pl.LightningModule) -> None:
    """Turns pruned weights into plain parameters, so that plain weights can be loaded."""
    for path in _names_of_pruned(pl_module.state_dict()):
        place, _, name = path.rpartition(".")
        prune.remove(pl_module.get_submodule(place), name)  # type: ignore[no-untyped-call]


def _names_of_pruned(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of pruned weights, in the order of their modules."""
    names = [name.removesuffix("_orig") for name in state if name.endswith("_orig")]
    # Both halves must exist: the user's own module may have a parameter whose name ends in _orig.
    return [name for name in names if f"{name}_mask" in state]
