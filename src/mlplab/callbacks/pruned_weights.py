"""Converts weights that ModelPruning has split into original and mask to plain weights, and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelPruning
from torch import Tensor, nn
from torch.nn.utils import prune

PARTS = ("orig", "mask")
"""Name endings of the tensors into which `torch.nn.utils.prune` splits a weight."""


def without_masks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replaces each pruned weight by original times mask, under its usual name, as `prune.remove` does."""
    pruned = _names_of_pruned(state)
    products = {name: state[f"{name}_orig"] * state[f"{name}_mask"] for name in pruned}
    hidden = {f"{name}_{part}" for name in pruned for part in PARTS}
    return {name: value for name, value in state.items() if name not in hidden} | products


def pruned_parts(pl_module: pl.LightningModule, callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """Returns original, mask and reset state of each pruned weight by its usual name, which a resumed run needs."""
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
    """Splits weights again as `pruned_parts` recorded them.

    Call it after the optimizer's state has been loaded, which has the weights in their order before splitting.
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
    """Returns the names of pruned weights, in the order of their modules."""
    names = [name.removesuffix("_orig") for name in state if name.endswith("_orig")]
    return [name for name in names if f"{name}_mask" in state]


def _place(pl_module: pl.LightningModule, path: str) -> tuple[nn.Module, str]:
    place, _, name = path.rpartition(".")
    return pl_module.get_submodule(place), name


def _pruning(callbacks: Sequence[Callback]) -> list[ModelPruning]:
    return [callback for callback in callbacks if isinstance(callback, ModelPruning)]


def _first_weights(callback: ModelPruning, module: nn.Module, name: str) -> Iterator[Tensor]:
    """Yields the callback's copies of a weight before training, to which it resets it (lottery ticket)."""
    for layer in (callback._original_layers or {}).values():
        for index, pruned_name in layer["names"]:
            if callback._parameters_to_prune[index][0] is module and pruned_name == name:
                yield getattr(layer["data"], name)


def _is_reset(callback: ModelPruning, module: nn.Module, name: str) -> bool:
    """Returns whether a weight shares memory with the callback's copy of it.

    Lightning 2.6 resets a weight by giving it the memory of the copy, if both are on one device. The copy is trained
    from then on, so that further resets change nothing. A resumed run must behave the same.
    """
    trained = getattr(module, f"{name}_orig").data_ptr()
    return any(first.data_ptr() == trained for first in _first_weights(callback, module, name))
