"""Copies the data to the training GPU, so that no batch waits for a transfer."""

from typing import Any

import torch

from mlplab.data.batches import Batches

SHARE_OF_GPU = 0.5
"""Share of a GPU's free memory that one part of the data may take; network and activations need the rest."""


def copy_to_device(loader: Any, device: torch.device) -> None:
    """Makes a loader of the project gather its batches on the training device, if the whole part fits there.

    Only the loader holds the copy: the tensors of the DataModule stay where they are.
    """
    # Exactly this class: the user's own loader may read, augment or draw in another way.
    if type(loader) is not Batches or device.type == "cpu" or loader.features.device == device:
        return
    names = [name for name in ("features", "targets", "weights") if getattr(loader, name) is not None]
    if sum(getattr(loader, name).nbytes for name in names) <= SHARE_OF_GPU * _free_bytes(device):
        for name in names:
            setattr(loader, name, getattr(loader, name).to(device))


def _free_bytes(device: torch.device) -> int:
    """Returns the free bytes of a GPU; 0 if unknown."""
    # On other devices nothing is copied, as free memory is unknown.
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
