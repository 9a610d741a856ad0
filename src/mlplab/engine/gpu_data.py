"""A copy of the data on the GPU that trains, so that no batch waits for its way there."""

from typing import Any

import torch

from mlplab.data.batches import Batches

SHARE_OF_GPU = 0.5
"""Share of a GPU's free memory that one part of the data may take: the rest is for the network and its values."""


def copy_to_device(loader: Any, device: torch.device) -> None:
    """Makes a loader of the project gather its batches on the device that trains, if the whole part fits there.

    Only the loader holds the copy: the tensors of the DataModule stay where they are.
    """
    # Exactly this class: a loader of one's own may read, augment or draw in its own way.
    if type(loader) is not Batches or device.type == "cpu" or loader.features.device == device:
        return
    names = [name for name in ("features", "targets", "weights") if getattr(loader, name) is not None]
    if sum(getattr(loader, name).nbytes for name in names) <= SHARE_OF_GPU * _free_bytes(device):
        for name in names:
            setattr(loader, name, getattr(loader, name).to(device))


def _free_bytes(device: torch.device) -> int:
    """Returns the free memory of a GPU; 0 where it is not known."""
    # Elsewhere nothing is known to fit, so nothing is copied.
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
