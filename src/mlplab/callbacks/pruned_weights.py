"""Weights that Lightning's ModelPruning has split into an original and a mask: under their own names, and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelPruning
from torch import Tensor, nn
from torch.nn.utils import prune

PARTS = ("orig", "mask")
"""Into which `torch.nn.utils.prune` splits a weight; the endings of their names."""


def without_masks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiplies pruned weights by their masks, as `torch.nn.utils.prune.remove` does: names as without pruning."""
    pruned = _names_of_pruned(state)
    products = {name: state[f"{name}_orig"] * state[f"{name}_mask"] for name in pruned}
    hidden = {f"{name}_{part}" for name in pruned for part in PARTS}
    return {name: value for name, value in state.items() if name not in hidden} | products


def pruned_parts(pl_module: pl.LightningModule, callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """Returns, for each pruned weight by its own name, what a run that goes on must have besides the product."""
    state = pl_module.state_dict()
    return {
        path: {
            **{part: state[f"{path}_{part}"] for part in PARTS},
            "is_reset": [_is_reset(callback, *_place(pl_module, path)) for callback in _pruning(callbacks)],
        }
        for path in _names_of_pruned(state)
    }


def restore_parts(
    pl_module: pl.LightningModule, callbacks: Sequence[Callback], pruned: Mapping[str, Mapping[str, Any]]
) -> None:
    """Splits weights as they were when `pruned_parts` was asked for them.

    To be called after the optimizer's state has been loaded: that has the order of the weights before they were split.
    """
    for path, parts in pruned.items():
        module, name = _place(pl_module, path)
        mask = parts["mask"].to(getattr(module, name).device)
        prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]
        original = getattr(module, f"{name}_orig")
        with torch.no_grad():
            original.copy_(parts["orig"])
        for callback, is_reset in zip(_pruning(callbacks), parts["is_reset"], strict=False):
            for first in _first_weights(callback, module, name) if is_reset else ():
                first.data = original.data


def _names_of_pruned(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of pruned weights, in the order in which their modules have them."""
    names = [name.removesuffix("_orig") for name in state if name.endswith("_orig")]
    return [name for name in names if f"{name}_mask" in state]


def _place(pl_module: pl.LightningModule, path: str) -> tuple[nn.Module, str]:
    place, _, name = path.rpartition(".")
    return pl_module.get_submodule(place), name


def _pruning(callbacks: Sequence[Callback]) -> list[ModelPruning]:
    return [callback for callback in callbacks if isinstance(callback, ModelPruning)]


def _first_weights(callback: ModelPruning, module: nn.Module, name: str) -> Iterator[Tensor]:
    """The copies of a weight as it was before training, to which the callback resets it (the lottery ticket)."""
    for layer in (callback._original_layers or {}).values():
        for index, pruned_name in layer["names"]:
            if callback._parameters_to_prune[index][0] is module and pruned_name == name:
                yield getattr(layer["data"], name)


def _is_reset(callback: ModelPruning, module: nn.Module, name: str) -> bool:
    """Returns whether the callback has reset a weight for good.

    On the device of its copy, Lightning 2.6 gives the weight the memory of the copy. Both are trained from then on, so
    that further resets change nothing; nor must they in a run that goes on.
    """
    trained = getattr(module, f"{name}_orig").data_ptr()
    return any(first.data_ptr() == trained for first in _first_weights(callback, module, name))
